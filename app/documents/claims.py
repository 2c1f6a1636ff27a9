"""Whose turn it is, and how a run ends that did not publish: given back, put off, or failed."""

from datetime import timedelta

from sqlalchemy import Float, Interval, String, bindparam, text

from app.db import rls
from app.db.execution import Connection, Record
from app.db.session import Database
from app.documents import totals
from app.documents.failures import FailureCode
from app.documents.removal import remove_some
from app.documents.store import HOLD, MINE
from app.models.text_places import CONTENT_ROW, OF_LOADED

# Across tenants, by a SECURITY DEFINER function: tenants take turns, whatever they have waiting.
CLAIM = text("SELECT tenant_id, id, attempts, failures FROM claim_document(:hold)").bindparams(
    bindparam("hold", type_=Interval)
)
RENEW = text(f"""
UPDATE documents SET lease_expires_at = clock_timestamp() + :hold WHERE {MINE}
""").bindparams(bindparam("hold", type_=Interval))
LOAD = text(f"""
SELECT documents.user_id, documents.name, documents.media_type, document_contents.original,
  document_contents.text IS NOT NULL AS is_read
FROM documents JOIN document_contents ON document_contents.tenant_id = :tenant_id
  AND document_contents.document_id = documents.id
WHERE {MINE}
""")
GIVE_BACK = text(f"""
UPDATE documents SET taken = false, lease_expires_at = clock_timestamp() + make_interval(secs => :pause),
  failures = CASE WHEN :failed THEN documents.failures + 1 ELSE 0 END, updated_at = clock_timestamp()
WHERE {MINE}
""").bindparams(bindparam("pause", type_=Float))
FAIL = text(f"""
UPDATE documents SET status = 'failed', error_code = :code, taken = false, lease_expires_at = NULL, updated_at = now()
WHERE {MINE} RETURNING documents.chunks
""").bindparams(bindparam("code", type_=String))
FORGET_CONTENT = text("""
UPDATE document_contents SET original = NULL, text = NULL
WHERE document_contents.tenant_id = :tenant_id AND document_contents.document_id = :document_id
""")


class ClaimedRow(Record):
    """`failures`: runs without success since the last that brought something, those whose process died among them."""

    __slots__ = ()

    tenant_id: str
    id: str
    attempts: int
    failures: int

    @property
    def of(self) -> dict[str, object]:
        """The parameters of what a run executes."""
        return {"tenant_id": self.tenant_id, "document_id": self.id, "attempt": self.attempts}


class LoadedRow(Record):
    __slots__ = ()
    text_places = OF_LOADED
    text_row = CONTENT_ROW
    if_unreadable = "raise"

    user_id: str
    name: str
    media_type: str
    original: bytes | None
    is_read: bool


async def claim(database: Database, hold: timedelta) -> ClaimedRow | None:
    async with database.background(rls.ENTER_NO_TENANT) as connection:
        return (await connection.execute(CLAIM, {"hold": hold}, ClaimedRow)).one_or_none()


async def renew(database: Database, claimed: ClaimedRow, hold: timedelta) -> None:
    async with database.background(rls.enter_tenant(claimed.tenant_id)) as connection:
        await connection.execute(RENEW, {**claimed.of, "hold": hold})


async def load(connection: Connection, claimed: ClaimedRow) -> LoadedRow | None:
    """None: it was deleted or replaced, or is another run's."""
    return (await connection.execute(LOAD, claimed.of, LoadedRow)).one_or_none()


async def give_back(
    database: Database, claimed: ClaimedRow, seconds: float, *, pause: float = 0.0, failed: bool = False
) -> None:
    """Let it be claimed again, in its turn, after `pause`; what is stored stays. `seconds` it was worked on."""
    async with database.background(rls.enter_tenant(claimed.tenant_id)) as connection:
        await totals.lock(connection, claimed.tenant_id)
        await totals.add_seconds(connection, claimed.tenant_id, seconds)
        await connection.execute(GIVE_BACK, {**claimed.of, "pause": pause, "failed": failed})


async def fail(database: Database, claimed: ClaimedRow, code: FailureCode, seconds: float) -> bool:
    """End it for good, and keep nothing of its content; False: it is gone, or another run's."""
    async with database.background(rls.enter_tenant(claimed.tenant_id)) as connection:
        await totals.lock(connection, claimed.tenant_id)
        await totals.add_seconds(connection, claimed.tenant_id, seconds)
        if (await connection.execute(HOLD, claimed.of)).one_or_none() is None:
            return False
        chunks: int = (await connection.execute(FAIL, {**claimed.of, "code": code.value})).scalar_one()
        await totals.add(connection, claimed.tenant_id, chunks=-chunks)
        await connection.execute(FORGET_CONTENT, claimed.of)
        if chunks:
            await remove_some(connection, claimed.tenant_id, claimed.id)
        return True
