"""Names that a Host header may hold (`TRUSTED_HOSTS`), and origins that a browser may send (`CORS_ORIGINS`)."""

import re
from ipaddress import IPv6Address

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?)(:[0-9]*)?")
WILDCARD = "*."
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def canonical_pattern(pattern: str) -> str:
    """The pattern in the spelling that hosts are compared in; raises ValueError for what can match no host."""
    wildcard = WILDCARD if pattern.startswith(WILDCARD) else ""
    name = pattern.removeprefix(WILDCARD)
    if name.count(":") > 1 and not name.startswith("["):
        name = f"[{name}]"
    host, port = split_host(name)
    if not host or port:
        raise ValueError("must be names such as api.example.com or *.example.com, without scheme and port")
    return wildcard + host


def checked_origin(origin: str) -> str:
    """The origin, if a browser can send it (RFC 6454); raises ValueError for what no Origin header would equal."""
    scheme, _, authority = origin.partition("://")
    host, port = split_host(authority)
    if not host or scheme not in _DEFAULT_PORTS or authority != host + port or port in (":", _DEFAULT_PORTS[scheme]):
        raise ValueError("must be * or such as https://app.example.com: in lower case, no path, no wildcard")
    return origin


def split_host(text: str) -> tuple[str, str]:
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
