"""Word's documents and PowerPoint's slides: their paragraphs in order, rows of tables as lines.

The libraries open the package and find its parts. The elements are walked here: their own iterators leave out what
stands in content controls and text boxes.
"""

import io
import re
from collections.abc import Iterator
from typing import Any

from app.documents.extraction.readers.tables import write_rows
from app.documents.extraction.writer import Writer

_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
# The second telling of what newer versions are told first.
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_HEADING_STYLE = re.compile(r"heading (\d)", re.IGNORECASE)
_MAX_BASES = 20


def read_word(content: bytes, writer: Writer) -> None:
    import docx

    document = docx.Document(io.BytesIO(content))
    levels = _heading_levels(document.styles.element)
    for element in _blocks(document.element.body, _WORD):
        if element.tag == f"{_WORD}tbl":
            write_rows(_rows(element, _WORD), writer)
            continue
        text = _paragraph(element, _WORD)
        style = element.find(f"{_WORD}pPr/{_WORD}pStyle")
        level = None if style is None else levels.get(style.get(f"{_WORD}val"))
        if level:
            writer.heading(level, text)
        elif text.strip():
            writer.line(text)


def read_slides(content: bytes, writer: Writer) -> None:
    import pptx

    for slide in pptx.Presentation(io.BytesIO(content)).slides:
        writer.page()
        title = slide.shapes.title
        if title is not None:
            writer.heading(1, title.text_frame.text)
        _write_shapes(slide.shapes._spTree, writer, None if title is None else title._element)  # noqa: SLF001
        if slide.has_notes_slide and (notes := slide.notes_slide.notes_text_frame) is not None and notes.text.strip():
            writer.line(notes.text)


def _write_shapes(tree: Any, writer: Writer, title: Any) -> None:
    inside_title = set() if title is None else set(title.iter(f"{_DRAWING}p"))
    for element in _blocks(tree, _DRAWING):
        if element.tag == f"{_DRAWING}tbl":
            write_rows(_rows(element, _DRAWING), writer)
        elif element not in inside_title and (text := _paragraph(element, _DRAWING)).strip():
            writer.line(text)


def _blocks(root: Any, space: str) -> Iterator[Any]:
    """Paragraphs and tables in their order; what is within one of them comes with it."""
    paragraph, table = f"{space}p", f"{space}tbl"
    waiting = [iter(root)]
    while waiting:
        element = next(waiting[-1], None)
        if element is None:
            waiting.pop()
        elif element.tag in {paragraph, table}:
            yield element
        elif element.tag != _FALLBACK:
            waiting.append(iter(element))


def _rows(table: Any, space: str) -> Iterator[list[str]]:
    for row in table.iter(f"{space}tr"):
        yield [
            " ".join(_paragraph(paragraph, space) for paragraph in _blocks(cell, space))
            for cell in row.iter(f"{space}tc")
        ]


def _paragraph(element: Any, space: str) -> str:
    """Its text, and that of text boxes that hang on it. What was deleted under "track changes" has another tag."""
    words: list[str] = []
    text, breaks, tab = f"{space}t", {f"{space}br", f"{space}cr"}, f"{space}tab"
    waiting = [iter(element)]
    while waiting:
        child = next(waiting[-1], None)
        if child is None:
            waiting.pop()
        elif child.tag == text:
            words.append(child.text or "")
        elif child.tag in breaks:
            words.append("\n")
        elif child.tag == tab:
            words.append("\t")
        elif child.tag != _FALLBACK:
            if child.tag == f"{space}p":
                words.append("\n")
            waiting.append(iter(child))
    return "".join(words)


def _heading_levels(styles: Any) -> dict[str, int]:
    """The levels of styles that are headings, by their ids: by their own name, or by that of what they are based on."""
    own: dict[str, int] = {}
    bases: dict[str, str] = {}
    for style in styles.iter(f"{_WORD}style"):
        identifier = style.get(f"{_WORD}styleId") or ""
        name, base = style.find(f"{_WORD}name"), style.find(f"{_WORD}basedOn")
        said = "" if name is None else name.get(f"{_WORD}val") or ""
        if heading := _HEADING_STYLE.fullmatch(said):
            own[identifier] = int(heading.group(1))
        elif said.lower() == "title":
            own[identifier] = 1
        if base is not None:
            bases[identifier] = base.get(f"{_WORD}val") or ""
    levels = dict(own)
    for identifier in bases:
        ancestor = identifier
        for _ in range(_MAX_BASES):
            if ancestor in own:
                levels[identifier] = own[ancestor]
                break
            ancestor = bases.get(ancestor, "")
    return levels
