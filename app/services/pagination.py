"""Pages of a list, newest first: by offset for convenience, by keyset for depth."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, Select, Table, bindparam, tuple_
from sqlalchemy.types import DateTime, String

from app.core.errors import InvalidCursor
from app.core.ids import is_id


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Either `skip` rows, or the rows after `cursor`."""

    skip: int = 0
    limit: int = 20
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """`next_cursor` is None on the last page."""

    rows: Sequence[Row[Any]]
    next_cursor: str | None


def newest_first(statement: Select[Any], table: Table) -> tuple[Select[Any], Select[Any]]:
    """The statement by offset and by keyset; both ask for one row too many, to know whether there is a next page."""
    key = (table.c.created_at, table.c.id)
    ordered = statement.order_by(*(column.desc() for column in key)).limit(bindparam("limit"))
    position = tuple_(bindparam("last_created_at", type_=DateTime(timezone=True)), bindparam("last_id", type_=String))
    return ordered.offset(bindparam("skip")), ordered.where(tuple_(*key) < position)


def parameters(page: PageRequest) -> dict[str, Any]:
    """The bind parameters of one of the two statements.

    Raises:
        InvalidCursor: the cursor is not one of ours.
    """
    if page.cursor is None:
        return {"limit": page.limit + 1, "skip": page.skip}
    created_at, row_id = _decode(page.cursor)
    return {"limit": page.limit + 1, "last_created_at": created_at, "last_id": row_id}


def page_of(rows: Sequence[Row[Any]], page: PageRequest) -> Page:
    if len(rows) <= page.limit:
        return Page(rows, None)
    rows = rows[: page.limit]
    return Page(rows, _encode(rows[-1].created_at, rows[-1].id))


def _encode(created_at: datetime, row_id: str) -> str:
    return base64.urlsafe_b64encode(f"{created_at.isoformat()}|{row_id}".encode()).decode().rstrip("=")


def _decode(cursor: str) -> tuple[datetime, str]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        moment, _, row_id = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii").partition("|")
        created_at = datetime.fromisoformat(moment)
        if created_at.tzinfo is None or not is_id(row_id):
            raise InvalidCursor
        return created_at.astimezone(UTC), row_id  # beyond the calendar with some offsets
    except (binascii.Error, ValueError, OverflowError) as error:
        raise InvalidCursor from error
