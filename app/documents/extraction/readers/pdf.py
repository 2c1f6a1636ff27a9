"""PDF, page by page; its outline says what is a heading."""

import re
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from typing import Any

from app.documents.extraction.writer import LOWEST_LEVEL, Writer, one_line, storable
from app.documents.failures import ExtractionFailed, FailureCode

# How the library marks a hyphen at the end of a line: the word goes on.
_SOFT_HYPHEN = re.compile("[\x02\ufffe]\\s*")
_PASSWORD_ERROR = 4


def read_pdf(content: bytes, writer: Writer) -> None:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if error.err_code == _PASSWORD_ERROR:
            raise ExtractionFailed(FailureCode.ENCRYPTED, "pdf") from error
        raise
    if len(document) > writer.limits.pages:
        raise ExtractionFailed(FailureCode.TOO_MANY_PAGES)
    outline = _outline(document, writer.limits.headings)
    for number in range(len(document)):
        writer.page()
        text = storable(_SOFT_HYPHEN.sub("", _text_of(document, number))).strip()
        if text:
            _note_headings(text, outline.get(number, ()), writer)
            writer.line(text)


def _outline(document: Any, most: int) -> dict[int, list[tuple[int, str]]]:
    """Levels and titles by the page that they point to."""
    from pypdfium2 import PdfiumError

    by_page: dict[int, list[tuple[int, str]]] = {}
    with suppress(PdfiumError):
        for bookmark in islice(document.get_toc(max_depth=LOWEST_LEVEL), most):
            target = bookmark.get_dest()
            title = one_line(storable(bookmark.get_title()))
            if title and target is not None and (page := target.get_index()) is not None:
                by_page.setdefault(page, []).append((bookmark.level + 1, title))
    return by_page


def _note_headings(text: str, headings: Iterable[tuple[int, str]], writer: Writer) -> None:
    """Each at the line that it is, or where the one before it is: at least they are of this page."""
    found = 0
    for level, title in headings:
        line = re.compile(
            r"^[ \t]*(?:[\d.]+[ \t]+)?" + r"\s+".join(map(re.escape, title.split())), re.MULTILINE | re.IGNORECASE
        )
        if match := line.search(text, found):
            found = match.start()
        writer.note_heading(writer.offset + found, level, title)


def _text_of(document: Any, number: int) -> str:
    from pypdfium2 import PdfiumError

    # A page that is damaged is empty, as a viewer shows it.
    try:
        page = document[number]
    except PdfiumError:
        return ""
    try:
        text_page = page.get_textpage()
        text: str = text_page.get_text_bounded()
        text_page.close()
    except PdfiumError:
        return ""
    finally:
        page.close()
    return text
