"""The audit log: who did what in a tenant, when and from where.

An entry is written in the transaction of what it tells of, so both are stored or neither. Its time, its tenant and the
user or key that acts are the transaction's: the database writes them itself, whatever is sent (`stamp_audit_entry`).
"""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, cast

from sqlalchemy import Table, bindparam, select
from sqlalchemy.dialects.postgresql import insert

from app.core.ids import new_id
from app.core.principal import Origin, Principal
from app.db.execution import Connection
from app.db.pagination import NewestFirst, Page, PageRequest, only, page_of, parameters
from app.db.session import TenantSession
from app.models import AuditEntry
from app.models.rows import AuditRow, ConversationRow, MessageRow

if TYPE_CHECKING:  # it writes with what is here
    from app.services.audit_tally import AuditTally

entries = cast("Table", AuditEntry.__table__)

IN_TENANT = entries.c.tenant_id == bindparam("tenant_id")
CONDITIONS = {
    "action": only(entries.c.action, "action"),
    "actor_id": only(entries.c.actor_id, "actor_id"),
    "target_id": only(entries.c.target_id, "target_id"),
}
FIELDS = ("id", "tenant_id", "action", "actor_type", "target_id", "address", "request_id", "own_request_id")
INSERT = insert(AuditEntry).values({name: bindparam(name) for name in (*FIELDS, "details")})


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts in a tenant: a user, one of its keys, an operator, or somebody who registers (`anonymous`).

    Which user or key it is, the transaction knows: it was entered as that one.
    """

    tenant_id: str
    type: Literal["user", "api_key", "operator", "anonymous"]
    origin: Origin

    @classmethod
    def of(cls, principal: Principal, origin: Origin) -> "Actor":
        return cls(principal.tenant_id, "user" if principal.key_id is None else "api_key", origin)


async def record(
    connection: Connection, actor: Actor, action: str, target_id: str | None = None, **details: Any
) -> None:
    """Note an action on a target in the present transaction, which must be in the actor's tenant."""
    values = {
        "id": new_id(),
        "tenant_id": actor.tenant_id,
        "action": action,
        "actor_type": actor.type,
        "target_id": target_id,
        "address": actor.origin.address[:45] or None,
        "request_id": actor.origin.request_id[:128] or None,
        "own_request_id": actor.origin.own_request_id or None,
        "details": details,
    }
    await connection.execute(INSERT, values)


async def record_by(
    db: TenantSession, connection: Connection, action: str, target_id: str | None = None, **details: Any
) -> None:
    """As `record`, of the caller whose session this is."""
    await record(connection, Actor.of(db.principal, db.origin), action, target_id, **details)


async def record_if_of_another(
    db: TenantSession, connection: Connection, action: str, thing: ConversationRow | MessageRow
) -> None:
    """As `record_by`, if the thing is another user's: what people do with their own is not the log's."""
    if thing.user_id != db.principal.user_id:
        await record_by(db, connection, action, thing.id, user_id=thing.user_id)


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """What the log is narrowed to; None leaves a condition out."""

    action: str | None = None
    actor_id: str | None = None
    target_id: str | None = None

    def parameters(self) -> dict[str, str]:
        values = {name: getattr(self, name) for name in CONDITIONS}
        return {name: value for name, value in values.items() if value is not None}


class AuditService:
    """The log of the caller's tenant."""

    def __init__(self, db: TenantSession, tally: "AuditTally") -> None:
        self._db = db
        self._tally = tally

    async def list(self, page: PageRequest, narrowed: AuditFilter) -> Page[AuditRow]:
        caller = self._db.principal
        self._tally.count(caller.tenant_id, "audit_log.read", caller.user_id, self._db.origin)
        filters = narrowed.parameters()
        listed = listing(frozenset(filters))
        values = {"tenant_id": self._db.principal.tenant_id, **filters, **parameters(page)}
        async with self._db.read() as connection:
            rows = (await connection.execute(listed.page(page), values, AuditRow)).all()
        return page_of(rows, page)


@cache
def listing(filters: frozenset[str]) -> NewestFirst:
    narrowed = (CONDITIONS[name] for name in sorted(filters))
    return NewestFirst(select(*entries.c).where(IN_TENANT, *narrowed), entries)
