"""Chat completions that were stored: found, listed, labelled and deleted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, DateTime, Select, String, bindparam, func, literal_column, select, text, tuple_
from sqlalchemy.dialects.postgresql import JSONB

from app.core.errors import NotFound, SearchEncrypted
from app.db.sealing import seals
from app.db.session import TenantSession
from app.db.visibility import Visible, viewer
from app.messages.contents import Request
from app.messages.listing import IN_TENANT, WHOLE, messages
from app.messages.lookup import find_to_change
from app.models import MessageStatus
from app.models.rows import MessageRow
from app.models.text_places import METADATA
from app.services.audit_service import record_if_of_another
from app.services.message_service import MessageService

API = "chat"
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
# As the indexes of these say it.
_STORED: ColumnElement[bool] = literal_column(
    "messages.api = 'chat' AND messages.stored AND messages.status = 'completed'"
)
_KEY = (messages.c.created_at, messages.c.id)
_POSITION = tuple_(bindparam("last_created_at", type_=DateTime(timezone=True)), bindparam("last_id", type_=String))
LABEL = seals(
    text("""
UPDATE messages SET metadata = :metadata, updated_at = now()
WHERE messages.tenant_id = :tenant_id AND messages.id = :id AND messages.status = 'completed'
""").bindparams(bindparam("metadata", type_=JSONB(none_as_null=True))),
    metadata=METADATA,
)


@dataclass(frozen=True, slots=True)
class ChatFilter:
    """By the name that the answer has for its model, and by pairs of the metadata; both look through what is stored."""

    model: str | None = None
    metadata: dict[str, str] | None = None


@cache
def _listing(*, newest_first: bool, by_model: bool, by_metadata: bool) -> Visible[Select[Any]]:
    beyond = tuple_(*_KEY) < _POSITION if newest_first else tuple_(*_KEY) > _POSITION
    order = [column.desc() if newest_first else column.asc() for column in _KEY]
    found = select(*WHOLE).where(IN_TENANT, _STORED, beyond)
    if by_model:
        found = found.where(func.coalesce(messages.c.asked_model, messages.c.model) == bindparam("model"))
    if by_metadata:
        found = found.where(messages.c.metadata.contains(bindparam("metadata", type_=JSONB)))
    return Visible(found, messages, lambda visible: visible.order_by(*order).limit(bindparam("limit")))


class StoredChats:
    """Those that the caller sees; all raise `NotFound`, the same for another tenant's, for none, and for what runs."""

    def __init__(self, db: TenantSession, every: MessageService) -> None:
        self._db = db
        self._every = every

    async def get(self, message_id: str) -> MessageRow:
        return _stored(await self._every.get(message_id))

    async def request_of(self, message_id: str) -> Request:
        await self.get(message_id)
        return await self._every.request_of(message_id)

    async def list(
        self, after: str | None, limit: int, narrowed: ChatFilter, *, newest_first: bool
    ) -> tuple[Sequence[MessageRow], bool]:
        """Those after one of them, and whether there are more.

        Raises:
            SearchEncrypted: by metadata, which are stored encrypted.
        """
        if narrowed.metadata is not None and self._db.seals_texts:
            raise SearchEncrypted("Metadata are stored encrypted here: nothing is found by them.")
        last = (LATEST if newest_first else EARLIEST), ""
        if after is not None:
            row = await self.get(after)
            last = row.created_at, row.id
        values = {"last_created_at": last[0], "last_id": last[1], "limit": limit + 1}
        by = {name: value for name in ("model", "metadata") if (value := getattr(narrowed, name)) is not None}
        listing = _listing(newest_first=newest_first, by_model="model" in by, by_metadata="metadata" in by)
        async with self._db.read() as connection:
            statement = listing.to_viewer(connection)
            rows = (await connection.execute(statement, viewer(self._db.principal) | values | by, MessageRow)).all()
        return rows[:limit], len(rows) > limit

    async def label(self, message_id: str, metadata: dict[str, str] | None) -> MessageRow:
        """Replace its metadata; it is answered as a whole.

        Raises:
            PermissionDenied: for who is neither its author nor an admin.
            InsufficientScope: for a key that may not read.
        """
        self._every.require_reading()
        async with self._db.begin() as connection:
            message = _stored(await find_to_change(connection, self._db.principal, message_id))
            values = {"tenant_id": message.tenant_id, "id": message.id, "metadata": metadata}
            await connection.execute(LABEL, values)
            await record_if_of_another(self._db, connection, "message.changed", message)
        return await self.get(message_id)

    async def delete(self, message_id: str) -> None:
        """For good; raises as `label`."""
        await self.get(message_id)
        await self._every.delete(message_id)


def _stored(message: MessageRow) -> MessageRow:
    if message.api != API or not message.stored or message.status != MessageStatus.COMPLETED:
        raise NotFound
    return message
