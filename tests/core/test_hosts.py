"""Which Host headers `TRUSTED_HOSTS` lets in."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.api.http.trusted_hosts import TrustedHosts
from app.core.config import Settings
from app.core.settings.hosts import checked_origin


def settings(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)


def trusted() -> TrustedHosts:
    line = "api.example.com, *.Tenants.example, ::1, [2001:db8:0:0:0:0:0:1], 10.0.0.7, localhost."
    return TrustedHosts(settings(trusted_hosts=line).trusted_hosts)


@pytest.mark.parametrize(
    "host",
    [
        "api.example.com",
        "API.Example.COM",
        "api.example.com.",
        "api.example.com:8000",
        "api.example.com:",
        "a.tenants.example",
        "a.b.tenants.example:443",
        "[::1]",
        "[0:0::1]:8000",
        "[2001:DB8::1]",
        "10.0.0.7:80",
        "localhost:8000",
    ],
)
def test_a_name_of_ours_is_let_in(host: str) -> None:
    assert trusted().allow([host.encode()])


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        "evil.example",
        "api.example.com.evil.example",
        "evil-api.example.com",
        "tenants.example",
        ".tenants.example",
        "eviltenants.example",
        "*.tenants.example",
        "api.example.com:x",
        "api.example.com:80:80",
        "api.example.com, evil.example",
        "user@api.example.com",
        "api.example.com/",
        "api.example.com evil.example",
        "api.example.com\n",
        "::1",
        "[::1",
        "[::2]",
        "[::1%25eth0]",
        "[:::::]",
        "10.0.0.70",
        "\xe4pi.example.com",
    ],
)
def test_every_other_host_is_not(host: str) -> None:
    assert not trusted().allow([host.encode("latin-1")])


def test_no_host_and_two_hosts_are_not_let_in() -> None:
    assert not trusted().allow([])
    assert not trusted().allow([b"api.example.com", b"api.example.com"])


@pytest.mark.parametrize(
    "pattern", ["https://api.example.com", "api.example.com:443", "*", "a.*.com", "a b", "[::1]:80"]
)
def test_a_pattern_that_could_match_nothing_does_not_start(pattern: str) -> None:
    with pytest.raises(ValidationError, match="without scheme and port"):
        settings(trusted_hosts=pattern)


@pytest.mark.parametrize(
    "origin", ["https://app.example", "http://localhost:5173", "https://[::1]:8443", "https://a-b.c"]
)
def test_origins_that_browsers_send(origin: str) -> None:
    assert checked_origin(origin) == origin


@pytest.mark.parametrize(
    "origin",
    [
        "app.example",
        "https://",
        "HTTPS://app.example",
        "https://App.example",
        "https://*.app.example",
        "https://app.example/path",
        "https://app.example:443",
        "http://app.example:80",
        "https://app.example:",
        "https://user@app.example",
        '["https://app.example"]',
        "ftp://app.example",
        "null",
        "",
    ],
)
def test_origins_that_no_browser_sends_are_refused(origin: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        checked_origin(origin)
