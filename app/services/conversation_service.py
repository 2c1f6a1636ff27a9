"""Conversations: their making, and the turns that go with a message."""

from collections.abc import Sequence
from functools import cache
from typing import Any, cast

from sqlalchemy import Select, Table, Update, bindparam, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from app.core.errors import (
    ConversationBusy,
    NotFound,
    NothingKept,
    PermissionDenied,
    TextUnreadable,
    TooManyConversations,
)
from app.core.ids import is_id, new_id
from app.core.items import Item
from app.core.principal import Principal
from app.db.batches import until_done
from app.db.execution import Connection
from app.db.pagination import NewestFirst, Page, PageRequest, page_of, parameters
from app.db.sealing import seals
from app.db.session import TenantSession
from app.db.texts import Unreadable
from app.db.visibility import Visible, show_all, viewer
from app.messages import added, turns
from app.messages.idempotency import IdempotencyKeys, IdempotentRequest
from app.messages.owned_content import ConversationContent
from app.models import Conversation
from app.models.rows import ConversationRow
from app.models.text_places import OF_CONVERSATION
from app.services.audit_service import record_by, record_if_of_another

PER_USER = 10_000
conversations = cast("Table", Conversation.__table__)

IN_TENANT = conversations.c.tenant_id == bindparam("tenant_id")
_ALL = select(*conversations.c).where(IN_TENANT, conversations.c.deleting_at.is_(None))
_ONE = _ALL.where(conversations.c.id == bindparam("id"))
ONE = Visible(_ONE, conversations, lambda visible: visible)
LOCK = Visible(_ONE, conversations, lambda visible: visible.with_for_update())
# Also one whose deletion was begun: who repeats that goes on with it.
LOCK_TO_DELETE = Visible(
    select(*conversations.c).where(IN_TENANT, conversations.c.id == bindparam("id")),
    conversations,
    lambda visible: visible.with_for_update(),
)
LISTED = Visible(_ALL, conversations, lambda visible: NewestFirst(visible, conversations, ("system_prompt",)))
_GIVEN = ("id", "tenant_id", "user_id", "title", "system_prompt", "metadata")
# Of a tenant that keeps nothing there is none.
INSERT = seals(
    insert(conversations)
    .from_select(
        _GIVEN,
        select(*(bindparam(name, type_=conversations.c[name].type) for name in _GIVEN)).where(
            text(
                "NOT EXISTS (SELECT FROM tenants WHERE tenants.id = :tenant_id AND tenants.message_retention_days = 0)"
            )
        ),
    )
    .returning(*conversations.c),
    **OF_CONVERSATION,
)
OWN = (conversations.c.tenant_id == bindparam("in_tenant"), conversations.c.id == bindparam("conversation_id"))
MARK = update(Conversation).where(*OWN).values(deleting_at=func.now())
REMOVE = delete(Conversation).where(*OWN)
PENDING = text("""
SELECT messages.id FROM messages WHERE messages.tenant_id = :tenant_id
  AND messages.conversation_id = :conversation_id AND messages.status = 'pending'
""")
# Along the index of what a user has of its own. Requests at the same moment may pass the bound by their number.
HAS = text("""
SELECT 1 FROM conversations WHERE conversations.tenant_id = :tenant_id AND conversations.user_id = :user_id
ORDER BY conversations.created_at DESC, conversations.id DESC OFFSET :others LIMIT 1
""")


@cache
def changing(names: frozenset[str]) -> Update:
    """Sets these of `title`, `system_prompt` and `metadata`."""
    changes = {name: bindparam(name, type_=conversations.c[name].type) for name in sorted(names)}
    statement = update(conversations).where(*OWN).values(changes).returning(*conversations.c)
    return seals(statement, "conversation_id", **{name: OF_CONVERSATION[name] for name in names})


class ConversationService:
    """Conversations of the caller's tenant: all may read them, its owner and admins change them."""

    def __init__(self, db: TenantSession, keys: IdempotencyKeys) -> None:
        self._db = db
        self._keys = keys
        self._tenant_id = db.principal.tenant_id

    async def create(
        self,
        title: str | None,
        system_prompt: str | None,
        request: IdempotentRequest | None = None,
        metadata: dict[str, str] | None = None,
        items: Sequence[Item] = (),
    ) -> ConversationRow:
        """A new one of the caller's, that begins with the items.

        Raises:
            TooManyConversations, NothingKept
            ToolResultsMissing, ToolResultsUnasked: a call stands without its result, or a result without its call.
        """
        added.check(items)
        values = {
            "id": new_id(),
            "tenant_id": self._tenant_id,
            "user_id": self._db.principal.user_id,
            "title": title,
            "system_prompt": system_prompt,
            "metadata": metadata,
        }
        async with self._db.begin() as connection:
            made_before = await self._keys.claim(connection, self._db.principal, request, str(values["id"]))
            if made_before is not None:
                return await find(connection, self._db.principal, made_before)
            owner = {"tenant_id": self._tenant_id, "user_id": self._db.principal.user_id}
            if (await connection.execute(HAS, {**owner, "others": PER_USER - 1})).one_or_none() is not None:
                raise TooManyConversations
            made = (await connection.execute(INSERT, values, ConversationRow)).one_or_none()
            if made is None:
                raise NothingKept
            if items:
                await added.store(connection, self._db.principal, made.id, items)
            return made

    async def get(self, conversation_id: str) -> ConversationRow:
        async with self._db.begin() as connection:
            return await find(connection, self._db.principal, conversation_id)

    async def list(self, page: PageRequest) -> Page[ConversationRow]:
        principal = self._db.principal
        values = {**viewer(principal), **parameters(page)}
        async with self._db.read() as connection:
            statement = LISTED.to_viewer(connection).page(page)
            rows = (await connection.execute(statement, values, ConversationRow)).all()
        return page_of(rows, page)

    async def change(self, conversation_id: str, changes: dict[str, Any]) -> ConversationRow:
        """Set some of `title`, `system_prompt` and `metadata`; raises `NotFound`, `PermissionDenied`."""
        async with self._db.begin() as connection:
            found = await find_to_change(connection, self._db.principal, conversation_id)
            if not changes:
                return found
            statement = changing(frozenset(changes))
            await record_if_of_another(self._db, connection, "conversation.changed", found)
            return (await connection.execute(statement, self._own(conversation_id) | changes, ConversationRow)).one()

    async def delete(self, conversation_id: str) -> None:
        """Delete it with its messages.

        If the database goes away in the middle, nobody finds it any more, and the same request again goes on.

        Raises:
            NotFound, PermissionDenied
            ConversationBusy: one of its messages is being answered.
        """
        content = ConversationContent(self._tenant_id, conversation_id)
        async with self._db.begin_long() as connection:
            found = await find_to_change(connection, self._db.principal, conversation_id, LOCK_TO_DELETE)
            await show_all(connection)  # its messages go with it, an admin's included
            values = {"tenant_id": self._tenant_id, "conversation_id": conversation_id}
            if (await connection.execute(PENDING, values)).all():
                raise ConversationBusy
            if found.deleting_at is None:
                await record_by(self._db, connection, "conversation.deleted", conversation_id)
            if await self._delete_some(connection, content, conversation_id):
                return
            # Too much for one transaction: from its commit on nobody finds it, and nothing is sent into it.
            await connection.execute(MARK, self._own(conversation_id))

        async def go_on(connection: Connection) -> bool:
            return await self._delete_some(connection, content, conversation_id)

        await until_done(self._db, go_on)

    async def _delete_some(self, connection: Connection, content: ConversationContent, conversation_id: str) -> bool:
        """Whether it is gone: it goes with the last of its messages."""
        if not await content.delete_some(connection):
            return False
        await connection.execute(REMOVE, self._own(conversation_id))
        return True

    def _own(self, conversation_id: str) -> dict[str, str]:
        return {"in_tenant": self._tenant_id, "conversation_id": conversation_id}


async def find(
    connection: Connection,
    principal: Principal,
    conversation_id: str,
    one: Visible[Select[Any]] = ONE,
) -> ConversationRow:
    """A conversation that the caller sees, locked if its messages are about to change; raises `NotFound`."""
    if not is_id(conversation_id):
        raise NotFound
    statement = one.to_viewer(connection)
    values = {**viewer(principal), "id": conversation_id}
    found = (await connection.execute(statement, values, ConversationRow)).one_or_none()
    if found is None:
        raise NotFound
    return found


async def find_to_change(
    connection: Connection,
    principal: Principal,
    conversation_id: str,
    one: Visible[Select[Any]] = LOCK,
) -> ConversationRow:
    """As `find`, locked; raises `PermissionDenied` for who is neither its owner nor an admin."""
    found = await find(connection, principal, conversation_id, one)
    if found.user_id != principal.user_id and not principal.is_admin:
        raise PermissionDenied
    return found


async def turns_before(
    connection: Connection, principal: Principal, conversation_id: str, message_id: str, room: int
) -> turns.Earlier:
    """The system prompt and as many of the earlier turns that the author sees as have room in `room` tokens.

    The conversation stays locked until the transaction ends, so no other message can begin in between.

    Raises:
        NotFound, PermissionDenied
        ConversationBusy: another message is being answered.
    """
    conversation = await find_to_change(connection, principal, conversation_id)
    if isinstance(conversation.system_prompt, Unreadable):
        raise TextUnreadable
    own = principal.user_id if connection.own_alone else None
    whole = turns.Conversation(principal.tenant_id, conversation_id, conversation.system_prompt)
    return await turns.earlier_turns(connection, whole, message_id, room, own)
