"""What every connection to PostgreSQL has in common: how its URL is read, and how its end is noticed."""

import socket
import ssl
from typing import Any

import asyncpg
from sqlalchemy import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from app.core.settings.database_url import driver_options, trusts_the_system

CONNECT_TIMEOUT_SECONDS = 5
ANSWER_SECONDS = 5
# The address is the driver's to read: SQLAlchemy hands it parameters that it does not have.
NO_ADDRESS = "postgresql+asyncpg://"

# A silent connection is asked for a sign after so long, and given up after so many questions: half a minute in all.
KEEP_ALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPALIVE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
# What was sent and is not acknowledged: the way is gone, or the server's machine.
UNACKNOWLEDGED_MILLISECONDS = 5000


def connect_arguments(url: str | URL) -> dict[str, Any]:
    """The URL as arguments of `asyncpg.connect`."""
    url = make_url(url)
    query = {name: value if isinstance(value, str) else value[-1] for name, value in url.query.items()}
    arguments = driver_options(query, CONNECT_TIMEOUT_SECONDS)
    if trusts_the_system(query):
        arguments["ssl"] = _system_authorities(query)
    return arguments | {
        "host": url.host or None,
        "port": url.port,
        "user": url.username,
        "password": url.password,
        "database": url.database,
    }


def plain_engine(url: str | URL, **options: Any) -> AsyncEngine:
    """Without a pool and without a guard: for the owner's work. It names no statement, and may so pass a pooler."""
    unnamed = {"prepared_statement_cache_size": 0, "statement_cache_size": 0}
    arguments = connect_arguments(url) | {"connection_class": LiveConnection, **unnamed}
    return create_async_engine(NO_ADDRESS, poolclass=NullPool, connect_args=arguments, hide_parameters=True, **options)


async def ask(connection: asyncpg.Connection, question: str, seconds: float = ANSWER_SECONDS) -> list[str]:
    """The values of one row without white space in it, which is about the server and of no tenant.

    In one trip, with nothing prepared: outside of a transaction a pooler may hand each trip to another server.
    """
    answer = bytearray()

    async def keep(data: bytes) -> None:
        answer.extend(data)

    await connection.copy_from_query(question, output=keep, timeout=seconds)
    return answer.decode().split()


async def is_pooled(connection: asyncpg.Connection) -> bool:
    """Whether a pooler stands between: the process that it told the client is not the one that answers."""
    (pid,) = await ask(connection, "SELECT pg_backend_pid()")
    return bool(int(pid) != connection.get_server_pid())


def _system_authorities(query: dict[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if "sslcert" in query:
        context.load_cert_chain(query["sslcert"], query.get("sslkey"), query.get("sslpassword", ""))
    return context


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
