"""The tests reach loopback alone; what would leave the machine fails where it begins."""

import asyncio
import socket

import pytest


async def test_a_name_is_not_looked_up() -> None:
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("hook.invalid", 80)
    with pytest.raises(socket.gaierror):
        await asyncio.get_running_loop().getaddrinfo("hook.invalid", 80)
    assert socket.getaddrinfo("localhost", 80)
    assert socket.getaddrinfo("127.0.0.1", 80)


def test_a_connection_to_another_machine_is_not_begun() -> None:
    with socket.socket() as outward:
        # Nothing is sent: the guard raises before the system is asked.
        with pytest.raises(AssertionError):
            outward.connect(("192.0.2.1", 80))
        with pytest.raises(AssertionError):
            outward.connect_ex(("192.0.2.1", 80))
