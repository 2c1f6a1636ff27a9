"""IP addresses as they are compared and counted."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
IPV6_SITE_BITS = 64


def site_of(address: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 that an IPv6 customer is given at least."""
    parsed = address_of(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((parsed, IPV6_SITE_BITS), strict=False))
    return address


@lru_cache(maxsize=4096)
def spelled(text: str) -> str:
    """The address in its one spelling; "" for what is none."""
    return str(address_of(text) or "")


@lru_cache(maxsize=4096)
def address_of(text: str) -> Address | None:
    """The address that the text spells, its zone left out; None if it spells none."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # A socket for both versions shows IPv4 peers as ::ffff:192.0.2.1; they would all share one /64.
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
