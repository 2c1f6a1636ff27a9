"""How a connection is kept alive, and noticed when it is not: what every connection to PostgreSQL has in common."""

import socket
from typing import Any

import asyncpg

# A silent connection is asked for a sign after so long, and given up after so many questions: half a minute in all.
KEEP_ALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPALIVE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
# What was sent and is not acknowledged: the way is gone, or the server's machine.
UNACKNOWLEDGED_MILLISECONDS = 5000


class LiveConnection(asyncpg.Connection):  # type: ignore[misc]
    """A connection whose socket notices that nobody is at the other end."""

    def __init__(self, protocol: Any, transport: Any, *rest: Any) -> None:
        _keep_alive(transport.get_extra_info("socket"))
        super().__init__(protocol, transport, *rest)


def _keep_alive(connection: socket.socket) -> None:
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Systems name and have them differently: what there is.
    for name, value in {**KEEP_ALIVE, "TCP_USER_TIMEOUT": UNACKNOWLEDGED_MILLISECONDS}.items():
        option = getattr(socket, name, None)
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
