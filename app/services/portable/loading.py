"""Rows of a file on their way into tables, in batches; the one that a table does not take is named by its line."""

import json
from collections.abc import Mapping
from typing import Any

import asyncpg

from app.core.credentials.text_key import TextKey
from app.db.texts import seal
from app.models.text_places import TABLES
from app.services.export_end import schema_of_this_version
from app.services.portable.file import End, object_of
from app.services.portable.refusal import Refused, Wrong
from app.services.portable.rows import Arrival, Row
from app.services.portable.tables import FORMS, VECTOR
from app.services.portable.values import Convert, converts

BATCH_ROWS, BATCH_BYTES = 500, 4 * 1024 * 1024
# The driver has no binary form of a vector.
INSERT_VECTOR = (
    "INSERT INTO chunk_vectors (tenant_id, chunk_id, model, document_id, embedding)"
    " VALUES ($1, $2, $3, $4, ($5::text)::halfvec)"
)
# What no key of a table says. Of these ids those that are wrong.
FURTHER = {
    "message_content": (
        "message_id",
        "SELECT unnest($2::text[]) EXCEPT SELECT id FROM messages WHERE tenant_id = $1 AND id = ANY ($2::text[])",
        "its message does not stand before it",
    ),
    "deleted_usage": (
        "id",
        "SELECT id FROM messages WHERE tenant_id = $1 AND id = ANY ($2::text[])",
        "what was used would count twice: its message is in the file too",
    ),
}
TAKEN = {
    "uq_tenants_name": "its name is another tenant's here",
    "uq_users_email": "its email is another user's here",
    "uq_api_keys_key_hash": "it is another's key here",
}
REFUSALS = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError, asyncpg.exceptions.DataError)


class Load:
    """Into an open transaction."""

    def __init__(self, connection: asyncpg.Connection, arrival: Arrival, end: End) -> None:
        self._connection = connection
        self._arrival = arrival
        self._end = end
        self._tables = {exported.type: exported for exported in FORMS[end.form]}
        self._order = list(self._tables)
        self._is_older = int(end.schema) < int(schema_of_this_version())
        self._converts: Mapping[str, Convert] = {}
        self._kind = ""
        """Of the lines that are being read."""
        self._batch: list[tuple[int, Row]] = []
        self._bytes = 0
        self.counts = dict.fromkeys(self._order, 0)
        """Of the lines, by kind."""
        self.text_key: TextKey | None = None
        """What texts are sealed with from now on; None: they are stored as they are."""

    async def take(self, number: int, line: bytes) -> None:
        """Read a line, and store it now or with those that follow; raises `Refused`."""
        try:
            given = object_of(line)
            kind = given.pop("type", None)
            if kind != self._kind:
                await self.store()
                self._begin(kind)
            row = self._arrival.take(self._kind, self._converted(given))
        except Wrong as wrong:
            raise Refused(str(wrong), number) from None
        self.counts[self._kind] += 1
        if row is None:
            return
        row = self._sealed(row)
        if self._batch and row.keys() != self._batch[0][1].keys():  # of an older version, or made up
            await self.store()
        self._batch.append((number, row))
        self._bytes += len(line)
        if len(self._batch) >= BATCH_ROWS or self._bytes >= BATCH_BYTES:
            await self.store()

    def _begin(self, kind: Any) -> None:
        """Parents come before their children, and the tenant before all."""
        if not isinstance(kind, str) or kind not in self._tables:
            raise Wrong("its type is none that this version knows")
        if self._order.index(kind) < (self._order.index(self._kind) if self._kind else 0):
            raise Wrong("it stands after what it comes before in an export")
        if not self._kind and kind != self._order[0]:
            raise Wrong("it stands where the tenant does in an export")
        self._kind = kind
        self._converts = converts(self._tables[kind])

    def _converted(self, given: Row) -> Row:
        known = self._converts
        if unknown := given.keys() - known.keys():
            raise Wrong(f"it has a column that this version does not know: {ascii(min(unknown))[:60]}")
        missing = known.keys() - given.keys()
        if missing and not self._is_older:
            raise Wrong(f"it lacks {min(missing)}")
        # Of a version before: what came since is as in rows from then.
        columns = self._tables[self._kind].table.c
        absent = {name: None for name in missing if columns[name].nullable}
        if unknown := {name for name in missing - absent.keys() if columns[name].server_default is None}:
            raise Wrong(f"it lacks {min(unknown)}")
        row = {name: convert(given[name]) for name, convert in known.items() if name in given}
        row |= absent
        if (row["id"] if self._kind == "tenant" else row["tenant_id"]) != self._arrival.tenant_id:
            raise Wrong("it is another tenant's")
        if self._kind == "tenant" and self.counts["tenant"]:
            raise Wrong("it is a second tenant")
        return row

    def _sealed(self, row: Row) -> Row:
        table = self._tables[self._kind].table.name
        told_by, places = TABLES.get(table, ("", ()))
        if self.text_key is None or not places:
            return row
        key = self.text_key.of_row(table, row[told_by])
        for place in places:
            value = row.get(place.column)
            if value is not None and place.kind == "json":
                row[place.column] = json.dumps(seal(key, place, json.loads(value)))
            elif value is not None:
                row[place.column] = seal(key, place, value)
        return row

    async def store(self) -> None:
        """Store what was read; raises `Refused`."""
        batch, self._batch, self._bytes = self._batch, [], 0
        if not batch:
            return
        try:
            await self._insert([row for _, row in batch])
        except REFUSALS:
            for number, row in batch:
                try:
                    await self._insert([row])
                except REFUSALS as error:
                    raise Refused(_reason(error), number) from None
            raise
        if self._kind in FURTHER:
            name, query, reason = FURTHER[self._kind]
            numbers = {row[name]: number for number, row in batch}
            wrong = await self._connection.fetch(query, self._arrival.tenant_id, list(numbers))
            if wrong:
                raise Refused(reason, min(numbers[identity] for (identity,) in wrong))

    async def _insert(self, rows: list[Row]) -> None:
        columns, table = list(rows[0]), self._tables[self._kind].table.name
        records = [tuple(row[name] for name in columns) for row in rows]
        async with self._connection.transaction():
            if self._kind == VECTOR.type:
                names = list(VECTOR.columns)
                await self._connection.executemany(INSERT_VECTOR, [tuple(row[name] for name in names) for row in rows])
            else:
                await self._connection.copy_records_to_table(table, records=records, columns=columns)


def _reason(error: Exception) -> str:
    constraint = getattr(error, "constraint_name", None) or ""
    if constraint in TAKEN:
        return TAKEN[constraint]
    match error:
        case asyncpg.UniqueViolationError():
            return f"its id is there already ({constraint})"
        case asyncpg.ForeignKeyViolationError():
            return f"what it belongs to does not stand before it, in its tenant ({constraint})"
        case asyncpg.CheckViolationError():
            return f"no row of ours says that ({constraint})"
        case _:
            return f"PostgreSQL does not take it ({type(error).__name__})"
