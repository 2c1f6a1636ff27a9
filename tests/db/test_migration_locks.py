"""A migration beside a service that serves: it waits for no lock long, comes again, and is held to that by a linter."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from alembic.config import Config
from sqlalchemy.exc import DBAPIError

from alembic import command
from app.db import migration
from app.db.provision import ALEMBIC_INI, ROOT, newest_revision
from checks.migrations import VERSIONS, complaints, recorded
from tests.conftest import dsn
from tests.own_database import OwnDatabase, own_database
from tests.waiting import until

REVISION = """
from alembic import op
from app.db.migration import create_index_concurrently, drop_index_concurrently, wait_for_what_runs
{comment}
revision = "{name}"
down_revision = "{down}"
branch_labels = None
depends_on = None


def upgrade():
    {upgrade}


def downgrade():
    {downgrade}
"""
ADD = "op.execute('ALTER TABLE tenants ADD COLUMN {0} int')"
DROP = "op.execute('ALTER TABLE tenants DROP COLUMN {0}')"
COLUMNS = "SELECT array_agg(column_name::text) FROM information_schema.columns WHERE table_name = 'tenants'"
VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('ix_own')"
BUILDS = """SELECT count(*) FROM pg_stat_activity
WHERE datname = $1 AND query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'"""
# The first one has its turn, and does nothing more on this connection than to hold it.
LOOKS = """SELECT count(*) > 0 FROM pg_stat_activity
WHERE datname = $1 AND (query LIKE '%pg_try_advisory_xact_lock%' OR query LIKE 'ROLLBACK%')"""
ELSEWHERE = """
from alembic import command
from alembic.config import Config
config = Config({ini!r})
config.set_main_option("version_locations", {locations!r})
config.attributes["url"] = {url!r}
command.upgrade(config, "head")
"""
VERSION = "SELECT version_num FROM alembic_version"


class Revisions:
    """Revisions after the newest one, in a directory of the test's."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory, self.newest = directory, newest_revision()
        self.config = Config(ALEMBIC_INI)
        self.config.set_main_option("version_locations", f"{VERSIONS}:{directory}")
        self.config.attributes["url"] = url

    def add(self, name: str, upgrade: str, downgrade: str = "pass", comment: str = "") -> None:
        source = REVISION.format(name=name, down=self.newest, upgrade=upgrade, downgrade=downgrade, comment=comment)
        (self.directory / f"{name}.py").write_text(source)
        self.newest = name

    async def run(self, function: Callable[..., None], target: str) -> None:
        await asyncio.to_thread(function, self.config, target)

    async def elsewhere(self) -> asyncio.subprocess.Process:
        """Another process that migrates: Alembic itself can do it once in each."""
        locations = self.config.get_main_option("version_locations")
        script = ELSEWHERE.format(ini=str(ALEMBIC_INI), locations=locations, url=self.config.attributes["url"])
        return await asyncio.create_subprocess_exec(sys.executable, "-c", script, cwd=ROOT)


@pytest_asyncio.fixture
async def own(template_url) -> AsyncIterator[OwnDatabase]:
    async with own_database(template_url) as own:
        yield own


@pytest.fixture
def revisions(own: OwnDatabase, tmp_path: Path) -> Revisions:
    return Revisions(tmp_path, own.text)


@pytest_asyncio.fixture
async def reader(own: OwnDatabase) -> AsyncIterator[asyncpg.Connection]:
    """A transaction that has read `tenants`."""
    connection = await asyncpg.connect(dsn(own.url))
    await connection.execute("BEGIN")
    await connection.fetch("SELECT * FROM tenants")
    yield connection
    await connection.close()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Who is blocked gives up at once, and says here that it pauses."""
    found: list[str] = []
    monkeypatch.setattr(migration, "BOUNDS", ("SET LOCAL lock_timeout = '10ms'", "SET LOCAL statement_timeout = 0"))
    monkeypatch.setattr(migration, "LOCK_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(migration, "LOCK_TRIES", 1000)

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    handler = Noting()
    logging.getLogger("alembic.env").addHandler(handler)
    yield found
    logging.getLogger("alembic.env").removeHandler(handler)


async def test_a_revision_that_meets_a_lock_is_rolled_back_as_a_whole_and_comes_again(
    own: OwnDatabase, revisions: Revisions, reader: asyncpg.Connection, pauses: list[str]
) -> None:
    revisions.add("first", "op.execute('CREATE TABLE made_first (id int)'); " + ADD.format("added"))
    migrating = asyncio.create_task(revisions.run(command.upgrade, "head"))
    await until(lambda: len(pauses) > 2 or migrating.done(), "the migration to give up twice")
    assert "made_first" not in await tables(own), "it keeps what it did while it waits"
    assert "added" not in await reader.fetchval(COLUMNS)
    await reader.execute("ROLLBACK")
    await migrating
    assert "added" in await reader.fetchval(COLUMNS)
    assert "made_first" in await tables(own)


async def test_a_lock_that_is_never_given_back_ends_the_migration_with_its_reason(
    revisions: Revisions, reader: asyncpg.Connection, pauses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration, "LOCK_TRIES", 3)
    revisions.add("first", ADD.format("added"))
    with pytest.raises(DBAPIError, match="lock timeout"):
        await revisions.run(command.upgrade, "head")
    assert len(pauses) == 2


async def test_two_steps_back_are_two_also_if_the_second_meets_a_lock(
    own: OwnDatabase, revisions: Revisions, reader: asyncpg.Connection, pauses: list[str]
) -> None:
    before = revisions.newest
    await reader.execute("ROLLBACK")
    revisions.add("first", ADD.format("one"), DROP.format("one"))
    revisions.add("second", "op.execute('CREATE TABLE two (id int)')", "op.execute('DROP TABLE two')")
    await revisions.run(command.upgrade, "head")
    await reader.execute("BEGIN; SELECT * FROM tenants")
    migrating = asyncio.create_task(revisions.run(command.downgrade, "-2"))
    await until(lambda: pauses or migrating.done(), "the second step to meet the lock")
    assert await reader.fetchval(VERSION) == "first"
    await reader.execute("ROLLBACK")
    await migrating
    assert await reader.fetchval(VERSION) == before


async def test_an_index_is_built_while_others_write_and_a_second_migration_waits_its_turn(
    own: OwnDatabase, revisions: Revisions, reader: asyncpg.Connection
) -> None:
    """What the second one waits with must be nothing that the index waits for."""
    revisions.add(
        "indexed",
        "create_index_concurrently('ix_own', 'tenants', ['name'])",
        "drop_index_concurrently('ix_own', 'tenants')",
    )
    migrating = asyncio.create_task(revisions.run(command.upgrade, "head"))

    async def begun() -> bool:
        assert not migrating.done()
        return bool(await own.admin.fetchval(BUILDS, own.url.database))

    await until(begun, "the index to wait for the transaction that reads")
    second = await revisions.elsewhere()
    await until(lambda: own.admin.fetchval(LOOKS, own.url.database), "the second migration to look for its turn")
    other = await asyncpg.connect(dsn(own.url))
    await other.execute("INSERT INTO tenants (id, name) VALUES ('meanwhile', 'meanwhile')")
    await reader.execute("ROLLBACK")
    await migrating
    assert await second.wait() == 0
    assert await other.fetchval(VALID)
    await revisions.run(command.downgrade, "-1")
    assert await other.fetchval(VALID) is None
    await other.close()


async def test_what_was_replaced_is_dropped_once_nobody_is_in_it_any_more_or_after_a_while(
    own: OwnDatabase, revisions: Revisions, reader: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = "wait_for_what_runs(); op.execute('CREATE TABLE {} (id int)')"
    revisions.add("first", made.format("made_first"))
    migrating = asyncio.create_task(revisions.run(command.upgrade, "head"))
    looks = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = $1 AND query LIKE '%held.virtualxid%'"
    await until(lambda: own.admin.fetchval(looks, own.url.database), "the migration to look who runs")
    assert "made_first" not in await tables(own)
    await reader.execute("ROLLBACK")
    await migrating
    assert "made_first" in await tables(own)

    await reader.execute("BEGIN; SELECT 1")
    monkeypatch.setattr(migration, "LONGEST_WAIT_SECONDS", 0.05)
    revisions.add("second", made.format("made_second"))
    await revisions.run(command.upgrade, "head")
    assert "made_second" in await tables(own)


async def test_the_linter_finds_what_would_stop_a_service_unless_the_revision_says_why(
    own: OwnDatabase, revisions: Revisions
) -> None:
    index = "op.create_index('ix_plain', 'messages', ['content'])"
    revisions.add("plain", index)
    revisions.add(
        "excused", index.replace("plain", "excused"), comment="# squawk: require-concurrent-index-creation, it is empty"
    )
    revisions.add("concurrent", "create_index_concurrently('ix_concurrent', 'messages', ['content'])")
    with recorded() as said:
        await revisions.run(command.upgrade, "head")
    found = complaints({"0017": "", **said}, revisions.directory)
    assert found.count("require-concurrent-index-creation") == 1
    assert found.startswith("plain:")
    assert "timeout" not in found, "the bounds of every migration are part of its SQL"


async def tables(own: OwnDatabase) -> set[str]:
    connection = await asyncpg.connect(dsn(own.url))
    try:
        return {row[0] for row in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    finally:
        await connection.close()
