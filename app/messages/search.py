"""Pages of messages, newest first, that no index finds alone: the search, and filters together; for a bounded work."""

import json
from dataclasses import asdict
from typing import Any

from sqlalchemy import DateTime, Integer, String, bindparam, text

from app.db.execution import Connection
from app.db.pagination import PAGE_BYTES, Page, PageRequest, Position, cursor_at, position_of
from app.messages.columns import COLUMNS
from app.messages.listing import MessageFilter
from app.messages.search_query import parse
from app.models.rows import FoundMessageRow

# The function walks what the viewer may see, so that absent words and words in others' messages take the same time.
# LATERAL with LIMIT: the rows are looked up by key, however many PostgreSQL expects. By the whole key of an index:
# by a part of it PostgreSQL may read all of a tenant that it takes for small.
SEARCH = text(f"""
SELECT * FROM (SELECT found.*, sum(found.size) OVER (ORDER BY found.n) AS bytes FROM (
SELECT hit.n, hit.id AS hit_id, hit.created_at AS hit_at, hit.matches, message.*,
  COALESCE(octet_length(message.content) + octet_length(message.response), 0) AS size
FROM search_messages(CAST(:groups AS jsonb), :user_id, :conversation_id, :status, :since, :before_at, :before_id, :most)
  WITH ORDINALITY AS hit (id, created_at, matches, n)
LEFT JOIN LATERAL (
  SELECT {COLUMNS} FROM messages
  WHERE messages.tenant_id = :tenant_id AND messages.created_at = hit.created_at AND messages.id = hit.id LIMIT 1
) AS message ON hit.matches
WHERE hit.n > :skip OR NOT hit.matches ORDER BY hit.n
) AS found) AS page WHERE page.bytes - page.size < {PAGE_BYTES} ORDER BY page.n
""").bindparams(
    *(bindparam(name, type_=String) for name in ("groups", "user_id", "conversation_id", "status", "before_id")),
    *(bindparam(name, type_=DateTime(timezone=True)) for name in ("since", "before_at")),
    *(bindparam(name, type_=Integer) for name in ("skip", "most")),
)
FILTERS = ("user_id", "conversation_id", "status", "since")


def search_values(tenant_id: str, narrowed: MessageFilter, page: PageRequest) -> dict[str, Any]:
    """The parameters of `SEARCH`; raises `NothingToSearchFor`, `InvalidCursor`."""
    groups = None
    if narrowed.q is not None:
        groups = json.dumps([[asdict(term) for term in group] for group in parse(narrowed.q)])
    position = position_of(page)
    return {
        **dict.fromkeys(FILTERS),
        **{name: value for name, value in narrowed.parameters().items() if name in FILTERS},
        "tenant_id": tenant_id,
        "groups": groups,
        "before_at": position.created_at,
        "before_id": position.id,
        "skip": position.skip,
        "most": position.skip + page.limit + 1,
    }


async def search(
    connection: Connection, tenant_id: str, narrowed: MessageFilter, page: PageRequest
) -> Page[FoundMessageRow]:
    """A page of what `narrowed` finds. It may be short, or empty, where a next one goes on with the search."""
    values = search_values(tenant_id, narrowed, page)
    hits = (await connection.execute(SEARCH, values, FoundMessageRow)).all()
    shown = [hit for hit in hits if hit.matches and hit.id is not None]
    if len(shown) > page.limit or (shown and shown[-1].bytes >= PAGE_BYTES):
        shown = shown[: page.limit]
        return Page(shown, cursor_at(Position(shown[-1].hit_at, shown[-1].hit_id)))
    return Page(shown, _goes_on(hits[-1], values["skip"]) if hits and not hits[-1].matches else None)


def _goes_on(end: FoundMessageRow, skip: int) -> str:
    """Where the search ended for the work that it took; what it has not skipped is skipped by the next page."""
    return cursor_at(Position(end.hit_at, end.hit_id, max(skip - (end.n - 1), 0)))
