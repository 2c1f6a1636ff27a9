"""What goes between the service and the child: lengths first, so that each side reads no more than it allows.

The service does not trust what comes back: a file may have taken the child over.
"""

import json
import struct
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import BinaryIO

from app.documents.extraction.kinds import Kind
from app.documents.extraction.limits import Limits
from app.documents.extraction.writer import MAX_TITLE
from app.documents.failures import ExtractionFailed, FailureCode
from app.documents.shapes import Heading, ReadText

ASKED = struct.Struct("<II")
ANSWERED = struct.Struct("<B5I")
ALONE, CONNECTED = b"\x01", b"\x00"
"""The child's first byte, once it is confined: whether it is without a network."""
_PAGE = struct.Struct("<I")
_HEADING = struct.Struct("<IB")
_READ, _FAILED = 1, 2
_WIDEST = 4  # bytes that a character takes in UTF-8
_MAX_WORD = 100


def asked(content: bytes, name: str, declared: str | None, limits: Limits) -> bytes:
    """What stands before the content."""
    about = json.dumps({"name": name, "declared": declared, "limits": asdict(limits)}).encode()
    return ASKED.pack(len(about), len(content)) + about


def taken(stream: BinaryIO) -> tuple[bytes, str, str | None, Limits]:
    about_length, content_length = ASKED.unpack(stream.read(ASKED.size))
    about = json.loads(stream.read(about_length))
    return stream.read(content_length), about["name"], about["declared"], Limits(**about["limits"])


def written(read: ReadText) -> bytes:
    parts = (
        read.media_type.encode(),
        b"".join(map(_PAGE.pack, read.pages)),
        b"".join(_HEADING.pack(heading.offset, heading.level) for heading in read.headings),
        "\n".join(heading.title for heading in read.headings).encode(),
        read.text.encode(),
    )
    return ANSWERED.pack(_READ, *map(len, parts)) + b"".join(parts)


def failed(failure: ExtractionFailed) -> bytes:
    parts = (failure.code.encode(), b"", b"", b"", failure.reason.encode("ascii", "replace")[:_MAX_WORD])
    return ANSWERED.pack(_FAILED, *map(len, parts)) + b"".join(parts)


def lengths(head: bytes, limits: Limits) -> tuple[int, Sequence[int]]:
    """What kind of an answer, and the lengths of its parts.

    Raises:
        ValueError: one is longer than it may be.
    """
    kind, *sizes = ANSWERED.unpack(head)
    bounds = (
        _MAX_WORD,
        limits.pages * _PAGE.size,
        limits.headings * _HEADING.size,
        limits.headings * (_WIDEST * MAX_TITLE + 1),
        limits.characters * _WIDEST,
    )
    if any(size > bound for size, bound in zip(sizes, bounds, strict=True)):
        raise ValueError("an answer that is too long")
    return kind, sizes


def unpacked(kind: int, parts: Sequence[bytes], limits: Limits) -> ReadText:
    """The text, every offset of which lies in it.

    Raises:
        ExtractionFailed: the child says why there is none.
        ValueError: no child of ours wrote this.
    """
    word, pages, headings, titles, text = parts
    if kind == _FAILED:
        raise ExtractionFailed(FailureCode(word.decode()), text.decode("ascii"))
    read = ReadText(
        text.decode(),
        Kind(word.decode()).value,
        [
            Heading(offset, level, title)
            for (offset, level), title in zip(
                _HEADING.iter_unpack(headings), titles.decode().split("\n") if headings else (), strict=True
            )
        ],
        [offset for (offset,) in _PAGE.iter_unpack(pages)],
    )
    if kind != _READ or len(read.text) > limits.characters or "\x00" in read.text + titles.decode():
        raise ValueError("a text that is not storable")
    _in_order([heading.offset for heading in read.headings], len(read.text))
    _in_order(read.pages, len(read.text))
    return read


def _in_order(offsets: Sequence[int], end: int) -> None:
    if any(later < earlier for earlier, later in pairwise([*offsets, end])):
        raise ValueError("an offset that is not in the text")
