"""Which addresses a webhook may reach: the public ones, and what the operator allows besides.

The address that was checked is the address that is called. A check of the name alone would be asked once more by the
connection, and the second answer can differ (DNS rebinding).
"""

import asyncio
import socket
import ssl
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any
from weakref import WeakValueDictionary

import httpcore2

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# A look-up cannot be cancelled, and a silent name server holds it for half a minute; its delivery is given up after
# seconds. So there are more threads than all deliveries can leave behind, and a tenant has few of them.
LOOKUPS = 64
LOOKUPS_PER_TENANT = 4
ON_BEHALF_OF: ContextVar[str] = ContextVar("on_behalf_of", default="")
"""The tenant whose look-up it is: what connects is told the host alone."""
TRIED_ADDRESSES = 3
"""A name with a thousand addresses must not make us knock at a thousand doors."""

# IANA's special-purpose registries, written out: what `is_global` takes for public depends on the Python. In 3.11.7 it
# lets through multicast, most of 192.0.0.0/24, 192.88.99.0/24, ::/96, a public address in ::ffff:0:0/96, 64:ff9b::/96,
# 64:ff9b:1::/48, 2002::/16, 3fff::/20, fec0::/10 and all that IANA has not given out yet.
_REFUSED_IPV4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by carriers; Alibaba's metadata, 100.100.100.200
        "127.0.0.0/8",
        "168.63.129.16/32",  # public by its number, Azure's host agent in truth
        "169.254.0.0/16",  # link-local; the clouds' metadata, 169.254.169.254
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocols of the IETF; Oracle's metadata, 192.0.0.192
        "192.0.2.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# Everything that is not unicast to the world lies outside: ::1, ::ffff:0:0/96, 64:ff9b::/96, fc00::/7, fe80::/10...
_GLOBAL_IPV6 = IPv6Network("2000::/3")
_REFUSED_IPV6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocols of the IETF: Teredo, benchmarking, ORCHID
        "2001:db8::/32",
        "2002::/16",  # 6to4, an IPv4 address inside
        "3fff::/20",  # documentation
    )
)


class AddressRefused(ValueError):
    """The host is, or resolves to, an address that must not be called."""


class HostNotFound(httpcore2.ConnectError):
    """The name has no address, or nobody told in time."""


def check_address(address: Address, allowed_networks: tuple[Network, ...] = ()) -> None:
    """Raise `AddressRefused` unless the address is public or allowed."""
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise AddressRefused("The host is an address of one link.")
    if not _is_public(address) and not any(address in network for network in allowed_networks):
        raise AddressRefused("The host is not a public address.")


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address):
        return (
            address in _GLOBAL_IPV6 and address.is_global and not any(address in network for network in _REFUSED_IPV6)
        )
    return address.is_global and not any(address in network for network in _REFUSED_IPV4)


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Resolves a host, refuses it unless every address may be called, and connects to one of these very addresses."""

    def __init__(self, allowed_networks: tuple[Network, ...] = ()) -> None:
        self._allowed = allowed_networks
        self._network: httpcore2.AsyncNetworkBackend = httpcore2.AnyIOBackend()
        # Threads of their own: the loop has few, for everyone. Tenants' name servers that never answer would hold up
        # the look-up of the LLM provider.
        self._threads = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="webhook-lookup")
        # Of each tenant that has a look-up under way; the look-up holds it.
        self._shares: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        tried = await self.resolve(host, port)
        # One address that swallows packets, an IPv6 route that leads nowhere, leaves time for the next.
        share = None if timeout is None else timeout / len(tried)
        failure: Exception | None = None
        for address in tried:
            try:
                return _Stream(
                    await self._network.connect_tcp(str(address), port, share, local_address, socket_options)
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        assert failure is not None
        raise failure

    async def resolve(self, host: str, port: int) -> list[Address]:
        """The addresses to try.

        Raises:
            AddressRefused: one of the host's may not be called.
            HostNotFound
        """
        addresses = await self._resolved(host, port)
        for address in addresses:
            check_address(address, self._allowed)
        return addresses[:TRIED_ADDRESSES]

    async def _resolved(self, host: str, port: int) -> list[Address]:
        try:
            answers = await self._look_up(host, port)
        except (OSError, UnicodeError) as error:
            raise HostNotFound from error
        addresses = list(dict.fromkeys(_address_of(sockaddr) for *_, sockaddr in answers))
        if not addresses:
            raise HostNotFound
        return addresses

    async def _look_up(self, host: str, port: int) -> list[Any]:
        """What the system's resolver says. The tenant's share is given back when it returns, not when we give up."""
        tenant_id = ON_BEHALF_OF.get()
        share = self._shares.get(tenant_id)
        if share is None:
            share = self._shares[tenant_id] = asyncio.Semaphore(LOOKUPS_PER_TENANT)
        await share.acquire()
        loop = asyncio.get_running_loop()

        def give_back(_: object) -> None:
            with suppress(RuntimeError):  # the loop is closed by now
                loop.call_soon_threadsafe(share.release)

        answer = self._threads.submit(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        answer.add_done_callback(give_back)
        return await asyncio.wrap_future(answer)

    async def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 - the signature is httpcore's
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore2.AsyncNetworkStream:
        raise AddressRefused("A webhook does not call sockets of this machine.")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def close(self) -> None:
        """Take no more look-ups; those that run end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Stream(httpcore2.AsyncNetworkStream):
    """Closed when its TLS handshake is cut off: httpcore leaves a cancelled one to the garbage collector."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
    ) -> httpcore2.AsyncNetworkStream:
        try:
            return await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            await self._stream.aclose()
            raise

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _address_of(sockaddr: tuple[str | int | bytes, ...]) -> Address:
    host = str(sockaddr[0])
    # Python gives the scope of an IPv6 address as a number beside it.
    if len(sockaddr) == 4 and sockaddr[3] and "%" not in host:
        host = f"{host}%{sockaddr[3]!s}"
    return ip_address(host)
