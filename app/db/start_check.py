"""Where the databases' URLs lead, looked at once at start: a setting that cannot work is refused by its name.

What is away at start is not judged: the service begins without it and serves when it comes.
"""

import secrets
from dataclasses import dataclass

import asyncpg
import structlog

from app.core.settings.database import DatabaseSettings
from app.core.settings.unusable import UnusableSetting
from app.db.connection import LiveConnection, ask, connect_arguments
from app.db.failures import state_of

LOOK = """
SELECT pg_backend_pid(), pg_is_in_recovery(), system_identifier, md5(current_database()) FROM pg_control_system()
"""
# What a server, or a pooler before it, says to a URL that will be no better later: a parameter that it does not take,
# the login, the password, the database.
HOPELESS = ("08P01", "28", "3D000", "22023")
DUPLICATE_STATEMENT = "42P05"
PROBES = 3
DIRECT, PREPARED, REPLICA = "DATABASE_DIRECT_URL", "DB_POOLER_PREPARED", "DATABASE_REPLICA_URL"

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Seen:
    """A server: `holds` is the same for the same database of a cluster, its replicas included."""

    pooled: bool
    recovering: bool
    holds: tuple[str, str]


async def check_databases(settings: DatabaseSettings, url: str) -> None:
    """Raise `UnusableSetting` for what cannot work; `url` is `DATABASE_URL`, or the embedded server's."""
    direct = await _look(DIRECT, settings.database_direct_url) if settings.database_direct_url else None
    if direct is not None and direct.pooled:
        raise UnusableSetting(DIRECT, "a pooler stands before the database there too, and hands on no notifications")
    replica = await _look(REPLICA, settings.database_replica_url) if settings.database_replica_url else None
    if replica is not None and not replica.recovering:
        raise UnusableSetting(REPLICA, "it leads to a server that is no replica, as DATABASE_URL itself is none")
    main = await _look("DATABASE_URL", url)
    if main is None:
        return
    for name, seen in ((DIRECT, direct), (REPLICA, replica)):
        if seen is not None and seen.holds != main.holds:
            raise UnusableSetting(name, "it leads to another database than DATABASE_URL, or to one of another cluster")
    if main.pooled:
        await _check_pooler(settings, url)


async def _check_pooler(settings: DatabaseSettings, url: str) -> None:
    if connect_arguments(url)["server_settings"].get("options"):
        raise UnusableSetting("DATABASE_URL", "options are a session's, and behind a pooler nobody has one to himself")
    if settings.db_pooler_prepared and not await _keeps_statements(url):
        raise UnusableSetting(PREPARED, "the pooler hands one client's prepared statement to another")
    if not settings.database_direct_url:
        logger.warning(
            "notifications_not_heard",
            reason="a pooler stands before the database",
            remedy=DIRECT,
            until_then="readers at other processes look every 2 s, and what is cancelled there ends within 1 s",
        )


async def _look(name: str, url: str) -> Seen | None:
    """None if nobody is there."""
    try:
        connection = await _connect(url)
    except asyncpg.PostgresError as error:
        if state_of(error).startswith(HOPELESS):
            raise UnusableSetting(name, f"refused with SQLSTATE {state_of(error)} ({type(error).__name__})") from None
        _warn(name, error)
        return None
    except (asyncpg.InterfaceError, OSError) as error:
        _warn(name, error)
        return None
    try:
        pid, recovering, *holds = await ask(connection, LOOK)
        return Seen(int(pid) != connection.get_server_pid(), recovering == "t", (holds[0], holds[1]))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        _warn(name, error)
        return None
    finally:
        connection.terminate()


def _warn(name: str, error: Exception) -> None:
    logger.warning("database_away_at_start", setting=name, reason=f"{type(error).__name__} {state_of(error)}".strip())


async def _keeps_statements(url: str) -> bool:
    """Whether two clients may give two statements one name. Idle, a pooler hands both the same server."""
    for _ in range(PROBES):
        name, clients = f"probe_{secrets.token_hex(8)}", [await _connect(url), await _connect(url)]
        try:
            for number, client in enumerate(clients):
                # The answer frees the server for the next client.
                await (await client.prepare(f"SELECT {number}", name=name)).fetch()
        except asyncpg.PostgresError as error:
            if state_of(error) == DUPLICATE_STATEMENT:
                return False
            raise
        finally:
            for client in clients:
                client.terminate()
    return True


async def _connect(url: str) -> asyncpg.Connection:
    return await asyncpg.connect(**connect_arguments(url), connection_class=LiveConnection, statement_cache_size=0)
