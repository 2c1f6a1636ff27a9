"""The URL of a webhook: read once, by one grammar, for the check and for the call alike.

A library that checks and another one that calls can disagree on where the host of a crafted URL ends.
"""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import idna

from app.webhooks.guard import Address, Network, check_address

MAX_LENGTH = 2048

_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?:\[(?P<ipv6>[^\[\]/?#@]+)\]|(?P<host>[^\[\]:/?#@]+))"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[^?#]*)?"
    r"(?P<query>\?[^#]*)?",
    re.IGNORECASE | re.ASCII,  # or U+017F would pass for an s
)
_NAME = re.compile(r"(?!.{254})(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.(?!$)|$))+")
# What the resolver takes for an IPv4 address, whatever its spelling: 127.1, 2130706433, 0x7f.1, 0177.0.0.1.
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send. `host` is lower-case ASCII, an IPv6 address without its brackets; `path` includes the query."""

    scheme: str
    host: str
    port: int | None
    path: str

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def check_url(url: str, allowed_networks: tuple[Network, ...] = ()) -> str:
    """The URL as it is to be kept, its host in ASCII. ValueError, in words that do not repeat it, if it is no good."""
    return str(parse_url(url, allowed_networks))


def parse_url(url: str, allowed_networks: tuple[Network, ...] = ()) -> Target:
    """Read the URL. AddressRefused, a ValueError, if its host is an address that must not be called."""
    if len(url) > MAX_LENGTH:
        raise ValueError(f"The URL is longer than {MAX_LENGTH} characters.")
    if any(character <= " " or character in "\\\x7f" for character in url):
        raise ValueError("The URL holds a space, a backslash or a control character.")
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError("The URL must be http(s)://host[:port][/path][?query], without user, password or fragment.")
    path = (match["path"] or "/") + (match["query"] or "")
    if not path.isascii():
        raise ValueError("The path and query of the URL must be percent-encoded.")
    if match["port"] is not None and not 1 <= int(match["port"]) <= 65535:
        raise ValueError("The port of the URL must be 1 to 65535.")
    host = _ipv6(match["ipv6"]) if match["ipv6"] else _host(match["host"])
    if not isinstance(host, str):
        check_address(host, allowed_networks)
    scheme = match["scheme"].lower()
    port = int(match["port"]) if match["port"] else None
    default = {"http": 80, "https": 443}[scheme]
    return Target(scheme, str(host), None if port == default else port, path)


def _ipv6(literal: str) -> Address:
    try:
        return IPv6Address(literal)
    except AddressValueError:
        raise ValueError("The host of the URL is not an IPv6 address.") from None


def _host(host: str) -> Address | str:
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode()
        except idna.IDNAError:
            raise ValueError("The host of the URL is not a valid international name.") from None
    host = host.lower()
    if _NUMBER.fullmatch(host):
        try:
            return IPv4Address(host)
        except AddressValueError:
            raise ValueError("An IPv4 address is written as four decimal numbers.") from None
    if not _NAME.fullmatch(host):
        raise ValueError("The host of the URL is not a valid name.")
    return host
