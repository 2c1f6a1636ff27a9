"""The guarded transaction: `BEGIN` and the tenant's context in one trip, on every transaction of the runtime engine.

`app.db.session` enters before the first statement, commits and rolls back. `GuardedConnection` begins no other
transaction and fetches nothing outside of one, so no statement is executed that row-level security does not cover.
"""

from collections.abc import Coroutine
from typing import Any, NoReturn

import asyncpg

from app.core.errors import (
    AppError,
    AuthenticationError,
    BudgetExceeded,
    IsolationUnavailable,
    ModelWithoutPrice,
    TenantMoving,
)
from app.core.ids import is_id
from app.core.principal import Principal
from app.db.connection import LiveConnection

# Raised, or a warning where the caller may read on.
MOVING = "LS006"
# SQLSTATEs raised by the functions of the migrations.
ERRORS: dict[str, type[AppError]] = {
    "LS001": AuthenticationError,
    "LS002": IsolationUnavailable,
    "LS003": BudgetExceeded,
    "LS004": ModelWithoutPrice,
    MOVING: TenantMoving,
}

# The first trip waits for no lock: who does not answer it is not there.
ENTER_SECONDS = 5

# A simple query gives no rows, but says how many there were: one where entering answers true, that the caller sees its
# own messages and conversations alone.
_ENTERING = "SELECT WHERE "
_ONE_ROW = "SELECT 1"

ENTER_NO_TENANT = f"{_ENTERING}enter_tenant(NULL)"
"""For the look-up at login and the sweep: the role is taken, and no tenant's row is visible."""


def begin_within(seconds: float, *, only_read: bool = False) -> str:
    """The SQL that begins a transaction whose statements, its commit among them, may take so long each.

    Of the transaction: what a session or a connection sets, another one would meet behind a pooler.
    """
    return f"BEGIN{' READ ONLY' if only_read else ''}; SET LOCAL statement_timeout = {max(1, round(seconds * 1000))}; "


def enter_as(principal: Principal) -> str:
    """The SQL that enters as a caller, once a transaction was begun.

    The user must still exist, enabled, with this role and token version, and the session must not have ended; of a key,
    the key must not have. Without either (while logging in) the user alone counts.
    """
    if principal.role not in ("admin", "user"):
        raise AuthenticationError
    who = f"{_literal(principal.tenant_id)}, {_literal(principal.user_id)}"
    if principal.key_id is not None:
        as_admin = "true" if principal.is_admin else "false"
        return f"{_ENTERING}enter_tenant_by_key({who}, {_literal(principal.key_id)}, {as_admin})"
    session = "" if principal.session_id is None else f", {_literal(principal.session_id)}"
    return f"{_ENTERING}enter_tenant({who}, '{principal.role}', {int(principal.token_version)}{session})"


def enter_tenant(tenant_id: str) -> str:
    """The SQL that enters for work in a tenant that has no caller: registering, settling, operators."""
    return f"{_ENTERING}enter_tenant({_literal(tenant_id)})"


def _literal(identifier: str) -> str:
    # A simple query has no parameters: nothing but the 36 characters of a UUID may become a literal.
    if not is_id(identifier):
        raise ValueError("not an identifier")
    return f"'{identifier}'"


class GuardedConnection(LiveConnection):
    """A connection whose transactions begin by entering, and whose statements are executed in one."""

    own_alone = False
    """Whether who entered sees its own messages and conversations alone."""

    reads_alone = False
    """Whether who entered may not write, because the tenant is moving."""

    # On the clock of `time.monotonic`, for the pool: when it was opened, was used last, and is to be closed.
    opened = used = ends = 0.0

    async def enter(self, entry: str) -> None:
        """Begin a transaction with SQL of this module; on a failure there is none."""
        self.reads_alone = False
        try:
            self.own_alone = await self.execute(entry, timeout=ENTER_SECONDS) == _ONE_ROW
        except asyncpg.PostgresError:
            if not self.is_closed():
                await self.execute("ROLLBACK")
            raise
        except BaseException:
            # Cancelled or cut off: nobody knows whether it began.
            self.terminate()
            raise

    def hear_warnings(self) -> None:
        """Once, when it is new: entering a tenant that is moving warns."""

        def hear(_: asyncpg.Connection, message: asyncpg.PostgresLogMessage) -> None:
            if message.sqlstate == MOVING:
                self.reads_alone = True

        self.add_log_listener(hear)

    def fetch(self, query: str, *args: Any, **options: Any) -> Coroutine[Any, Any, list[asyncpg.Record]]:
        """As the driver's, for who has entered; raises `RuntimeError` for who has not."""
        self._require_entered()
        answer: Coroutine[Any, Any, list[asyncpg.Record]] = super().fetch(query, *args, **options)
        return answer

    def executemany(self, command: str, args: Any, **options: Any) -> Coroutine[Any, Any, None]:
        """As `fetch`, for many sets of arguments."""
        self._require_entered()
        done: Coroutine[Any, Any, None] = super().executemany(command, args, **options)
        return done

    def _require_entered(self) -> None:
        if self.is_closed():
            raise asyncpg.ConnectionDoesNotExistError("the connection was closed in mid-transaction")
        if not self.is_in_transaction():
            raise RuntimeError("statements of the runtime are executed in a transaction of app.db.session alone")

    def transaction(self, **_: Any) -> NoReturn:
        """Raises `RuntimeError`: it would begin without entering, or be one within the session's."""
        raise RuntimeError("transactions of the runtime are opened by app.db.session alone")
