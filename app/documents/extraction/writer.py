"""Gathers what a reader finds, storable and within its limits, with the offsets of headings and pages."""

from app.documents.extraction.limits import Limits
from app.documents.failures import ExtractionFailed, FailureCode
from app.documents.shapes import Heading, ReadText

MAX_TITLE = 300
LOWEST_LEVEL = 9
# PostgreSQL stores no NUL and UTF-8 no lone surrogate; other controls mean nothing to a reader. All are one character
# wide or gone before an offset is taken.
_STORABLE = {
    **dict.fromkeys(range(0x20)),
    0: "\ufffd",
    **{ord(kept): kept for kept in "\t\n"},
    **{ord(line): "\n" for line in "\r\v\f"},
    **dict.fromkeys(range(0xD800, 0xE000), "\ufffd"),
}


def storable(text: str) -> str:
    return text.replace("\r\n", "\n").translate(_STORABLE)


def one_line(text: str) -> str:
    return " ".join(text.split())


class Writer:
    """Appends; `offset` is where the next character comes to stand."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.offset = 0
        self.pages: list[int] = []
        self.headings: list[Heading] = []
        self.has_text = False
        self._parts: list[str] = []

    def add(self, text: str) -> None:
        text = storable(text)
        self.offset += len(text)
        if self.offset > self.limits.characters:
            raise ExtractionFailed(FailureCode.TOO_LARGE, "characters")
        self.has_text = self.has_text or bool(text.strip())
        self._parts.append(text)

    def line(self, text: str) -> None:
        self.add(text + "\n")

    def page(self) -> None:
        """The next page begins here."""
        if len(self.pages) >= self.limits.pages:
            raise ExtractionFailed(FailureCode.TOO_MANY_PAGES)
        self.pages.append(self.offset)

    def heading(self, level: int, text: str) -> None:
        """A line that is a heading."""
        title = one_line(storable(text))
        if title:
            self.note_heading(self.offset, level, title)
            self.line(title)

    def note_heading(self, offset: int, level: int, title: str) -> None:
        """A heading whose line is written anyway. Past the limit, one is text like any."""
        if len(self.headings) < self.limits.headings:
            self.headings.append(Heading(offset, min(max(level, 1), LOWEST_LEVEL), title[:MAX_TITLE]))

    def read_text(self, media_type: str) -> ReadText:
        if not self.has_text:
            raise ExtractionFailed(FailureCode.NO_TEXT if self.pages else FailureCode.EMPTY)
        return ReadText("".join(self._parts), media_type, self.headings, self.pages)
