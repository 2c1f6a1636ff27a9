"""The engine, and the one place where a transaction is opened."""

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING

import asyncpg
import structlog
from sqlalchemy import URL, make_url, text

from app.core.errors import DatabaseUnavailable, TenantMoving
from app.core.principal import Origin, Principal
from app.db import rls
from app.db.execution import Connection
from app.db.failures import FOREIGN_KEY_VIOLATION, READ_ONLY, domain_error, reason_of, state_of
from app.db.gate import Gate
from app.db.pool import DEFAULT, NO_ANSWER, Pool, Prepared, discard
from app.db.reading import Reading
from app.observability.transactions import TransactionWatch, watched

if TYPE_CHECKING:
    from app.db.replica import Replica
    from app.db.texts import Texts

NOWHERE = Origin()
# Lines at the gate that are no tenant's.
NO_TENANT, BACKGROUND = "", "background"
# Of a statement of background work; and for the answer to a statement beyond the time that it may take.
BACKGROUND_SECONDS, ANSWER_SECONDS = 25.0, 5.0
CHECK_SECONDS = 2.0
CHECKS_A_SECOND = 10
# As any write would: where the server is read-only it fails with the same error, and the connection is thrown away.
CHECK_WRITABLE = text(
    """
DO $$ BEGIN
  IF current_setting('transaction_read_only')::boolean THEN RAISE read_only_sql_transaction; END IF;
END $$
""".replace(":", r"\:")
)
CUT_OFF = (asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError)
ROLLBACK_SECONDS = 5
logger = structlog.get_logger()


class Database:
    """A pool of guarded connections behind a gate at which each tenant has its own line.

    The pool never overflows by default: opening a connection costs as much as many transactions.
    """

    tries_again = True
    """Whether what was cut off while it was idle is begun again here."""

    def __init__(
        self,
        url: str | URL,
        pool_size: int,
        max_overflow: int = 0,
        prepared: Prepared = DEFAULT,
        *,
        share: int = 0,
        statement_seconds: float = 5.0,
        name: str = "primary",
    ) -> None:
        """`share`: connections that one tenant may hold; 0: half of them. `statement_seconds`: of a request.

        `name`: as metrics and spans call it.
        """
        self.name = name
        long_seconds = max(statement_seconds, BACKGROUND_SECONDS)
        self.command_seconds = long_seconds + ANSWER_SECONDS
        self.texts: Texts | None = None
        """What seals and opens texts of tenants; None: they are stored as they are."""
        self.replica: Replica | None = None
        """Where reads go while it is as fresh."""
        self.pool = Pool(
            make_url(url),
            pool_size,
            prepared,
            self.command_seconds,
        )
        places = pool_size + max_overflow
        self.gate = Gate(places, share or (places + 1) // 2)
        self._begin_request = rls.begin_within(statement_seconds)
        self._begin_background = rls.begin_within(long_seconds)
        self._begin_reading = rls.begin_within(statement_seconds, only_read=True)
        self._begin_long_reading = rls.begin_within(long_seconds, only_read=True)
        self._probe: asyncio.Task[None] | None = None
        self._probing_since, self._probes = 0.0, 0

    def session(self, entry: str, line: str = NO_TENANT) -> "Session":
        """A session of a request: it enters with this SQL, made by `app.db.rls`, and waits in the tenant's line."""
        return Session(self, self._begin_request + entry, line)

    def background(self, entry: str, line: str = BACKGROUND) -> "Session":
        """A session of work that nobody waits for, or that ends what was begun: it has more time."""
        return Session(self, self._begin_background + entry, line)

    def reading(self, entry: str, line: str, *, long: bool = False) -> "Session | Reading":
        """As `session`, for what only reads: any write in it fails. `long`: with the time of background work."""
        begin = self._begin_long_reading if long else self._begin_reading
        primary = Session(self, begin + entry, line)
        replica = self.replica
        if replica is None:
            return primary
        return Reading(replica, lambda first: Session(replica, begin + first + entry, line), primary)

    def tenant_session(self, principal: Principal, origin: Origin = NOWHERE) -> "TenantSession":
        return TenantSession(self, principal, origin)

    async def check(self) -> None:
        """Raise `DatabaseUnavailable` unless a guarded transaction that can write is opened within `CHECK_SECONDS`.

        A probe that finds no answer is not waited for, and the next checks wait for the same one: they must not take
        the connections that it lacks. Anybody may ask: beyond `CHECKS_A_SECOND` the last answer stands.
        """
        if self._probe is None or (self._probe.done() and self._may_probe()):
            self._probe = asyncio.create_task(self._write_nothing())
        probe = self._probe  # by the time it has ended, another check may have begun the next one
        ended, _ = await asyncio.wait({probe}, timeout=CHECK_SECONDS)
        if not ended:
            raise DatabaseUnavailable
        probe.result()

    def _may_probe(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._probing_since >= 1:
            self._probing_since, self._probes = now, 0
        self._probes += 1
        return self._probes <= CHECKS_A_SECOND

    async def _write_nothing(self) -> None:
        async with self.session(rls.ENTER_NO_TENANT) as connection:
            await connection.execute(CHECK_WRITABLE)

    async def close(self) -> None:
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.wait({self._probe})
        if self.replica is not None:
            await self.replica.close()
        await self.pool.close()


class Session:
    """One transaction: committed when its block ends well, rolled back when it raises.

    It is `async with session as connection`, so the commit happens before a route builds its answer. The transaction
    is open when the block begins; it costs one trip, the same that enters the tenant.
    """

    __slots__ = ("_connection", "_database", "_entry", "_line", "_watch")

    def __init__(self, database: "Database | Replica", entry: str, line: str) -> None:
        self._database, self._entry, self._line = database, entry, line
        self._connection: Connection | None = None
        self._watch: TransactionWatch | None = None

    async def __aenter__(self) -> Connection:
        self._watch = watched(self._database.name)
        try:
            await self._database.gate.enter(self._line)
            try:
                self._connection = await self._entered(try_again=True)
            except BaseException:
                self._database.gate.leave(self._line)
                raise
        except BaseException as error:
            self._note_end(error)
            raise
        return self._connection

    async def _entered(self, *, try_again: bool) -> Connection:
        try:
            connection = Connection(await self._database.pool.take(), self._database.texts)
            if self._watch is not None:
                self._watch.begun()
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            # Whatever the server says to a new connection, or the driver about how to make one.
            raise _unavailable(error) from error
        except OSError as error:
            raise _translated(error) from error
        try:
            await connection.driver.enter(self._entry)
        except BaseException as error:
            cut_off = isinstance(error, CUT_OFF) and connection.driver.is_closed()
            await self._close(connection, error)
            if not (try_again and cut_off and self._database.tries_again):
                raise _translated(error) from error
        else:
            return connection
        # The server had closed it while it was idle, and nothing was done yet.
        return await self._entered(try_again=False)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        connection, self._connection = self._connection, None
        assert connection is not None
        try:
            if error is None:
                await connection.driver.execute("COMMIT")
        except BaseException as failure:  # noqa: BLE001 - raised again below, once the connection is back
            error = failure
        given = error
        if state_of(error) == READ_ONLY and connection.driver.reads_alone:
            error = TenantMoving()
        try:
            await self._close(connection, error)
        finally:
            self._database.gate.leave(self._line)
        self._note_end(error)
        if error is not None:
            if state_of(error) == FOREIGN_KEY_VIOLATION:
                await self._enter_again()
            translated = _translated(error)
            if translated is not given or kind is None:
                raise translated from given

    def _note_end(self, error: BaseException | None) -> None:
        if self._watch is not None:
            self._watch.ended(None if error is None else domain_error(error))

    async def _close(self, connection: Connection, error: BaseException | None) -> None:
        """Give the connection back, rolled back if it was not committed."""
        if error is None:
            self._database.pool.give_back(connection.driver)
            return
        self._database.pool.distrust(connection.driver, error)
        # A cancelled task must still give its connection back.
        await asyncio.shield(asyncio.ensure_future(self._roll_back(connection)))

    async def _roll_back(self, connection: Connection) -> None:
        driver = connection.driver
        try:
            if connection.cut:
                await discard(driver)
            elif not driver.is_closed() and driver.is_in_transaction():
                await driver.execute("ROLLBACK", timeout=ROLLBACK_SECONDS)
        except NO_ANSWER:
            driver.terminate()
        finally:
            self._database.pool.give_back(driver)

    async def _enter_again(self) -> None:
        """Raise what entering raises now: the caller, or its tenant, may have been deleted in mid-transaction."""
        async with Session(self._database, self._entry, self._line):
            pass


class TenantSession:
    """Opens the transactions of one caller, in the caller's tenant. `origin` is for the audit log."""

    __slots__ = ("_database", "origin", "principal")

    def __init__(self, database: Database, principal: Principal, origin: Origin = NOWHERE) -> None:
        self._database = database
        self.principal = principal
        self.origin = origin

    @property
    def seals_texts(self) -> bool:
        """Whether texts are stored sealed, and no words of them are."""
        return self._database.texts is not None and self._database.texts.seals

    def begin(self) -> Session:
        """A transaction that raises `AuthenticationError` once the user is gone or changed, or the session ended."""
        return self._database.session(rls.enter_as(self.principal), self.principal.tenant_id)

    def read(self) -> Session | Reading:
        """As `begin`, for what only reads and must not be older than the request, at the replica if there is one."""
        return self._database.reading(rls.enter_as(self.principal), self.principal.tenant_id)

    def read_long(self) -> Session | Reading:
        """As `read`, with the time of `begin_long`."""
        return self._database.reading(rls.enter_as(self.principal), self.principal.tenant_id, long=True)

    def begin_long(self) -> Session:
        """As `begin`, for what reads or deletes a whole tenant's or user's rows: each statement has more time."""
        return self._database.background(rls.enter_as(self.principal), self.principal.tenant_id)

    def begin_unattended(self) -> Session:
        """In the caller's tenant and no longer as the caller, for ending what it began: it may be gone by then."""
        return self._database.background(rls.enter_tenant(self.principal.tenant_id), self.principal.tenant_id)


def _translated(error: BaseException) -> BaseException:
    translated = domain_error(error)
    if isinstance(translated, DatabaseUnavailable) and translated is not error:
        return _unavailable(error, translated)
    return translated


def _unavailable(error: BaseException, as_what: DatabaseUnavailable | None = None) -> DatabaseUnavailable:
    """The caller is told no more than this; why stands in the log."""
    logger.warning("database_unavailable", reason=reason_of(error))
    return as_what or DatabaseUnavailable()
