"""An archive is judged by what it says of itself, before anything in it is parsed."""

import io
import struct
import zipfile

import pytest

from app.documents.extraction.limits import MIB, Limits
from app.documents.extraction.reading import failure_of, prepared
from app.documents.failures import FailureCode
from tests.documents import files

LAUGHS = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {chr(b)} "{f"&{chr(b - 1)};" * 10}">' for b in range(ord("b"), ord("k"))
)


def failure(content: bytes, limits: Limits | None = None) -> FailureCode:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - of any kind, as libraries have them
        prepared(content, "a.docx", None, limits or Limits())()
    return failure_of(raised.value).code


@pytest.mark.parametrize(("make", "part"), [(files.word, "word/document.xml"), (files.sheets, "xl/workbook.xml")])
def test_a_bomb_is_too_large(make: object, part: str) -> None:
    bomb = files.with_part(make(), part, bytes(40 * MIB))  # type: ignore[operator]
    assert len(bomb) < MIB
    assert failure(bomb) == FailureCode.TOO_LARGE
    assert failure(make(), Limits(unpacked=100)) == FailureCode.TOO_LARGE  # type: ignore[operator]


def test_a_bomb_that_lies_about_its_size_is_not_unpacked() -> None:
    bomb = bytearray(files.with_part(files.word(), "word/document.xml", bytes(40 * MIB)))
    for place in range(len(bomb) - 4):
        if bomb[place : place + 4] == struct.pack("<I", 40 * MIB):
            bomb[place : place + 4] = struct.pack("<I", 1000)
    assert failure(bytes(bomb)) == FailureCode.TYPE_MISMATCH


def test_too_many_entries_are_too_complex() -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for number in range(200):
            archive.writestr(f"{number}", b"")
    assert failure(target.getvalue(), Limits(entries=100)) == FailureCode.TOO_COMPLEX


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be"])
@pytest.mark.parametrize(
    ("make", "part"),
    [
        (files.word, "word/document.xml"),
        (files.slides, "ppt/slides/slide1.xml"),
        (files.sheets, "xl/sharedStrings.xml"),
    ],
)
def test_entities_are_refused_wherever_they_stand(make: object, part: str, encoding: str) -> None:
    laughs = (LAUGHS + "]><x>&j;</x>").encode(encoding)
    assert failure(files.with_part(make(), part, laughs)) == FailureCode.TOO_COMPLEX  # type: ignore[operator]


def test_a_declaration_is_seen_where_two_blocks_meet() -> None:
    for split in (2, 5, 8):
        before = b"<!--" + b"-" * (256 * 1024 - 7 - split) + b"-->"
        part = files.with_part(files.word(), "word/document.xml", before + b"<!DOCTYPE x><x/>")
        assert failure(part) == FailureCode.TOO_COMPLEX


def test_an_archive_with_a_password_says_so() -> None:
    content = bytearray(files.word())
    place = content.index(b"PK\x01\x02")
    content[place + 8] |= 1
    assert failure(bytes(content)) == FailureCode.ENCRYPTED
