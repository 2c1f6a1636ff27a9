"""The guard for whoever calls with aiohttp: what a tenant named is called at an address that was checked."""

import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from app.webhooks.guard import GuardedBackend


class GuardedResolver(AbstractResolver):
    """For a connector of its own, `TCPConnector(resolver=..., use_dns_cache=False)`, and without a proxy.

    A connector asks nobody about a host that is an address: `parse_url` has to be asked before, each time.
    """

    def __init__(self, backend: GuardedBackend) -> None:
        self._backend = backend

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - the signature is aiohttp's
    ) -> list[ResolveResult]:
        """The addresses to try; raises `AddressRefused` unless every one of the host's may be called."""
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await self._backend.resolve(host, port)
        ]

    async def close(self) -> None:
        """The backend is somebody else's to close."""
