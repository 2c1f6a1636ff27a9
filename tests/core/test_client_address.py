"""The client's address: whom to believe."""

from ipaddress import ip_network

import pytest

from app.api.http.client_address import ClientAddress
from app.core.addresses import site_of

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("2001:db8:ffff::/48")]
CLIENT = "198.51.100.7"


def address(*forwarded: str, peer: str | None = "10.0.0.1") -> str:
    headers = [(b"x-forwarded-for", line.encode("latin-1")) for line in forwarded]
    client = (peer, 1234) if peer is not None else None
    return ClientAddress(TRUSTED).of(client, [(b"host", b"x"), *headers, (b"accept", b"*/*")])


@pytest.mark.parametrize("peer", [CLIENT, "2001:db8::1", "127.0.0.1"])
def test_a_peer_that_is_not_trusted_is_the_client_whatever_it_says(peer: str) -> None:
    assert address("192.0.2.1", peer=peer) == peer
    assert ClientAddress([]).of((peer, 1), [(b"x-forwarded-for", b"192.0.2.1")]) == peer


def test_a_trusted_peer_is_believed() -> None:
    assert address(CLIENT) == CLIENT
    assert address(CLIENT, peer="2001:db8:ffff::1") == CLIENT
    assert address("2001:DB8::0:1") == "2001:db8::1"


@pytest.mark.parametrize(
    "lines",
    [
        ("192.0.2.1, 198.51.100.7",),
        ("192.0.2.1,198.51.100.7 , 10.1.1.1, 2001:db8:ffff::9",),
        ("10.0.0.9, 198.51.100.7, 10.1.1.1",),
        ("192.0.2.1", "198.51.100.7", "10.1.1.1"),
        ("garbage, 198.51.100.7",),
        (" , ,198.51.100.7",),
    ],
)
def test_what_stands_left_of_the_first_address_that_is_no_proxy_is_invented(lines: tuple[str, ...]) -> None:
    assert address(*lines) == CLIENT


def test_where_all_are_proxies_the_first_of_them_is_the_client() -> None:
    assert address("10.2.2.2, 10.1.1.1") == "10.2.2.2"
    assert address() == "10.0.0.1"


@pytest.mark.parametrize("spelling", ["198.51.100.7:4711", "::ffff:198.51.100.7", "[::ffff:198.51.100.7]:4711"])
def test_ports_and_mapped_addresses_are_understood(spelling: str) -> None:
    assert address(spelling) == CLIENT
    assert address("[2001:db8::1]:4711") == address("[2001:db8::1]") == "2001:db8::1"


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "unknown",
        "_hidden",
        "198.51.100.7.9",
        "198.51.100.256",
        "0x7f000001",
        "3325256711",
        "[198.51.100.7",
        "[2001:db8::1]x",
        "198.51.100.7:port",
        "fe80::1%eth0",
        "198.51.100.7\r\nX: y",
        "\xff\xfe",
        "\u00b2.1.1.1".encode().decode("latin-1"),
        "1" * 60_000,
        "," * 60_000,
    ],
)
def test_garbage_is_neither_taken_nor_passed_over(garbage: str) -> None:
    assert address(garbage) == "10.0.0.1"
    assert address(f"192.0.2.1, {garbage}") == "10.0.0.1"
    assert address(f"192.0.2.1, {garbage}, 10.3.3.3") == "10.3.3.3"


@pytest.mark.parametrize("peer", [None, "", "testclient"])
def test_a_peer_without_an_address_leaves_it_unknown(peer: str | None) -> None:
    assert address(CLIENT, peer=peer) == ""


def test_a_socket_for_both_versions_shows_the_same_client_and_the_same_proxies() -> None:
    assert address(peer=f"::ffff:{CLIENT}") == CLIENT
    assert address(CLIENT, peer="::ffff:10.0.0.1") == CLIENT


def test_an_ipv6_client_is_its_network_of_64_bits() -> None:
    assert site_of("2001:db8:1:2::1") == site_of("2001:db8:1:2:ffff::9") == "2001:db8:1:2::/64"
    assert site_of("2001:db8:1:2::1") != site_of("2001:db8:1:3::1")
    assert site_of(CLIENT) == CLIENT
