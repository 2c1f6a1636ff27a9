"""Types of pgvector, which SQLAlchemy does not know. A value goes and comes as its text."""

from typing import Any

from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.types import UserDefinedType


class HalfVector(UserDefinedType[str]):
    """Half-precision numbers; of any dimension where none is given."""

    cache_ok = True

    def __init__(self, dimensions: int | None = None) -> None:
        self.dimensions = dimensions

    def get_col_spec(self, **_: Any) -> str:
        return "halfvec" if self.dimensions is None else f"halfvec({self.dimensions})"


class SparseVector(UserDefinedType[str]):
    """Numbers that are zero but for a few."""

    cache_ok = True

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions

    def get_col_spec(self, **_: Any) -> str:
        return f"sparsevec({self.dimensions})"


# So that Alembic knows them when it reads a database.
ischema_names.update({"halfvec": HalfVector, "sparsevec": SparseVector})
