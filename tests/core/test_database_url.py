"""The URLs that hosting providers hand out are understood, or refused at the start by the name of what is not."""

from pathlib import Path

import pytest

from app.core.settings.database_url import APPLICATION_NAME, checked_url, driver_options, trusts_the_system

BASE = "postgresql://u:p@db.example:5432/x"


def options(query: str) -> dict[str, object]:
    checked = checked_url(f"{BASE}?{query}")
    pairs = (pair.partition("=") for pair in checked.partition("?")[2].split("&") if pair)
    return driver_options({name: value for name, _, value in pairs}, 5)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_any_of_the_schemes_is_the_drivers(scheme: str) -> None:
    assert checked_url(f"{scheme}://u:p@h/x") == "postgresql+asyncpg://u:p@h/x"


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require"])
def test_a_mode_of_tls_is_the_drivers_to_read(mode: str) -> None:
    assert options(f"sslmode={mode}")["dsn"] == f"postgresql://?sslmode={mode}"


@pytest.mark.parametrize(("given", "mode"), [("require", "require"), ("true", "require"), ("false", "disable")])
def test_the_name_that_other_drivers_give_to_tls_is_understood(given: str, mode: str) -> None:
    assert options(f"ssl={given}")["dsn"] == f"postgresql://?sslmode={mode}"


def test_the_name_and_the_options_of_a_session_are_settings_of_the_server() -> None:
    assert options("application_name=shop")["server_settings"] == {"application_name": "shop"}
    assert options("sslmode=disable")["server_settings"] == {"application_name": APPLICATION_NAME}
    assert options("options=-cgeqo%3Doff")["server_settings"]["options"] == "-cgeqo%3Doff"  # type: ignore[index]


@pytest.mark.parametrize(("seconds", "bound"), [("3", 3), ("0", 5)])
def test_the_bound_on_connecting_is_the_urls(seconds: str, bound: float) -> None:
    assert options(f"connect_timeout={seconds}")["timeout"] == bound


@pytest.mark.parametrize("query", ["channel_binding=prefer", "gssencmode=disable", "client_encoding=UTF8"])
def test_what_happens_anyway_may_be_asked_for(query: str) -> None:
    assert "dsn" not in options(query)


def test_hosts_are_tried_in_order(tmp_path: Path) -> None:
    checked = checked_url("postgresql://u:p@a:1,b:2/x?target_session_attrs=read-write")
    assert checked == "postgresql+asyncpg://u:p@/x?target_session_attrs=read-write&host=a%3A1%2Cb%3A2"
    assert "host=%2Fsocket" in checked_url("postgresql://u:p@/x?host=/socket")


def test_a_server_is_held_to_the_authorities_of_this_machine_or_to_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (root := tmp_path / "root.pem").write_text("")
    assert trusts_the_system({"sslmode": "verify-full"})
    assert trusts_the_system({"sslmode": "verify-full", "sslrootcert": "system"})
    assert not trusts_the_system({"sslmode": "verify-full", "sslrootcert": str(root)})
    checked_url(f"{BASE}?sslmode=verify-ca&sslrootcert={root}")
    assert "dsn" not in options("sslmode=verify-full")


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("sslmode=on", "sslmode"),
        ("sslmode=verify-ca", "sslrootcert"),
        ("sslmode=require&sslrootcert=system", "sslrootcert=system"),
        ("sslmode=verify-full&sslrootcert=/nowhere.pem", "sslrootcert"),
        ("sslmode=verify-full&sslcrl=/nowhere.pem", "sslcrl"),
        ("target_session_attrs=rw", "target_session_attrs"),
        ("channel_binding=require", "channel_binding"),
        ("gssencmode=require", "gssencmode"),
        ("connect_timeout=soon", "connect_timeout"),
        ("pgbouncer=true", "a pooler is recognised"),
        ("prepared_statement_cache_size=0", "DB_STATEMENT_CACHE_SIZE"),
        ("schema=public", "schema"),
        ("statement_timeout=5", "DB_STATEMENT_TIMEOUT_SECONDS"),
        ("keepalives=1", "keepalives"),
        ("wat=1", "wat"),
    ],
)
def test_what_is_not_understood_is_refused_by_its_name(
    query: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ValueError, match=named):
        checked_url(f"{BASE}?{query}")


def test_a_port_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="port"):
        checked_url("postgresql://u:p@h:many/x")


def test_a_refusal_quotes_no_value() -> None:
    with pytest.raises(ValueError, match="not supported") as refused:
        checked_url("postgresql://u:hunter2@h/x?password=hunter2&hunter2%20=1")
    assert "hunter2" not in str(refused.value)
