"""Which Host headers name this service (`TRUSTED_HOSTS`), and which Origin headers there can be (`CORS_ORIGINS`)."""

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv6Address

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?)(:[0-9]*)?")
_WILDCARD = "*."
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class TrustedHosts:
    """Patterns as `canonical_pattern` gives them; `*.example.com` is every name below example.com, not itself."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._names = frozenset(pattern for pattern in patterns if not pattern.startswith(_WILDCARD))
        self._suffixes = tuple(pattern[1:] for pattern in patterns if pattern.startswith(_WILDCARD))

    def allow(self, headers: Sequence[bytes]) -> bool:
        """Whether the Host headers of a request are one, and it names us; its port is not looked at."""
        if len(headers) != 1:  # of two, a proxy and we could each believe another one
            return False
        host, _ = _split(headers[0].decode("latin-1"))
        return host in self._names or host.endswith(self._suffixes)


def canonical_pattern(pattern: str) -> str:
    """The pattern in the spelling that hosts are compared in; raises ValueError for what can match no host."""
    wildcard = _WILDCARD if pattern.startswith(_WILDCARD) else ""
    name = pattern.removeprefix(_WILDCARD)
    if name.count(":") > 1 and not name.startswith("["):
        name = f"[{name}]"
    host, port = _split(name)
    if not host or port:
        raise ValueError("must be names such as api.example.com or *.example.com, without scheme and port")
    return wildcard + host


def checked_origin(origin: str) -> str:
    """The origin, if a browser can send it (RFC 6454); raises ValueError for what no Origin header would equal."""
    scheme, _, authority = origin.partition("://")
    host, port = _split(authority)
    if not host or scheme not in _DEFAULT_PORTS or authority != host + port or port in (":", _DEFAULT_PORTS[scheme]):
        raise ValueError("must be * or such as https://app.example.com: in lower case, no path, no wildcard")
    return origin


def _split(text: str) -> tuple[str, str]:
    """Host (lower case, no final dot, IPv6 in its one spelling) and port with its colon; empty where it is no host."""
    match = _HOST.fullmatch(text)
    if match is None:
        return "", ""
    host = match[1].lower()
    if host.startswith("["):
        try:
            host = f"[{IPv6Address(host[1:-1])}]"
        except ValueError:
            return "", ""
    return host.removesuffix("."), match[2] or ""
