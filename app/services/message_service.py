"""The life of a message: reserve, call, settle.

reserve   a short transaction stores the prompt as `pending`, under a lease
call      the provider is awaited with no transaction and no connection
settle    a short transaction stores the answer, or why there is none
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar, cast

from sqlalchemy import Interval, Row, Select, Table, bindparam, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.errors import MessageInterrupted, MessageRunning, NotFound, PermissionDenied, ProviderError
from app.core.ids import is_id, new_id
from app.db.session import TenantSession
from app.llm.base import Completion, Turn
from app.models import Message, MessageStatus
from app.services.llm_service import LLMService
from app.services.pagination import Page, PageRequest, newest_first, page_of, parameters

T = TypeVar("T")

messages = cast("Table", Message.__table__)

COLUMNS = tuple(column for column in messages.c if column.name != "lease_expires_at")

RESERVE = insert(Message).values(
    id=bindparam("id"),
    tenant_id=bindparam("tenant_id"),
    user_id=bindparam("user_id"),
    content=bindparam("content"),
    lease_expires_at=func.now() + bindparam("lease", type_=Interval),
)
# Only a pending message can end: the sweep may have ended it first.
SETTLE = (
    update(Message)
    .where(
        messages.c.tenant_id == bindparam("in_tenant"),
        messages.c.id == bindparam("message_id"),
        messages.c.status == MessageStatus.PENDING.value,
    )
    .values(lease_expires_at=None)
    .returning(*COLUMNS)
)
COMPLETE = SETTLE.values(
    status=MessageStatus.COMPLETED.value,
    response=bindparam("response"),
    model=bindparam("model"),
    input_tokens=bindparam("input_tokens"),
    output_tokens=bindparam("output_tokens"),
)
FAIL = SETTLE.values(status=MessageStatus.FAILED.value, error_code=bindparam("error_code"))
IN_TENANT = messages.c.tenant_id == bindparam("tenant_id")
ONE = select(*COLUMNS).where(IN_TENANT, messages.c.id == bindparam("id"))
# A message that runs is not deleted under its provider's hands: the row is where its answer goes.
DELETE = delete(Message).where(
    messages.c.tenant_id == bindparam("in_tenant"),
    messages.c.id == bindparam("message_id"),
    messages.c.status != MessageStatus.PENDING.value,
)
CONDITIONS = {
    "user_id": messages.c.user_id == bindparam("user_id"),
    "status": messages.c.status == bindparam("status"),
    "since": messages.c.created_at >= bindparam("since"),
}


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """What a list of messages is narrowed to; None leaves a condition out."""

    user_id: str | None = None
    status: MessageStatus | None = None
    since: datetime | None = None

    def parameters(self) -> dict[str, Any]:
        values = {"user_id": self.user_id, "status": self.status and self.status.value, "since": self.since}
        return {name: value for name, value in values.items() if value is not None}


@cache
def _listing(conditions: frozenset[str]) -> tuple[Select[Any], Select[Any]]:
    """The list by offset and by cursor. Each set of conditions has a plan of its own, and is built once."""
    narrowed = (CONDITIONS[name] for name in sorted(conditions))
    return newest_first(select(*COLUMNS).where(IN_TENANT, *narrowed), messages)


class MessageService:
    """Messages of the caller's tenant. `lease` bounds how long a killed process leaves one `pending`."""

    def __init__(self, db: TenantSession, llm: LLMService, lease: timedelta) -> None:
        self._db = db
        self._tenant_id = db.principal.tenant_id
        self._llm = llm
        self._lease = lease

    async def create(self, content: str) -> Row[Any]:
        """Send a prompt and store its answer.

        Raises:
            ProviderError: the provider failed; the message is kept as `failed`, and the error names it.
        """
        message_id = await self._reserve(content)
        try:
            completion = await self._llm.complete([Turn("user", content)])
        except ProviderError as error:
            await _finish(self._fail(message_id, error.code))
            error.message_id = message_id
            raise
        except BaseException:
            # Cancelled, by a shutdown for one: the prompt stays, and its end is known.
            await _finish(self._fail(message_id, MessageInterrupted.code))
            raise
        return await _finish(self._complete(message_id, completion))

    async def get(self, message_id: str) -> Row[Any]:
        """One message of the tenant; raises `NotFound`, the same for another tenant's and for none."""
        if not is_id(message_id):
            raise NotFound
        async with self._db.begin() as connection:
            return await self._find(connection, message_id)

    async def delete(self, message_id: str) -> None:
        """Delete a message for good.

        Raises:
            NotFound: the tenant has no such message.
            PermissionDenied: it is somebody else's, and the caller is no admin.
            MessageRunning: its provider call has not ended.
        """
        if not is_id(message_id):
            raise NotFound
        async with self._db.begin() as connection:
            message = await self._find(connection, message_id)
            if message.user_id != self._db.principal.user_id and not self._db.principal.is_admin:
                raise PermissionDenied
            deleted = await connection.execute(DELETE, {"in_tenant": self._tenant_id, "message_id": message_id})
        if not deleted.rowcount and message.status == MessageStatus.PENDING:
            raise MessageRunning

    async def list(self, page: PageRequest, narrowed: MessageFilter) -> Page:
        filters = narrowed.parameters()
        by_offset, by_cursor = _listing(frozenset(filters))
        statement = by_offset if page.cursor is None else by_cursor
        values = {"tenant_id": self._tenant_id, **filters, **parameters(page)}
        async with self._db.begin() as connection:
            rows = (await connection.execute(statement, values)).all()
        return page_of(rows, page)

    async def _find(self, connection: AsyncConnection, message_id: str) -> Row[Any]:
        values = {"tenant_id": self._tenant_id, "id": message_id}
        message: Row[Any] | None = (await connection.execute(ONE, values)).one_or_none()
        if message is None:
            raise NotFound
        return message

    async def _reserve(self, content: str) -> str:
        message_id = new_id()
        values = {
            "id": message_id,
            "tenant_id": self._tenant_id,
            "user_id": self._db.principal.user_id,
            "content": content,
            "lease": self._lease,
        }
        async with self._db.begin() as connection:
            await connection.execute(RESERVE, values)
        return message_id

    async def _complete(self, message_id: str, completion: Completion) -> Row[Any]:
        values = {
            "in_tenant": self._tenant_id,
            "message_id": message_id,
            "response": _storable(completion.text),
            "model": _storable(completion.model)[:255],
            "input_tokens": completion.input_tokens,
            "output_tokens": completion.output_tokens,
        }
        async with self._db.settle() as connection:
            message = (await connection.execute(COMPLETE, values)).one_or_none()
        if message is None:
            interrupted = MessageInterrupted()
            interrupted.message_id = message_id
            raise interrupted
        return message

    async def _fail(self, message_id: str, error_code: str) -> None:
        values = {"in_tenant": self._tenant_id, "message_id": message_id, "error_code": error_code}
        async with self._db.settle() as connection:
            await connection.execute(FAIL, values)


def _storable(text: str) -> str:
    """The text with U+FFFD for what PostgreSQL cannot store: NUL and lone surrogates."""
    return text.replace("\x00", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


async def _finish(settling: Coroutine[Any, Any, T]) -> T:
    """Settle to the end even if this task is cancelled meanwhile."""
    task = asyncio.ensure_future(settling)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
