"""Values of JSON as the driver takes them, of each kind of column; what a column cannot hold is refused by name."""

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from app.core.ids import is_id
from app.db.vectors import HalfVector
from app.services.export_tables import ExportedTable
from app.services.portable.refusal import Wrong

Convert = Callable[[Any], Any]
OLDEST = datetime(2000, 1, 1, tzinfo=UTC)
# Clocks of two deployments may differ, and a row be newer than the clock that it is held to.
AHEAD = timedelta(days=1)
# When something happened: what is newer than now did not.
MOMENTS = {"created_at", "updated_at", "claimed_at", "set_at", "hour", "last_used_at", "moved_at"}
# Of rows, and nothing else may stand there. Elsewhere a name of 36 characters may be a word.
IDS = {
    "id", "tenant_id", "user_id", "conversation_id", "message_id", "document_id", "chunk_id", "line_id", "api_key_line",
    "resource_id", "actor_id", "api_key_id", "own_request_id", "set_by",
}  # fmt: skip
# "": nobody's, or the tenant's own.
MAY_BE_EMPTY = {("embedding_hours", "user_id")}
VECTOR = re.compile(r"\[[-+0-9.e]+(,[-+0-9.e]+)*\]", re.ASCII)
MOST_DIMENSIONS = 16_000


def converts(exported: ExportedTable) -> Mapping[str, Convert]:
    """By column: what makes the value that is stored; it raises `Wrong`."""
    return {name: _nullable(exported.table.c[name], _convert(exported.table.c[name])) for name in exported.columns}


def _convert(column: Column[Any]) -> Convert:
    if column.name in IDS:
        empty = (column.table.name, column.name) in MAY_BE_EMPTY
        return lambda value: value if empty and value == "" else _id(value)
    return next(make(column) for kind, make in KINDS.items() if isinstance(column.type, kind))


def _of_length(column: Column[Any]) -> Convert:
    length = getattr(column.type, "length", None) or 0
    return lambda value: _short(value, length)


def _of_items(column: Column[Any]) -> Convert:
    length = getattr(getattr(column.type, "item_type", None), "length", None) or 0
    return lambda value: [_short(each, length) for each in _list(value)]


def _up_to(bits: int) -> Callable[[Column[Any]], Convert]:
    return lambda _: lambda value: _whole(value, 2**bits)


def _time(column: Column[Any]) -> Convert:
    happened = column.name in MOMENTS
    return lambda value: _moment(value, happened=happened)


def _nullable(column: Column[Any], convert: Convert) -> Convert:
    name, may_be_null = column.name, column.nullable

    def converted(value: Any) -> Any:
        if value is None:
            if may_be_null:
                return None
            raise Wrong(f"{name} is missing")
        try:
            return convert(value)
        except Wrong as wrong:
            raise Wrong(f"{name} {wrong}") from None

    return converted


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Wrong("is no text")
    if "\0" in value:
        raise Wrong("holds a character that is none")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Wrong("holds half a character") from None
    return value


def _short(value: Any, length: int) -> str:
    if len(_text(value)) > length:
        raise Wrong(f"is longer than {length} characters")
    return str(value)


def _id(value: Any) -> str:
    if not is_id(value):
        raise Wrong("is no id")
    return str(value)


def _whole(value: Any, most: int) -> int:
    if type(value) is not int or not 0 <= value < most:
        raise Wrong("is no whole number from 0 on that fits")
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Wrong("is neither true nor false")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
        raise Wrong("is no number from 0 on")
    return float(value)


def _moment(value: Any, *, happened: bool) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
        cannot_be = moment < OLDEST or (happened and moment > datetime.now(UTC) + AHEAD)
    except (TypeError, ValueError):
        raise Wrong("is no time") from None
    if cannot_be:
        raise Wrong("is a time that cannot be")
    return moment


def _day(value: Any) -> date:
    try:
        day = date.fromisoformat(value)
    except (TypeError, ValueError):
        raise Wrong("is no date") from None
    if not OLDEST.date() <= day <= (datetime.now(UTC) + AHEAD).date():
        raise Wrong("is a date that cannot be")
    return day


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Wrong("is no list")
    return value


def _json(value: Any) -> str:
    return json.dumps(value)


def _bytes(value: Any) -> bytes:
    try:
        if value[:2] == "\\x":
            return bytes.fromhex(value[2:])
    except (TypeError, ValueError):
        pass
    raise Wrong("is no bytes in hex")


def _vector(value: Any) -> str:
    if not isinstance(value, str) or value.count(",") >= MOST_DIMENSIONS or not VECTOR.fullmatch(value):
        raise Wrong("is no vector")
    return value


# Some are kinds of others: those come first.
KINDS: dict[type[TypeEngine[Any]], Callable[[Column[Any]], Convert]] = {
    Text: lambda _: _text,
    String: _of_length,
    SmallInteger: _up_to(15),
    BigInteger: _up_to(63),
    Integer: _up_to(31),
    Boolean: lambda _: _truth,
    Float: lambda _: _number,
    DateTime: _time,
    Date: lambda _: _day,
    ARRAY: _of_items,
    JSONB: lambda _: _json,
    LargeBinary: lambda _: _bytes,
    HalfVector: lambda _: _vector,
}
