"""The client's address: the peer's, or what proxies that are trusted say it is."""

import re
from collections.abc import Iterable

from app.core.addresses import Address, Network, address_of, spelled

# An address, by some proxies with a port: 192.0.2.1:1234, [2001:db8::1]:1234.
_HOP = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\](?::\d{1,5})?|([0-9.]{7,15})(?::\d{1,5})?|([0-9A-Fa-f:.]{2,45})", re.ASCII)


class ClientAddress:
    """Reads it off a connection's peer and the request's headers; "" where nobody knows it (a Unix socket).

    `X-Forwarded-For` counts only from a trusted peer. It is read from the right, where that peer wrote, to the first
    address that is not a trusted proxy: what stands left of it came with the request and may be invented.
    """

    def __init__(self, trusted: Iterable[Network]) -> None:
        self._trusted = tuple(trusted)

    def of(self, client: tuple[str, int] | None, headers: Iterable[tuple[bytes, bytes]]) -> str:
        peer = client[0] if client else ""
        if self._trusted and (address := address_of(peer)) and self._trusts(address):
            return str(self._forwarded(address, headers))
        return spelled(peer)

    def _forwarded(self, peer: Address, headers: Iterable[tuple[bytes, bytes]]) -> Address:
        lines = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
        address = peer
        for hop in reversed(",".join(lines).split(",")) if lines else ():
            match = _HOP.fullmatch(hop.strip())
            said = address_of(match[match.lastindex or 0]) if match else None
            if said is None:  # nobody knows who wrote what stands left of it
                break
            address = said
            if not self._trusts(said):
                break
        return address

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)
