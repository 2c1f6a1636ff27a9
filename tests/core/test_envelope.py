"""What seals tenants' secrets: each opens for its tenant and its purpose, and for nothing else."""

import secrets

import pytest

from app.core.credentials.envelope import DataKey, MasterKeys, UnknownMasterKey, Unopenable, WrappedKey

OLD, NEW = secrets.token_hex(32), secrets.token_hex(32)
ACME, RIVAL = "acme", "rival"


def made(*masters: str) -> tuple[MasterKeys, DataKey, WrappedKey]:
    keys = MasterKeys(masters)
    return keys, *keys.make(ACME)


def test_a_secret_opens_for_who_sealed_it_and_after_the_data_key_was_stored() -> None:
    keys, data_key, wrapped = made(NEW)
    sealed = data_key.seal(b"sk-1", "provider key", "openai")
    assert data_key.open(sealed, "provider key", "openai") == b"sk-1"
    assert keys.open(ACME, wrapped).open(sealed, "provider key", "openai") == b"sk-1"


def test_what_is_sealed_says_nothing_and_is_never_twice_the_same() -> None:
    _, data_key, wrapped = made(NEW)
    sealed = {data_key.seal(b"sk-one-secret", "provider key") for _ in range(100)}
    assert len(sealed) == 100
    assert not any(b"secret" in each for each in sealed)
    assert wrapped.sealed != made(NEW)[2].sealed
    for shown in (repr(data_key), str(data_key)):
        assert "sk-" not in shown
        assert "0x" in shown


@pytest.mark.parametrize(
    "purpose",
    [("provider key", "anthropic"), ("provider key",), ("provider keyopenai",), ("provider", "key", "openai")],
)
def test_it_opens_for_no_other_purpose(purpose: tuple[str, ...]) -> None:
    _, data_key, _ = made(NEW)
    with pytest.raises(Unopenable):
        data_key.open(data_key.seal(b"sk-1", "provider key", "openai"), *purpose)


def test_it_opens_for_no_other_tenant() -> None:
    keys, data_key, wrapped = made(NEW)
    sealed = data_key.seal(b"sk-1", "provider key")
    with pytest.raises(Unopenable):
        keys.open(RIVAL, wrapped)
    with pytest.raises(Unopenable):
        keys.make(RIVAL)[0].open(sealed, "provider key")


def test_a_data_key_of_another_tenant_does_not_open_even_if_it_is_the_same_key() -> None:
    key = secrets.token_bytes(32)
    with pytest.raises(Unopenable):
        DataKey(RIVAL, key).open(DataKey(ACME, key).seal(b"sk-1"))


@pytest.mark.parametrize("at", range(0, 40, 3))
def test_a_changed_byte_is_noticed(at: int) -> None:
    _, data_key, _ = made(NEW)
    sealed = bytearray(data_key.seal(b"sk-12345678"))
    sealed[at % len(sealed)] ^= 1
    with pytest.raises(Unopenable):
        data_key.open(bytes(sealed))


@pytest.mark.parametrize("sealed", [b"", b"\x01", b"\x01" + b"x" * 12, b"\x02" + b"x" * 40])
def test_what_is_none_of_ours_is_unopenable(sealed: bytes) -> None:
    with pytest.raises(Unopenable):
        made(NEW)[1].open(sealed)


def test_a_key_that_is_wrapped_anew_opens_what_it_sealed_before() -> None:
    _, data_key, wrapped = made(OLD)
    sealed = data_key.seal(b"sk-1")
    both = MasterKeys([NEW, OLD])
    assert both.open(ACME, wrapped).open(sealed) == b"sk-1"
    rewrapped = both.rewrap(ACME, wrapped)
    assert (rewrapped.master, wrapped.master) == (MasterKeys([NEW]).present, MasterKeys([OLD]).present)
    assert MasterKeys([NEW]).open(ACME, rewrapped).open(sealed) == b"sk-1"
    with pytest.raises(UnknownMasterKey):
        MasterKeys([NEW]).open(ACME, wrapped)
    with pytest.raises(UnknownMasterKey):
        MasterKeys([OLD]).open(ACME, rewrapped)
