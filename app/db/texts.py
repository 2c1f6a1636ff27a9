"""Seals texts on their way into a table and opens them on their way out: the one place for it.

`Connection.execute` asks for it. Statements say which of their values are texts (`seals`), and classes of rows which of
their columns (`Record.text_places`). Keys are in the memory of the process for a while, and lie in files (`KeyFiles`).
"""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import text

from app.core.credentials.envelope import Unopenable
from app.core.credentials.key_files import KeyFiles
from app.core.credentials.text_key import Place, RowKey, TextKey, is_sealed
from app.core.errors import TextKeysUnavailable, TextUnreadable
from app.core.settings.master_keys import MasterKeySettings
from app.db.sealing import Sealing, row_of, sealing_of

if TYPE_CHECKING:
    from sqlalchemy import ClauseElement

    from app.db.execution import Connection, R, Record

KNOWN_SECONDS = 300.0
TENANTS_KEPT = 10_000
# In the transaction that seals a tenant's first text: nothing of a tenant without this row is sealed.
NOTE = text("""
INSERT INTO text_keys (tenant_id, master) VALUES (:tenant_id, :master)
ON CONFLICT ON CONSTRAINT pk_text_keys DO NOTHING RETURNING text_keys.tenant_id
""")
logger = structlog.get_logger()


class Unreadable(str):
    """Stands where a text does not open, in lists: the rest of a list is shown."""

    __slots__ = ()


UNREADABLE = Unreadable("[unreadable]")


class _Known:
    __slots__ = ("key", "noted", "until")

    def __init__(self, key: TextKey) -> None:
        self.key, self.until = key, monotonic() + KNOWN_SECONDS
        self.noted = False
        """Whether the tenant's row is known to be committed."""


class Texts:
    """`seals` False: what is sealed is opened, and nothing more is sealed."""

    def __init__(self, files: KeyFiles, *, seals: bool) -> None:
        self.files = files
        self.seals = seals
        # In the order in which they were read.
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def sealed(
        self, connection: "Connection", statement: "ClauseElement", values: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """The values as they are stored; raises `TextKeysUnavailable`."""
        sealing = sealing_of(statement) if self.seals else None
        if sealing is None or not any(values.get(name) for name in sealing.places):
            return values
        key = await self.key_to_seal(connection, _tenant_of(values))
        return {**values, **_sealed(key, sealing, values)}

    async def opened(self, rows: "list[R]", values: Mapping[str, Any]) -> "list[R]":
        """The rows with their texts.

        Raises:
            TextUnreadable: of rows that are nothing without their text.
            TextKeysUnavailable
        """
        if not rows:
            return rows
        kind = type(rows[0])
        at = [place for place, name in enumerate(kind.in_order) if name in kind.text_places]
        if not any(is_sealed(row[place]) for row in rows for place in at):
            return rows
        opener = _Opener(await self.key_of(_tenant_of(values)), kind, values)
        opened = [read for row in rows if (read := opener.open(row)) is not None]
        failed = opener.failed
        if failed:
            logger.error("texts_unreadable", tenant_id=_tenant_of(values), count=len(failed), first=failed[0])
        return opened

    # --- keys

    async def key_of(self, tenant_id: str) -> TextKey | None:
        """None: there is none, and no text of the tenant opens. Raises `TextKeysUnavailable`."""
        known = self._known.get(tenant_id)
        if known is not None and known.until > monotonic():
            return known.key
        try:
            key = await asyncio.to_thread(self.files.read, tenant_id)
        except Unopenable:
            return None
        except OSError as error:
            raise _unavailable(tenant_id, type(error).__name__) from error
        if key is not None:
            self._remember(tenant_id, key)
        return key

    async def key_to_seal(self, connection: "Connection", tenant_id: str) -> TextKey:
        """The tenant's, made and noted in this transaction where it is the first time; raises `TextKeysUnavailable`."""
        key = await self.key_of(tenant_id)
        if key is not None and self._known[tenant_id].noted:
            return key
        noted = await connection.execute(NOTE, {"tenant_id": tenant_id, "master": self.files.master})
        if noted.one_or_none() is None:
            # Somebody may have made it a moment ago. Never a second one: what the first has sealed would not open.
            key = key or await self.key_of(tenant_id)
            if key is None:
                raise _unavailable(tenant_id, "there is no file of a key that is in use")
            self._known[tenant_id].noted = True
            return key
        if key is None:
            try:
                key = await asyncio.to_thread(self.files.make, tenant_id)
            except (OSError, Unopenable) as error:
                raise _unavailable(tenant_id, type(error).__name__) from error
            self._remember(tenant_id, key)
        return key

    async def digest(self, connection: "Connection", tenant_id: str, value: str) -> str:
        """Tells values of the tenant apart, and nobody without its key what they are; raises `TextKeysUnavailable`."""
        return (await self.key_to_seal(connection, tenant_id)).digest(value)

    def forget(self, tenant_id: str) -> None:
        self._known.pop(tenant_id, None)

    async def destroy(self, tenant_id: str) -> None:
        """Destroy the tenant's key for good; raises `TextKeysUnavailable`."""
        self.forget(tenant_id)
        try:
            await asyncio.to_thread(self.files.destroy, tenant_id)
        except OSError as error:
            raise _unavailable(tenant_id, type(error).__name__) from error

    def _remember(self, tenant_id: str, key: TextKey) -> None:
        self._known[tenant_id] = _Known(key)
        self._known.move_to_end(tenant_id)
        if len(self._known) > TENANTS_KEPT:
            self._known.popitem(last=False)


def texts_of(settings: MasterKeySettings) -> Texts | None:
    """None: nothing is sealed, and nothing that is sealed can be opened."""
    files = settings.key_files()
    return None if files is None else Texts(files, seals=settings.encrypt_text)


def seal(key: RowKey, place: Place, value: Any) -> Any:
    """As it is stored. What is nothing stays what it is."""
    if not value:
        return value
    if place.kind == "bytes":
        return key.seal_bytes(value, place)
    return key.seal(json.dumps(value) if place.kind == "json" else value, place)


def open_text(key: RowKey | None, place: Place, value: Any) -> Any:
    """Raises `Unopenable`."""
    if not is_sealed(value):
        return value
    if key is None:
        raise Unopenable
    if place.kind == "bytes":
        return key.open_bytes(value, place)
    opened = key.open(value, place)
    return json.loads(opened) if place.kind == "json" else opened


def _sealed(key: TextKey, sealing: Sealing, values: Mapping[str, Any]) -> dict[str, Any]:
    sealed: dict[str, Any] = {}
    keys: dict[str, RowKey] = {}
    for name, place in sealing.places.items():
        value = values.get(name)
        if isinstance(value, list) and place.kind != "json":
            rows: Sequence[str] = values[sealing.row[0]]
            of_rows = zip(rows, value, strict=True)
            sealed[name] = [seal(key.of_row(place.table, row), place, each) for row, each in of_rows]
        elif value:
            if place.table not in keys:
                keys[place.table] = key.of_row(place.table, row_of(sealing.row, values))
            sealed[name] = seal(keys[place.table], place, value)
    return sealed


class _Opener:
    """Of the rows of one result."""

    def __init__(self, key: TextKey | None, kind: "type[Record]", values: Mapping[str, Any]) -> None:
        self.failed: list[str] = []
        self._key, self._kind, self._values = key, kind, values
        self._places = {name: at for at, name in enumerate(kind.in_order)}
        self.cells = [
            (at, kind.text_places[name], kind.other_rows.get(name, kind.text_row))
            for name, at in self._places.items()
            if name in kind.text_places
        ]

    def open(self, row: "R") -> "R | None":
        """None: it is left out."""
        read = list(row)
        keys: dict[tuple[str, tuple[str, ...]], RowKey | None] = {}
        for at, place, told_by in self.cells:
            if not is_sealed(row[at]):
                continue
            if (of := (place.table, told_by)) not in keys:
                keys[of] = None if self._key is None else self._key.of_row(place.table, self._name(row, told_by))
            try:
                read[at] = open_text(keys[of], place, row[at])
            except Unopenable:
                name = self._name(row, told_by)
                if self._kind.if_unreadable == "raise":
                    raise TextUnreadable from None
                self.failed.append(f"{place.table}.{place.column} {name}")
                if self._kind.if_unreadable == "leave out":
                    return None
                read[at] = None if place.kind == "json" else UNREADABLE
                if "error_code" in self._places:
                    read[self._places["error_code"]] = TextUnreadable.code
        return type(row)(read)

    def _name(self, row: "R", told_by: tuple[str, ...]) -> str:
        if len(told_by) == 1 and told_by[0] in self._places:
            return str(row[self._places[told_by[0]]])
        return row_of(told_by, {**self._values, **dict(zip(self._kind.in_order, row, strict=True))})


def _tenant_of(values: Mapping[str, Any]) -> str:
    tenant_id: str = values.get("tenant_id") or values["in_tenant"]
    return tenant_id


def _unavailable(tenant_id: str, reason: str) -> TextKeysUnavailable:
    logger.error("text_key_unavailable", tenant_id=tenant_id, reason=reason)
    return TextKeysUnavailable()
