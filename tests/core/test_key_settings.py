"""Which keys start the service, and what it says of those that do not."""

import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from pydantic import ValidationError

from app.core.config import Settings
from app.core.credentials.keys import asymmetric_key, make_private_key
from app.core.principal import Principal
from app.core.security import TokenService
from tests.core.test_config import GOOD, settings
from tests.core.test_key_ring import CALLER, PEMS, public_pem

ROOT = Path(__file__).resolve().parents[2]


def pem_of(key: Any, password: bytes | None = None) -> str:
    locked = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    return str(key.private_bytes(serialization.Encoding.PEM, form, locked).decode())


def works(configured: Settings) -> bool:
    """It signs what it verifies."""
    tokens = TokenService(configured.key_ring(), 60)
    caller: Principal = tokens.verify(tokens.mint(CALLER))
    return caller == CALLER


@pytest.mark.parametrize("algorithm", PEMS)
def test_a_private_key_comes_as_pem_as_one_line_or_as_a_path(
    algorithm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key.pem"
    path.write_text(PEMS[algorithm])
    kids = set()
    for value in (PEMS[algorithm], PEMS[algorithm].replace("\n", "\\n"), str(path)):
        monkeypatch.setenv("JWT_PRIVATE_KEY", value)
        configured = settings(**GOOD, jwt_algorithm=algorithm)
        assert works(configured)
        kids.add(configured.key_ring().signing.kid)
    assert len(kids) == 1


def test_previous_keys_of_every_form_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "previous.pem"
    path.write_text(public_pem(PEMS["ES256"]))
    private = make_private_key("RS256")
    monkeypatch.setenv("JWT_PREVIOUS_KEYS", f"{private.replace(chr(10), chr(92) + 'n')}, {path}")
    ring = settings(**GOOD, jwt_algorithm="RS256", jwt_private_key=PEMS["RS256"]).key_ring()
    for pem in (PEMS["RS256"], private, PEMS["ES256"]):
        assert ring.find(asymmetric_key(pem).kid)
    assert len(ring.jwks()) == 3
    assert ring.signing.kid == asymmetric_key(PEMS["RS256"]).kid


@pytest.mark.parametrize("algorithm", PEMS)
def test_development_makes_a_private_key_once_and_keeps_it_to_itself(algorithm: str, tmp_path: Path) -> None:
    first, second = (settings(data_dir=tmp_path, jwt_algorithm=algorithm) for _ in range(2))
    assert first.key_ring().signing.kid == second.key_ring().signing.kid
    (path,) = [path for path in tmp_path.iterdir() if path.suffix == ".pem"]
    assert path.stat().st_mode & 0o077 == 0
    assert works(second)


WEAK = {
    "RSA of 1024 bits": pem_of(rsa.generate_private_key(public_exponent=65537, key_size=1024)),  # noqa: S505 - on purpose
    "P-384": pem_of(ec.generate_private_key(ec.SECP384R1())),
    "secp256k1": pem_of(ec.generate_private_key(ec.SECP256K1())),
    "Ed25519": pem_of(ed25519.Ed25519PrivateKey.generate()),
    "DSA": pem_of(dsa.generate_private_key(2048)),
    "locked": pem_of(rsa.generate_private_key(public_exponent=65537, key_size=2048), b"password"),
    "damaged": PEMS["RS256"].replace("A", "B", 40),
    "half": PEMS["RS256"][:300],
    "a public key": public_pem(PEMS["RS256"]),
    "of the other algorithm": PEMS["ES256"],
    "a text": "k3y-quoted-nowhere-" + secrets.token_hex(8),
    "a path of nothing": "/nowhere/" + secrets.token_hex(8),
    "a directory": str(ROOT),
    "a NUL": "a\x00b" + secrets.token_hex(8),
    "a long text": secrets.token_hex(5000),
}


@pytest.mark.parametrize("key", WEAK.values(), ids=WEAK)
def test_a_private_key_that_will_not_do_is_refused_and_not_quoted(key: str) -> None:
    with pytest.raises(ValidationError, match="JWT_PRIVATE_KEY") as refused:
        settings(**GOOD, jwt_algorithm="RS256", jwt_private_key=key)
    assert_unquoted(refused.value, key)


def assert_unquoted(error: ValidationError, key: str) -> None:
    said = str(error) + repr(error)
    lines = [line for line in key.replace("\\n", "\n").splitlines() if "-----" not in line] or [key]
    assert not any(line[:12] in said or line[-12:] in said for line in lines if line)


@pytest.mark.parametrize("kind", ["RSA of 1024 bits", "Ed25519", "a text", "damaged"])
def test_a_previous_key_that_will_not_do_is_refused_and_not_quoted(kind: str) -> None:
    key = WEAK[kind]
    with pytest.raises(ValidationError, match="JWT_PREVIOUS_KEYS") as refused:
        settings(**GOOD, jwt_previous_keys=[key])
    assert_unquoted(refused.value, key)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"previous_secret_keys": ["weak-key-0123"]}, "PREVIOUS_SECRET_KEYS"),
        ({"previous_secret_keys": [secrets.token_hex(32), "change-me-" * 5]}, "PREVIOUS_SECRET_KEYS"),
        ({"secret_key": "weak-key-0123"}, "SECRET_KEY"),
        ({"jwt_algorithm": "RS256"}, "JWT_PRIVATE_KEY is required"),
        ({"jwt_algorithm": "ES256"}, "JWT_PRIVATE_KEY is required"),
        ({"tenant_creation": "operator"}, "OPERATOR_TOKEN"),
        ({"tenant_creation": "operator", "operator_token": "weak-key-0123"}, "OPERATOR_TOKEN"),
    ],
)
def test_production_refuses_weak_and_missing_keys_and_quotes_none(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says) as refused:
        settings(**{**GOOD, **change})
    said = str(refused.value) + repr(refused.value)
    for secret in ("weak-key-0123", "change-me-", GOOD["secret_key"]):
        assert secret not in said
        assert secret[-8:] not in said


@pytest.mark.parametrize("program", ["main.py", "create_tables.py"])
def test_a_program_that_refuses_to_start_says_why_and_not_the_key(program: str, tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "ENVIRONMENT": "production",
        "DATABASE_URL": "postgresql://u:the-database-password@127.0.0.1:1/x",
        "SECRET_KEY": "weak-key-0123",
    }
    command = [sys.executable, str(ROOT / program)]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    said = ended.stdout + ended.stderr
    assert ended.returncode != 0
    assert "SECRET_KEY must be at least 32 bytes" in said
    assert "weak-key" not in said
    assert "y-0123" not in said
    assert "database-password" not in said
