"""Which messages a list shows."""

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, cast

from sqlalchemy import ColumnElement, Table, bindparam, case, func, literal_column, select

from app.db.pagination import NewestFirst, only
from app.db.visibility import Visible
from app.models import Message, MessageContent, MessageStatus
from app.models.rows import MessageRow

messages = cast("Table", Message.__table__)

contents = cast("Table", MessageContent.__table__)

IN_TENANT = messages.c.tenant_id == bindparam("tenant_id")
_OUTPUT = (
    select(contents.c.output)
    .where(contents.c.tenant_id == bindparam("tenant_id"), contents.c.message_id == messages.c.id)
    .scalar_subquery()
)


def _shown(output: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    other = {
        "api": func.coalesce(messages.c.api, literal_column("'messages'")).label("api"),
        "output": output.label("output"),
    }
    return [other[name] if name in other else messages.c[name] for name in MessageRow.columns()]


LISTED = _shown(literal_column("CAST(NULL AS jsonb)"))
WHOLE = _shown(case((messages.c.has_contents, _OUTPUT)))
TEXTS = ("content", "response")
CONDITIONS: dict[str, ColumnElement[bool]] = {
    "user_id": only(messages.c.user_id, "user_id"),
    "conversation_id": only(messages.c.conversation_id, "conversation_id"),
    "since": messages.c.created_at >= bindparam("since"),
    # Spelled out: the index of those that did not complete serves no parameter.
    **{status.value: messages.c.status == literal_column(f"'{status.value}'") for status in MessageStatus},
}
FILTERS = ("user_id", "conversation_id", "status", "since")


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """What a list of messages is narrowed to; None leaves a condition out. `q` is searched for in prompt and answer."""

    user_id: str | None = None
    conversation_id: str | None = None
    status: MessageStatus | None = None
    since: datetime | None = None
    q: str | None = None

    def parameters(self) -> dict[str, Any]:
        """But for `q`."""
        values = {name: getattr(self, name) for name in FILTERS}
        values["status"] = self.status and self.status.value
        return {name: value for name, value in values.items() if value is not None}

    def has_an_index(self, *, own_alone: bool) -> bool:
        """Whether an index has what is asked for in its order; anything else is walked (see `message_search`)."""
        by_user = self.user_id is not None or own_alone
        narrowed = by_user + (self.conversation_id is not None) + (self.status is not None)
        return self.q is None and self.status != MessageStatus.COMPLETED and narrowed <= 1

    def conditions(self) -> frozenset[str]:
        names = self.parameters().keys() - {"status"}
        return frozenset(names if self.status is None else {*names, self.status.value})


@cache
def listing(conditions: frozenset[str]) -> Visible[NewestFirst]:
    """The list by pages. Each set of conditions has a plan of its own, and is built once."""
    narrowed = (CONDITIONS[name] for name in sorted(conditions))
    statement = select(*LISTED).where(IN_TENANT, *narrowed)
    return Visible(statement, messages, lambda visible: NewestFirst(visible, messages, TEXTS))
