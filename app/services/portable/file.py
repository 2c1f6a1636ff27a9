"""A file that is an export: first as a whole, then line by line, never more than a line of it in memory.

Whoever hands it over may have made it: it is believed nothing. The digest tells what happened to it on its way, and
not who wrote it.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from app.services.export_end import Form, schema_of_this_version
from app.services.portable.refusal import Refused, Wrong
from app.services.portable.tables import FORMS

# Longer than the longest row: a file of 50 MB that waits to be read, written as text.
MOST_LINE_BYTES = 160 * 1024 * 1024
MOST_DIGITS = 9
# How an end line begins, wherever it stands.
END = b'{"type": "end"'
CHANGED = "its digest is not that of its lines: it was changed, reordered or cut on its way"


@dataclass(frozen=True, slots=True)
class End:
    """What the last line says. `lines`: how many stand before it."""

    form: Form
    schema: str
    counts: dict[str, int]
    sha256: str
    lines: int


class ExportFile:
    """`file`: one that can be read twice."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def verify(self) -> End:
        """What its end says, once that is found to be true of the bytes before it; raises `Refused`."""
        digest, last, number, ended = hashlib.sha256(), b"", 0, 0
        for number, line in enumerate(self._read(), 1):
            if last.startswith(END):
                ended = ended or number - 1
            digest.update(last)
            last = line
        if ended:
            raise Refused(f"it goes on after its end in line {ended}: two files in one?")
        end = _end_of(last, number)
        if digest.hexdigest() != end.sha256:
            raise Refused(CHANGED)
        return end

    def first_line(self) -> bytes:
        return next(self._read(), b"")

    def lines(self, end: End) -> Iterator[tuple[int, bytes]]:
        """Each line before the end, with its number; raises `Refused` in the end if they are others by now."""
        digest = hashlib.sha256()
        for number, line in enumerate(self._read(), 1):
            if number > end.lines:
                break
            digest.update(line)
            yield number, line
        if digest.hexdigest() != end.sha256:
            raise Refused(CHANGED)

    def _read(self) -> Iterator[bytes]:
        self._file.seek(0)
        number = 0
        while line := self._file.readline(MOST_LINE_BYTES + 1):
            number += 1
            if len(line) > MOST_LINE_BYTES:
                raise Refused(f"longer than {MOST_LINE_BYTES} bytes", number)
            yield line


def object_of(line: bytes) -> dict[str, Any]:
    """The object of a line; raises `Wrong`."""
    try:
        found = json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Wrong("it is no object of JSON")
    return found


def _no_number(_: str) -> Any:
    raise ValueError


def _end_of(line: bytes, number: int) -> End:
    try:
        end = object_of(line)
    except Wrong:
        end = {}
    if end.get("type") != "end":
        raise Refused("its last line is no end line: it was cut, or is no export")
    if "sha256" not in end:
        raise Refused("its end line has no digest: a version before this wrote it, and nobody can tell if it is whole")
    form, schema, counts, sha256 = (end.get(name) for name in ("form", "schema", "counts", "sha256"))
    known = {table.type for table in FORMS.get(form, ())} if isinstance(form, str) else set()  # type: ignore[call-overload]
    if not known or not isinstance(counts, dict) or not isinstance(sha256, str):
        raise Refused("its end line says nothing that this version knows", number)
    if not isinstance(schema, str) or not (schema.isascii() and schema.isdigit() and len(schema) < MOST_DIGITS):
        raise Refused("its end line names no schema", number)
    if int(schema) > int(schema_of_this_version()):
        raise Refused(f"its schema {int(schema)} is newer than this deployment's {int(schema_of_this_version())}")
    return End(form, schema, counts, sha256, number - 1)  # type: ignore[arg-type]
