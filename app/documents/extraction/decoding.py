"""Bytes to text: by its mark, as UTF-8 if all of it is, by the charset that it names, as Windows-1252; no guesses."""

import codecs
import re
from contextlib import suppress

from app.documents.failures import ExtractionFailed, FailureCode

# Longer first: the mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Python knows more, some of which are no charsets at all.
_CHARSETS = re.compile(r"iso-8859-\d{1,2}|windows-125[0-8]|shift_jis|euc-jp|euc-kr|gb2312|gbk|gb18030|big5|koi8-[ru]")
_NAMES_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w-]{1,40})", re.IGNORECASE)
_DECLARES_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w-]{1,40})", re.IGNORECASE)
_LOOKED_AT = 4096
# More of these than one in ten is not a text.
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f\ufffd]")


def decode(content: bytes, declared: str | None) -> str:
    """The text.

    Raises:
        ExtractionFailed: the bytes are none.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return _readable(content[len(mark) :].decode(encoding, "replace"))
    if two_bytes := _of_two_bytes(content[:_LOOKED_AT]):
        return _readable(content.decode(two_bytes, "replace"))
    try:
        return _readable(content.decode("utf-8"))
    except UnicodeDecodeError:
        return _readable(content.decode(_charset(content, declared) or "cp1252", "replace"))


def _of_two_bytes(start: bytes) -> str | None:
    """UTF-16 without its mark: every other byte of Latin text is NUL."""
    pairs = len(start) // 2
    first, second = start[0 : 2 * pairs : 2].count(0), start[1 : 2 * pairs : 2].count(0)
    if pairs >= 4 and second > 0.6 * pairs and first < 0.1 * pairs:
        return "utf-16-le"
    if pairs >= 4 and first > 0.6 * pairs and second < 0.1 * pairs:
        return "utf-16-be"
    return None


def _charset(content: bytes, declared: str | None) -> str | None:
    named = _NAMES_CHARSET.search(content[:_LOOKED_AT])
    said = _DECLARES_CHARSET.search(declared or "")
    charset = (named.group(1).decode("ascii") if named else said.group(1) if said else "").lower()
    with suppress(LookupError):
        return codecs.lookup(charset).name if _CHARSETS.fullmatch(charset) else None
    return None


def _readable(text: str) -> str:
    start = text[:_LOOKED_AT]
    if not text.strip("\x00 \t\r\n\ufeff"):
        raise ExtractionFailed(FailureCode.EMPTY)
    if len(_CONTROLS.findall(start)) > len(start) / 10:
        raise ExtractionFailed(FailureCode.UNSUPPORTED_TYPE, "not a text")
    return text
