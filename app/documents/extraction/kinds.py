"""What a file is: by its first bytes; its name decides only between kinds of text."""

from collections.abc import Collection
from enum import StrEnum
from pathlib import PurePath

from app.documents.failures import ExtractionFailed, FailureCode

_OPEN_XML = "application/vnd.openxmlformats-officedocument"


class Kind(StrEnum):
    """The media types that are read."""

    TEXT = "text/plain"
    MARKDOWN = "text/markdown"
    HTML = "text/html"
    CSV = "text/csv"
    PDF = "application/pdf"
    WORD = f"{_OPEN_XML}.wordprocessingml.document"
    SLIDES = f"{_OPEN_XML}.presentationml.presentation"
    SHEETS = f"{_OPEN_XML}.spreadsheetml.sheet"


_BY_SUFFIX = {
    ".txt": Kind.TEXT,
    ".md": Kind.MARKDOWN,
    ".markdown": Kind.MARKDOWN,
    ".html": Kind.HTML,
    ".htm": Kind.HTML,
    ".xhtml": Kind.HTML,
    ".csv": Kind.CSV,
    ".tsv": Kind.CSV,
    ".pdf": Kind.PDF,
    ".docx": Kind.WORD,
    ".pptx": Kind.SLIDES,
    ".xlsx": Kind.SHEETS,
}
_BY_PART = {"word/document.xml": Kind.WORD, "ppt/presentation.xml": Kind.SLIDES, "xl/workbook.xml": Kind.SHEETS}
_PLAIN = (Kind.TEXT, Kind.MARKDOWN, Kind.HTML, Kind.CSV)
# Names of what is never a text, so that a text under such a name is not what it says.
_BINARY = (
    ".doc .xls .ppt .odt .ods .odp .docm .xlsm .pptm .zip .gz .7z .rar .png .jpg .jpeg .gif .webp .tif .tiff .bmp .mp3 "
    ".mp4 .wav .mov .exe .dll .so .epub"
)
_BINARY_SUFFIXES = frozenset(_BINARY.split())
_OLE = bytes.fromhex("d0cf11e0a1b11ae1")
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_UNSUPPORTED = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF8",
    b"II*\x00",
    b"MM\x00*",
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ\x00",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a\x07",
    b"\x7fELF",
    b"MZ",
    b"\xca\xfe\xba\xbe",
    b"{\\rtf",
    b"SQLite format 3\x00",
    b"OggS",
    b"ID3",
    b"%!PS",
)
_MARKED_AS_PAGE = (b"<!doctype html", b"<html")
# Readers of PDF look for its mark in so many bytes.
_PDF_WITHIN = 1024


def kind_of_bytes(content: bytes) -> Kind | None:
    """What its first bytes say; None: nothing, as with any text.

    Raises:
        ExtractionFailed: it is of a kind that is not read, or behind a password.
    """
    if content.startswith(_OLE):
        # What Office encrypts is wrapped into the older format.
        encrypted = "EncryptedPackage".encode("utf-16-le") in content
        raise ExtractionFailed(FailureCode.ENCRYPTED if encrypted else FailureCode.UNSUPPORTED_TYPE, "OLE")
    if content.startswith(_ZIP):
        return None
    if b"%PDF-" in content[:_PDF_WITHIN]:
        return Kind.PDF
    if content.startswith(_UNSUPPORTED) or content[4:8] == b"ftyp" or content[8:12] in {b"WAVE", b"WEBP", b"AVI "}:
        raise ExtractionFailed(FailureCode.UNSUPPORTED_TYPE, "magic")
    return None


def is_archive(content: bytes) -> bool:
    return content.startswith(_ZIP)


def kind_of_archive(names: Collection[str]) -> Kind:
    """By the names of its parts."""
    for part, kind in _BY_PART.items():
        if part in names and "[Content_Types].xml" in names:
            return kind
    raise ExtractionFailed(FailureCode.UNSUPPORTED_TYPE, "archive")


def kind_of_text(content: bytes, name: str, declared: str | None) -> Kind:
    """Which text it is, where the bytes are one."""
    suffix = PurePath(name).suffix.lower()
    media_type = (declared or "").partition(";")[0].strip().lower()
    named = _BY_SUFFIX.get(suffix) or next((kind for kind in Kind if kind == media_type), None)
    if suffix in _BINARY_SUFFIXES or (named is not None and named not in _PLAIN):
        raise ExtractionFailed(FailureCode.TYPE_MISMATCH, "a text under the name of another type")
    if named in {None, Kind.TEXT} and content[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_MARKED_AS_PAGE):
        return Kind.HTML
    return named or Kind.TEXT
