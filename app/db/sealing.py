"""Which values of a statement are texts, and where they stand: whoever executes it seals them (`app.db.texts`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import ClauseElement

from app.core.credentials.text_key import Place

Statement = TypeVar("Statement", bound=ClauseElement)


@dataclass(frozen=True, slots=True)
class Sealing:
    """The values to seal by their names; `row` names those that tell the row. Lists belong to a list of rows."""

    row: tuple[str, ...]
    places: Mapping[str, Place]


_known: WeakKeyDictionary[ClauseElement, Sealing] = WeakKeyDictionary()


def seals(statement: Statement, *row: str, **places: Place) -> Statement:
    """The statement, known to store texts."""
    _known[statement] = Sealing(row or ("id",), places)
    return statement


def sealing_of(statement: ClauseElement) -> Sealing | None:
    return _known.get(statement)


def row_of(names: tuple[str, ...], values: Mapping[str, object]) -> str:
    """A row as it is bound to what is sealed in it."""
    return "/".join(str(values[name]) for name in names)
