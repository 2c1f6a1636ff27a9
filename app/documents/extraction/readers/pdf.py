"""PDF, page by page."""

import re
from typing import Any

from app.documents.extraction.writer import Writer
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
    for number in range(len(document)):
        writer.page()
        text = _SOFT_HYPHEN.sub("", _text_of(document, number)).strip()
        if text:
            writer.line(text)


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
