"""Texts in an export: it is read where nobody has the keys of this deployment, so they are in plain."""

import json
from collections.abc import Sequence
from typing import Any

from app.core.credentials.envelope import Unopenable
from app.core.credentials.text_key import MARK, MARK_BYTES, Place, RowKey, TextKey
from app.db.execution import Connection
from app.db.texts import open_text
from app.models.text_places import TABLES

# As PostgreSQL writes the mark in JSON: of text, and of bytes.
HEX = r"\x"
OF_TEXT, OF_BYTES = (json.dumps(mark)[1:-1] for mark in (MARK, HEX + MARK_BYTES.hex()))


async def in_plain(connection: Connection, tenant_id: str, table: str, lines: Sequence[str]) -> list[str]:
    """Lines of rows of the table with their texts; `unreadable` names those that do not open.

    Raises `TextKeysUnavailable`.
    """
    texts = connection.texts
    if texts is None or table not in TABLES or not any(map(_has_sealed, lines)):
        return list(lines)
    key = await texts.key_of(tenant_id)
    return [_opened(key, table, line) if _has_sealed(line) else line for line in lines]


def _has_sealed(line: str) -> bool:
    return OF_TEXT in line or OF_BYTES in line


def _opened(key: TextKey | None, table: str, line: str) -> str:
    row = json.loads(line)
    told_by, places = TABLES[table]
    of_row = None if key is None else key.of_row(table, row[told_by])
    for place in places:
        if place.column not in row:
            continue
        try:
            row[place.column] = _open(of_row, place, row[place.column])
        except Unopenable:
            row[place.column] = None
            row.setdefault("unreadable", []).append(place.column)
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))


def _open(key: RowKey | None, place: Place, value: Any) -> Any:
    if place.kind != "bytes" or value is None:
        return open_text(key, place, value)
    opened: bytes = open_text(key, place, bytes.fromhex(value.removeprefix(HEX)))
    return HEX + opened.hex()
