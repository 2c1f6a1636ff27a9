"""The last line of an export: that it is whole, what it holds, and of which version it is."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Literal

from app.db.provision import newest_revision
from app.services.export_tables import ExportedTable

Form = Literal["export", "portable"]
"""What an admin is given, and what a database's owner takes along: with the digests of passwords and keys."""


class EndLine:
    """Made while the lines before it go by. `sha256` is of all bytes before it."""

    def __init__(self, form: Form, tables: Iterable[ExportedTable]) -> None:
        self._form = form
        self._counts = Counter({table.type: 0 for table in tables})
        self._digest = hashlib.sha256()

    def count(self, kind: str, rows: int, lines: bytes) -> bytes:
        """The lines again."""
        self._counts[kind] += rows
        self._digest.update(lines)
        return lines

    def written(self) -> bytes:
        end = {
            "type": "end",
            "form": self._form,
            "schema": schema_of_this_version(),
            "counts": self._counts,
            "sha256": self._digest.hexdigest(),
        }
        return json.dumps(end).encode() + b"\n"


@cache
def schema_of_this_version() -> str:
    """The migrations' head that this code goes with."""
    return newest_revision()
