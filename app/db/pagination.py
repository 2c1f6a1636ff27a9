"""Pages of a list, newest first: by offset for convenience, by keyset for depth."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    Select,
    Table,
    and_,
    bindparam,
    func,
    literal_column,
    select,
    tuple_,
)
from sqlalchemy.types import DateTime, String

from app.core.errors import InvalidCursor
from app.core.ids import is_id
from app.db.execution import Record

# Rows are passed over one by one.
MAX_SKIP, MAX_LIMIT = 10_000, 100
# Of long texts: a page is sent, and held until it is read, as a whole.
PAGE_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Either `skip` rows, or the rows after `cursor`."""

    skip: int = 0
    limit: int = 20
    cursor: str | None = None


class PagedRow(Record):
    """A row of a list: what its position is."""

    __slots__ = ()

    id: str
    created_at: datetime


P = TypeVar("P", bound=PagedRow)
Shown_co = TypeVar("Shown_co", bound=PagedRow, covariant=True)


@dataclass(frozen=True, slots=True)
class Page(Generic[Shown_co]):
    """`next_cursor` is None on the last page."""

    rows: Sequence[Shown_co]
    next_cursor: str | None


# How deep a page may lie, by which a statement is chosen.
_REACHES = (0, 100, 1_000, 10_000)


def only(column: ColumnElement[Any], parameter: str) -> ColumnElement[bool]:
    """The column is the parameter, said twice: where one value fills a table, statistics hold equality for no condition
    at all, and an index without the column for as good as the one with it. A range they take for narrow.
    """
    value: BindParameter[Any] = bindparam(parameter)
    return and_(column == value, column.between(value, value))


class NewestFirst:
    """A select by pages, newest first; each asks for one row too many, to know whether there is a next page.

    Plans are made once, for any values. That few rows are wanted must stand in the statement then: in an inner limit,
    which no page exceeds. Without it the planner expects a tenth of a tenant, and would rather read and sort all of it.

    With `texts`, columns of any length, a page ends with the row that reaches `PAGE_BYTES`.
    """

    def __init__(self, statement: Select[Any], table: Table, texts: Sequence[str] = ()) -> None:
        key = (table.c.created_at, table.c.id)
        position = tuple_(
            bindparam("last_created_at", type_=DateTime(timezone=True)), bindparam("last_id", type_=String)
        )
        by_cursor = _bounded(statement.where(tuple_(*key) < position), key, MAX_LIMIT + 1)
        self.by_cursor = _within_bytes(by_cursor, texts)
        self._by_offset = {
            reach: _within_bytes(_bounded(statement, key, reach + MAX_LIMIT + 1).offset(bindparam("skip")), texts)
            for reach in _REACHES
        }

    def page(self, request: PageRequest) -> Select[Any]:
        """The statement for a page; its parameters are those of `parameters`."""
        if request.cursor is not None:
            return self.by_cursor
        return self._by_offset[next(reach for reach in _REACHES if request.skip <= reach)]


def _bounded(statement: Select[Any], key: tuple[Column[Any], ...], most: int) -> Select[Any]:
    newest = statement.order_by(*(column.desc() for column in key)).limit(literal_column(str(most))).subquery("newest")
    return select(newest).order_by(*(newest.c[column.name].desc() for column in key)).limit(bindparam("limit"))


def _within_bytes(statement: Select[Any], texts: Sequence[str]) -> Select[Any]:
    """The page cut by its bytes, which PostgreSQL knows without reading the texts; `bytes` is those up to each row."""
    if not texts:
        return statement
    page = statement.subquery("page")
    nothing: ColumnElement[int] = literal_column("0")
    size = sum((func.coalesce(func.octet_length(page.c[name]), nothing) for name in texts), start=nothing)
    newest = (page.c.created_at.desc(), page.c.id.desc())
    sized = select(
        page, func.sum(size).over(order_by=newest, rows=(None, 0)).label("bytes"), size.label("size")
    ).subquery()
    within = sized.c.bytes - sized.c.size < literal_column(str(PAGE_BYTES))
    shown = (column for column in sized.c if column.name != "size")
    return select(*shown).where(within).order_by(sized.c.created_at.desc(), sized.c.id.desc())


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page begins: after this row (None: at the newest), and after `skip` more."""

    created_at: datetime | None
    id: str | None
    skip: int = 0


def position_of(page: PageRequest) -> Position:
    """Raises `InvalidCursor`: the cursor is not one of ours."""
    return Position(None, None, page.skip) if page.cursor is None else _decode(page.cursor)


def parameters(page: PageRequest) -> dict[str, Any]:
    """The bind parameters of a page's statement.

    Raises:
        InvalidCursor: the cursor is not one of ours.
    """
    position = position_of(page)
    if page.cursor is None:
        return {"limit": page.limit + 1, "skip": position.skip}
    return {"limit": page.limit + 1, "last_created_at": position.created_at, "last_id": position.id}


def page_of(rows: Sequence[P], page: PageRequest) -> Page[P]:
    # A page that was cut for its bytes may have a next one, however few its rows are.
    cut = bool(rows) and getattr(rows[-1], "bytes", 0) >= PAGE_BYTES
    if len(rows) <= page.limit and not cut:
        return Page(rows, None)
    rows = rows[: page.limit]
    return Page(rows, cursor_at(Position(rows[-1].created_at, rows[-1].id)))


def cursor_at(position: Position) -> str:
    assert position.created_at is not None
    parts = [position.created_at.isoformat(), position.id or "", *([str(position.skip)] if position.skip else [])]
    return base64.urlsafe_b64encode("|".join(parts).encode()).decode().rstrip("=")


def _decode(cursor: str) -> Position:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        moment, row_id, *skip = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii").split("|")
        created_at = datetime.fromisoformat(moment)
        if created_at.tzinfo is None or not is_id(row_id) or len(skip) > 1:
            raise InvalidCursor
        created_at = created_at.astimezone(UTC)  # beyond the calendar with some offsets
        return Position(created_at, row_id, min(int(skip[0]), MAX_SKIP) if skip else 0)
    except (binascii.Error, ValueError, OverflowError) as error:
        raise InvalidCursor from error
