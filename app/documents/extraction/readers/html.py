"""Web pages: what a browser would show as text, a block to a line."""

import re
from typing import Any

from app.documents.extraction.readers.tables import joined
from app.documents.extraction.writer import Writer, one_line
from app.documents.failures import ExtractionFailed, FailureCode

_LEVELS = {f"h{level}": level for level in range(1, 7)}
# The name of a page stands above its headings; as one of them, it would stand above every passage.
_UNSEEN_TAGS = "script style noscript template head svg math iframe object canvas select option button"
_INLINE_TAGS = (
    "a abbr acronym b bdi bdo big cite code data del dfn em font i img ins kbd label mark q s samp small span strike "
    "strong sub sup time tt u var wbr"
)
_UNSEEN, _INLINE = frozenset(_UNSEEN_TAGS.split()), frozenset(_INLINE_TAGS.split())
_CELLS = frozenset(("td", "th"))
# Of elements that do not end by themselves. Parsing takes the square of the depth: a million would be minutes. What is
# made to pass as less deep meets the limit of CPU.
_MAX_DEPTH = 10_000
_SELF_ENDING_TAGS = (
    "area base br col embed hr img input link meta param source track wbr p li dt dd tr td th thead tbody tfoot option "
    "optgroup colgroup rt rp body html head path circle rect line polyline polygon ellipse use stop image"
)
_SELF_ENDING = frozenset(_SELF_ENDING_TAGS.split())
_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]{0,40})")


def read_html(text: str, writer: Writer) -> None:
    from selectolax.lexbor import LexborDocumentOptions, LexborHTMLParser

    _refuse_depth(text)
    page = LexborHTMLParser(text, options=LexborDocumentOptions.WO_EVENTS)
    if page.body is not None:
        _Page(writer).read(page.body)


def _refuse_depth(text: str) -> None:
    if text.count("<") <= _MAX_DEPTH:
        return
    depth = 0
    for tag in _TAG.finditer(text):
        ends, name = tag.groups()
        if name.lower() not in _SELF_ENDING:
            depth = max(depth - 1, 0) if ends else depth + 1
            if depth > _MAX_DEPTH:
                raise ExtractionFailed(FailureCode.TOO_COMPLEX, "depth")


class _Page:
    """Walks without recursion: a page may be as deep as it is long."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._line: list[str] = []
        self._cells: list[str] | None = None
        self._preformatted = 0

    def read(self, root: Any) -> None:
        node, depth = root, 0
        while node is not None:
            unseen = self._begin(node)
            below = None if unseen else node.first_child
            if below is not None:
                node, depth = below, depth + 1
                continue
            if not unseen:
                self._end(node)
            while depth and node.next is None:
                node, depth = node.parent, depth - 1
                self._end(node)
            node = node.next if depth else None
        self._end_line()

    def _begin(self, node: Any) -> bool:
        """Whether nothing of it is seen."""
        if node.is_text_node:
            self._line.append(node.text_content or "")
            return False
        tag = node.tag
        if not node.is_element_node or tag in _UNSEEN:
            return True
        if tag == "tr":
            self._end_line()
            self._cells = []
        elif tag == "pre":
            self._end_line()
            self._preformatted += 1
        elif tag not in _INLINE and tag not in _CELLS:
            self._end_line()
        return False

    def _end(self, node: Any) -> None:
        tag = node.tag
        if not node.is_element_node or tag in _INLINE:
            return
        if tag in _LEVELS:
            self._writer.heading(_LEVELS[tag], self._taken())
        elif tag in _CELLS and self._cells is not None:
            self._cells.append(one_line(self._taken()))
        elif tag == "tr" and self._cells is not None:
            self._line = [joined([*self._cells, one_line(self._taken())])]
            self._cells = None
            self._end_line()
        else:
            self._end_line()
            if tag == "pre":
                self._preformatted -= 1

    def _taken(self) -> str:
        taken = "".join(self._line)
        self._line = []
        return taken

    def _end_line(self) -> None:
        if self._cells is not None:
            self._line.append(" ")  # a block within a cell
            return
        line = self._taken()
        line = line.strip("\n") if self._preformatted else one_line(line)
        if line.strip():
            self._writer.line(line)
