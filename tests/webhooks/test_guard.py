"""No tenant's webhook reaches an address of ours."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import httpcore2
import pytest

from app.webhooks.client import Delivery, WebhookClient
from app.webhooks.guard import (
    LOOKUPS_PER_TENANT,
    ON_BEHALF_OF,
    TRIED_ADDRESSES,
    AddressRefused,
    GuardedBackend,
    check_address,
)
from tests.waiting import until, within_patience
from tests.webhooks.receiver import LOOPBACK, Receiver, connecting, resolving

PUBLIC = "93.184.215.14"
PUBLIC_IPV6 = "2606:4700::1111"
REFUSED = Delivery(ok=False, final=True, reason="address_refused")

NOT_PUBLIC = {
    "unspecified": "0.0.0.0",  # noqa: S104
    "this network": "0.1.2.3",
    "loopback": "127.0.0.1",
    "all of loopback": "127.255.255.254",
    "private 10": "10.0.0.1",
    "private 172.16": "172.16.0.1",
    "private 172.31": "172.31.255.255",
    "private 192.168": "192.168.1.1",
    "link-local": "169.254.0.1",
    "metadata of the clouds": "169.254.169.254",
    "metadata of Oracle": "192.0.0.192",
    "metadata of Alibaba": "100.100.100.200",
    "host agent of Azure": "168.63.129.16",
    "shared by carriers, first": "100.64.0.0",
    "shared by carriers, last": "100.127.255.255",
    "IETF protocols": "192.0.0.8",
    "documentation 1": "192.0.2.1",
    "documentation 2": "198.51.100.1",
    "documentation 3": "203.0.113.1",
    "benchmarking, first": "198.18.0.0",
    "benchmarking, last": "198.19.255.255",
    "6to4 relay": "192.88.99.1",
    "multicast": "224.0.0.1",
    "multicast of an organisation": "239.255.255.250",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "IPv6 unspecified": "::",
    "IPv6 loopback": "::1",
    "IPv4-compatible loopback": "::7f00:1",
    "IPv4-mapped loopback": "::ffff:127.0.0.1",
    "IPv4-mapped metadata": "::ffff:169.254.169.254",
    "IPv4-mapped public": "::ffff:93.184.215.14",
    "IPv4-translated": "::ffff:0:7f00:1",
    "NAT64": "64:ff9b::a9fe:a9fe",
    "NAT64 of a site": "64:ff9b:1::a9fe:a9fe",
    "discard": "100::1",
    "Teredo": "2001::1",
    "ORCHID": "2001:20::1",
    "IPv6 benchmarking": "2001:2::1",
    "IPv6 documentation": "2001:db8::1",
    "IPv6 documentation, new": "3fff::1",
    "6to4": "2002:7f00:1::1",
    "segment routing": "5f00::1",
    "not given out": "4000::1",
    "unique local": "fd00::1",
    "metadata of Amazon": "fd00:ec2::254",
    "IPv6 link-local": "fe80::1",
    "scoped link-local": "fe80::1%eth0",
    "scoped public": "2606:4700::1111%1",
    "site-local": "fec0::1",
    "IPv6 multicast": "ff02::1",
    "IPv6 multicast to the world": "ff0e::1",
}
# What the resolver makes an address of.
SPELLINGS = {
    "integer": "2130706433",
    "hexadecimal": "0x7f000001",
    "octal": "017700000001",
    "parts in hexadecimal": "0x7f.0x0.0x0.0x1",
    "parts in octal": "0177.0.0.1",
    "short": "127.1",
    "zero": "0",
    "metadata as an integer": "2852039166",
}


@pytest.fixture
def guard() -> Iterator[GuardedBackend]:
    guard = GuardedBackend()
    yield guard
    guard.close()


@pytest.mark.parametrize("address", NOT_PUBLIC.values(), ids=NOT_PUBLIC)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        check_address(ip_address(address))
    assert address not in str(caught.value).split()


@pytest.mark.parametrize("address", [PUBLIC, "1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", PUBLIC_IPV6, "2a00::1"])
def test_a_public_address_passes(address: str) -> None:
    check_address(ip_address(address))


def test_an_allowed_network_is_an_exception_for_itself_alone() -> None:
    allowed = (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))
    check_address(ip_address("10.1.2.3"), allowed)
    check_address(ip_address("fd00::1"), allowed)
    for other in ("10.2.0.1", "::ffff:10.1.2.3", "fc00::1", "127.0.0.1"):
        with pytest.raises(AddressRefused):
            check_address(ip_address(other), allowed)


@pytest.mark.parametrize(
    "host", [address for address in NOT_PUBLIC.values() if "%" not in address] + list(SPELLINGS.values())
)
async def test_no_connection_is_made_to_a_host_that_is_not_public(guard: GuardedBackend, host: str) -> None:
    with connecting() as connected, pytest.raises(AddressRefused):
        await guard.connect_tcp(host, 80)
    assert connected == []


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "169.254.169.254", "fe80::1%lo"])
async def test_a_name_that_resolves_to_such_an_address_is_refused(guard: GuardedBackend, address: str) -> None:
    names = {"hooks.example.com": [[address]]}
    with resolving(names), connecting() as connected, pytest.raises(AddressRefused):
        await guard.connect_tcp("hooks.example.com", 80)
    assert connected == []


@pytest.mark.parametrize("answer", [[PUBLIC, "10.0.0.1"], ["10.0.0.1", PUBLIC], [PUBLIC, PUBLIC_IPV6, "::1"]])
async def test_one_private_address_among_public_ones_refuses_the_host(guard: GuardedBackend, answer: list[str]) -> None:
    with resolving({"hooks.example.com": [answer]}), connecting() as connected, pytest.raises(AddressRefused):
        await guard.connect_tcp("hooks.example.com", 80)
    assert connected == []


async def test_a_name_that_turns_private_after_the_check_is_called_at_the_address_checked(
    strict: WebhookClient, receiver: Receiver
) -> None:
    names = {"rebound.example.com": [[PUBLIC], ["127.0.0.1"]]}
    with resolving(names) as resolver, connecting(receiver.port) as connected:
        first = await strict.deliver("http://rebound.example.com/", "msg_1", b"{}", [b"secret"])
        assert (first.ok, connected, resolver.asked) == (True, [(PUBLIC, 80)], ["rebound.example.com"])
        second = await strict.deliver("http://rebound.example.com/", "msg_2", b"{}", [b"secret"])
    assert second == REFUSED
    assert connected == [(PUBLIC, 80)]
    assert len(receiver.received) == 1


async def test_the_next_address_is_tried_when_the_first_does_not_answer(
    strict: WebhookClient, receiver: Receiver
) -> None:
    names = {"hooks.example.com": [[PUBLIC_IPV6, PUBLIC]]}
    with resolving(names), connecting(receiver.port, broken=(PUBLIC_IPV6,)) as connected:
        assert (await strict.deliver("http://hooks.example.com/", "msg", b"{}", [b"secret"])).ok
    assert connected == [(PUBLIC_IPV6, 80), (PUBLIC, 80)]


async def test_a_name_with_many_addresses_does_not_make_us_knock_at_all_of_them(guard: GuardedBackend) -> None:
    many = [f"93.184.215.{last}" for last in range(1, 50)]
    with resolving({"hooks.example.com": [many]}), connecting() as connected, pytest.raises(httpcore2.ConnectError):
        await guard.connect_tcp("hooks.example.com", 80)
    assert [host for host, _ in connected] == many[:TRIED_ADDRESSES]


async def test_a_socket_of_this_machine_is_refused(guard: GuardedBackend) -> None:
    with pytest.raises(AddressRefused):
        await guard.connect_unix_socket("/var/run/docker.sock")


async def test_an_allowed_network_may_be_called(receiver: Receiver) -> None:
    guard = GuardedBackend(LOOPBACK)
    try:
        stream = await guard.connect_tcp("127.0.0.1", receiver.port)
        await stream.aclose()
    finally:
        guard.close()


class SilentNames:
    """A resolver whose answers to `*.silent.example` never come, and to others at once."""

    def __init__(self) -> None:
        self.asked = 0
        self.speak = threading.Event()

    def getaddrinfo(self, host: str, port: int, **_: Any) -> list[Any]:
        if host.endswith(".silent.example"):
            self.asked += 1
            self.speak.wait(60)
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (PUBLIC, port))]


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[SilentNames]:
    names = SilentNames()
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    yield names
    names.speak.set()


async def look_up(guard: GuardedBackend, tenant: str, host: str) -> None:
    ON_BEHALF_OF.set(tenant)
    await guard.connect_tcp(host, 80)


async def test_silent_name_servers_of_some_tenants_do_not_hold_up_another(
    guard: GuardedBackend, silent: SilentNames
) -> None:
    with connecting() as connected:
        stuck = [asyncio.create_task(look_up(guard, f"tenant {n % 2}", f"{n}.silent.example")) for n in range(200)]
        await until(lambda: silent.asked >= 2 * LOOKUPS_PER_TENANT, "the look-ups to hang")
        with pytest.raises(httpcore2.ConnectError):  # it was resolved, and connected to
            await within_patience(look_up(guard, "another", "hooks.example.com"), "another tenant's look-up")
        assert connected == [(PUBLIC, 80)]
        assert silent.asked == 2 * LOOKUPS_PER_TENANT
        # Given up, and their threads still wait: the share comes back when the answers do.
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
        late = asyncio.create_task(look_up(guard, "tenant 0", "hooks.example.com"))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not late.done()
        silent.speak.set()
        with pytest.raises(httpcore2.ConnectError):
            await within_patience(late, "the share that came back")
