"""How a statement is executed: SQLAlchemy words it, once; the driver executes it each time.

Through SQLAlchemy a small query costs more CPU in its execution than in the driver and the answer together.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from inspect import get_annotations
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload
from weakref import WeakKeyDictionary

import asyncpg
from sqlalchemy import ClauseElement
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.sql.dml import UpdateBase

from app.core.credentials.text_key import Place
from app.db.rls import GuardedConnection

if TYPE_CHECKING:
    from app.db.texts import Texts

# Of a jsonb value, in its binary form.
JSONB_VERSION = b"\x01"
DIALECT = dialect()  # type: ignore[no-untyped-call]
NO_VALUES: Mapping[str, Any] = {}
_REQUIRED = object()
Convert = Callable[[Any], Any]
R = TypeVar("R", bound="Record")
NOTHING_SEALED: Mapping[str, Place] = {}
NOWHERE_ELSE: Mapping[str, tuple[str, ...]] = {}
IfUnreadable = Literal["show", "leave out", "raise"]
SHOW: IfUnreadable = "show"
BY_ID: tuple[str, ...] = ("id",)
UNKNOWN: tuple[str, ...] = ()


class Record(tuple[Any, ...]):
    """A row; its columns are attributes too. A class below it names those that a statement must return.

    `text_places`: where those of them stand that are texts; `text_row` names what tells the row, in it or in what it
    was asked by, `other_rows` where that is another one for a column. `if_unreadable`: what becomes of a row whose text
    does not open. `in_order`: the columns' names.
    """

    __slots__ = ()
    text_places = NOTHING_SEALED
    text_row = BY_ID
    other_rows = NOWHERE_ELSE
    if_unreadable = SHOW
    in_order = UNKNOWN

    @classmethod
    @cache
    def columns(cls) -> tuple[str, ...]:
        """The columns that the class names, those of its bases first."""
        return tuple(dict.fromkeys(name for base in reversed(cls.__mro__) for name in get_annotations(base)))


class Row(Record):
    """A row of a statement whose columns nobody names elsewhere."""

    __slots__ = ()

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


class Result(Generic[R]):
    """What a statement returned, all of it."""

    __slots__ = ("_rows",)

    def __init__(self, rows: list[R]) -> None:
        self._rows = rows

    def all(self) -> list[R]:
        return self._rows

    def scalars(self) -> list[Any]:
        """The first column."""
        return [row[0] for row in self._rows]

    def one(self) -> R:
        """Raises `LookupError` unless there is one row."""
        row = self.one_or_none()
        if row is None:
            raise LookupError("no row where one is needed")
        return row

    def one_or_none(self) -> R | None:
        """Raises `LookupError` if there are more."""
        if len(self._rows) > 1:
            raise LookupError("more than one row")
        return self._rows[0] if self._rows else None

    def scalar_one(self) -> Any:
        return self.one()[0]

    def scalar_one_or_none(self) -> Any:
        row = self.one_or_none()
        return None if row is None else row[0]


class Connection:
    """A guarded connection in a transaction that has entered, as a session's block gets it."""

    __slots__ = ("cut", "driver", "texts")

    def __init__(self, driver: GuardedConnection, texts: "Texts | None" = None) -> None:
        self.driver = driver
        self.texts = texts
        """What seals and opens texts; None: they are what they are."""
        self.cut = False
        """Whether a statement was cancelled while the server worked on it."""

    @property
    def own_alone(self) -> bool:
        """Whether who entered sees its own messages and conversations alone."""
        return self.driver.own_alone

    @overload
    async def execute(self, statement: ClauseElement, values: Mapping[str, Any] = NO_VALUES) -> Result[Row]: ...

    @overload
    async def execute(self, statement: ClauseElement, values: Mapping[str, Any], row: type[R]) -> Result[R]: ...

    async def execute(
        self, statement: ClauseElement, values: Mapping[str, Any] = NO_VALUES, row: type[Record] = Row
    ) -> Result[Any]:
        """Raises the driver's errors; the session translates those that mean something to the domain.

        `LookupError`: the statement returns rows that lack a column of `row`.
        """
        worded = _worded(statement, values, row)
        if self.texts is None:
            return Result(worded.rows(await self.fetch(worded.sql, worded.arguments(values))))
        stored = await self.texts.sealed(self, statement, values)
        rows = worded.rows(await self.fetch(worded.sql, worded.arguments(stored)))
        return Result(await self.texts.opened(rows, values) if row.text_places else rows)

    async def fetch(self, sql: str, arguments: Sequence[Any]) -> list[asyncpg.Record]:
        """For `execute` alone: SQL is worded by SQLAlchemy."""
        try:
            records: list[asyncpg.Record] = await self.driver.fetch(sql, *arguments)
        except BaseException as error:
            self.cut = not isinstance(error, Exception)
            raise
        return records

    async def execute_many(self, statement: ClauseElement, values: Sequence[Mapping[str, Any]]) -> None:
        """Once for each of at least one set of values, in few trips; raises as `execute`."""
        worded = _worded(statement, values[0], Row)
        try:
            await self.driver.executemany(worded.sql, [worded.arguments(each) for each in values])
        except BaseException as error:
            self.cut = not isinstance(error, Exception)
            raise


class _Worded:
    """A statement as the driver takes it. It does not hold the statement: it is forgotten with it."""

    __slots__ = ("_binds", "_converts", "_kind", "_row", "sql")

    def __init__(self, statement: ClauseElement, keys: Iterable[str] | None, kind: type[Record]) -> None:
        compiled: Any = statement.compile(dialect=DIALECT, column_keys=keys)
        if compiled.post_compile_params:
            raise ValueError("a list is bound as an array: its length would be part of the SQL")
        self.sql: str = compiled.string
        binds = {name: bind for bind, name in compiled.bind_names.items()}
        self._binds = [_bind_of(binds[name]) for name in compiled.positiontup or ()]
        self._converts: list[Convert | None] = [
            column.type.dialect_impl(DIALECT).result_processor(DIALECT, None)
            for column in getattr(statement, "exported_columns", ())
        ]
        self._kind = kind
        self._row: Callable[[Iterable[Any]], Record] | None = None

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        found = []
        for key, default, convert in self._binds:
            value = values.get(key, default)
            if value is _REQUIRED:
                raise LookupError(f"no value for {key!r}")
            found.append(value if convert is None else convert(value))
        return found

    def rows(self, records: list[asyncpg.Record]) -> list[Record]:
        if not records:
            return []
        if self._row is None:
            self._row = _row_of(self._kind, list(records[0].keys()), self._converts)
        return [self._row(record) for record in records]


async def read_json(driver: asyncpg.Connection) -> None:
    """Let JSON come as what it says. It goes as text: types of SQLAlchemy write it."""
    for name, version in (("json", b""), ("jsonb", JSONB_VERSION)):
        await driver.set_type_codec(
            name,
            schema="pg_catalog",
            format="binary",
            encoder=lambda written, version=version: version + written.encode(),
            decoder=lambda value, version=version: json.loads(value[len(version) :]),
        )


_known: WeakKeyDictionary[ClauseElement, dict[tuple[object, ...], _Worded]] = WeakKeyDictionary()


def _worded(statement: ClauseElement, values: Mapping[str, Any], kind: type[Record]) -> _Worded:
    # What is inserted or updated may depend on which values there are.
    keys = tuple(values) if isinstance(statement, UpdateBase) else ()
    forms = _known.get(statement)
    if forms is None:
        forms = _known[statement] = {}
    worded = forms.get((kind, *keys))
    if worded is None:
        worded = forms[kind, *keys] = _Worded(statement, keys or None, kind)
    return worded


def _bind_of(bind: Any) -> tuple[str, Any, Convert | None]:
    default = _REQUIRED if bind.required else bind.effective_value
    return bind.key, default, bind.type.dialect_impl(DIALECT).bind_processor(DIALECT)


def _row_of(
    kind: type[Record], names: Sequence[str], converts: list[Convert | None]
) -> Callable[[Iterable[Any]], Record]:
    """What makes a row of a record."""
    if missing := set(kind.columns()) - set(names):
        raise LookupError(f"{kind.__name__} has columns that the statement does not return: {sorted(missing)}")
    columns = {name: property(itemgetter(place)) for place, name in enumerate(names)}
    row: type[Record] = type(kind.__name__, (kind,), {**columns, "__slots__": (), "in_order": tuple(names)})
    if not any(converts):
        return row

    def converted(record: Iterable[Any]) -> Record:
        return row(
            value if convert is None else convert(value) for value, convert in zip(record, converts, strict=True)
        )

    return converted
