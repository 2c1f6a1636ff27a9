"""One file into a text, in the process that calls: the child's."""

from collections.abc import Callable

from app.documents.extraction import archive, kinds
from app.documents.extraction.decoding import decode
from app.documents.extraction.kinds import Kind
from app.documents.extraction.limits import Limits
from app.documents.extraction.writer import Writer
from app.documents.failures import ExtractionFailed, FailureCode
from app.documents.shapes import ReadText

# A process takes as much CPU to start as three passages to embed.
HERE_BYTES = 64 * 1024
_Reader = Callable[[bytes, Writer], None]


def prepared(content: bytes, name: str, declared: str | None, limits: Limits) -> Callable[[], ReadText]:
    """Says what the file is, and brings in what reads it; what is returned reads it, opening no file."""
    if len(content) > limits.file:
        raise ExtractionFailed(FailureCode.TOO_LARGE, "file")
    if not content:
        raise ExtractionFailed(FailureCode.EMPTY)
    writer = Writer(limits)
    if (binary := _binary_kind(content, limits)) is not None:
        reader = _binary_reader(binary)
        return lambda: _read(lambda: reader(content, writer), writer, binary)
    kind = kinds.kind_of_text(content, name, declared)
    text = decode(content, declared)
    text_reader = _text_reader(kind)
    return lambda: _read(lambda: text_reader(text, writer), writer, kind)


def read_here(content: bytes, name: str, declared: str | None, limits: Limits) -> ReadText | None:
    """Of a short text, or Markdown, whatever calls; None: it takes a child to read it, or to say why it cannot be.

    To decode it and to look at its lines is code of ours, in a time that grows with them.
    """
    if len(content) > HERE_BYTES or kinds.is_archive(content):
        return None
    try:
        kind = kinds.kind_of_bytes(content) or kinds.kind_of_text(content, name, declared)
        if kind not in (Kind.TEXT, Kind.MARKDOWN):
            return None
        return prepared(content, name, declared, limits)()
    except ExtractionFailed:
        return None


def _binary_kind(content: bytes, limits: Limits) -> Kind | None:
    if not kinds.is_archive(content):
        return kinds.kind_of_bytes(content)
    with archive.opened(content, limits) as opened:
        kind = kinds.kind_of_archive(set(opened.namelist()))
        archive.refuse_declarations(opened)
    return kind


def failure_of(error: BaseException) -> ExtractionFailed:
    """What an error of a reader means to whoever uploaded the file."""
    if isinstance(error, ExtractionFailed):
        return error
    reason = type(error).__name__
    if isinstance(error, MemoryError | RecursionError):
        return ExtractionFailed(FailureCode.TOO_COMPLEX, reason)
    if isinstance(error, ImportError):
        # The extra `documents` is not installed: this service reads no such files.
        return ExtractionFailed(FailureCode.UNSUPPORTED_TYPE, f"{reason} {error.name}")
    return ExtractionFailed(FailureCode.TYPE_MISMATCH, reason)


def _read(read: Callable[[], None], writer: Writer, kind: Kind) -> ReadText:
    read()
    return writer.read_text(kind.value)


def _binary_reader(kind: Kind) -> _Reader:
    if kind is Kind.PDF:
        import pypdfium2  # noqa: F401

        from app.documents.extraction.readers.pdf import read_pdf

        return read_pdf
    if kind is Kind.SHEETS:
        import python_calamine  # noqa: F401

        from app.documents.extraction.readers.sheets import read_sheets

        return read_sheets
    from app.documents.extraction.readers import office

    if kind is Kind.WORD:
        import docx  # noqa: F401

        return office.read_word
    import pptx  # noqa: F401

    return office.read_slides


def _text_reader(kind: Kind) -> Callable[[str, Writer], None]:
    from app.documents.extraction.readers import plain

    if kind is Kind.HTML:
        import selectolax.lexbor  # noqa: F401

        from app.documents.extraction.readers.html import read_html

        return read_html
    return {Kind.MARKDOWN: plain.read_markdown, Kind.CSV: plain.read_csv}.get(kind, plain.read_text)
