"""Cuts a text into passages: by its headings, and inside of a section by sentences, to what an embedder takes."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from app.documents.shapes import Heading, Passage, ReadText

# What the embedder was trained with; a neighbour repeats the end, so that no sentence loses its context.
CHUNK_TOKENS, OVERLAP_TOKENS = 256, 32
MAX_HEADING = 300
# A heading that takes more than this part of a chunk is cut.
HEADING_SHARE = 4

TokenSpans = Callable[[str], Sequence[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class _Section:
    start: int
    end: int
    path: tuple[str, ...]
    tokens: int


def passages_of(read: ReadText, token_spans: TokenSpans, chunk_tokens: int = CHUNK_TOKENS) -> list[Passage]:
    """The passages of a text in order; their offsets are right, and each is `chunk_tokens` at most with its heading."""
    count = _Counter(token_spans)
    passages: list[Passage] = []
    for section in _packed(_sections(read, count), chunk_tokens):
        heading = _cut(" > ".join(section.path)[:MAX_HEADING], chunk_tokens // HEADING_SHARE, token_spans)
        room = chunk_tokens - count(heading)
        for start, end in _pieces(read.text, section, room, count):
            text = read.text[start:end]
            passages.append(Passage(len(passages), start, end, count(text), text, _page_of(read.pages, start), heading))
    return passages


class _Counter:
    def __init__(self, token_spans: TokenSpans) -> None:
        self.token_spans = token_spans

    def __call__(self, text: str) -> int:
        return len(self.token_spans(text)) if text else 0


def _cut(heading: str, most: int, token_spans: TokenSpans) -> str:
    spans = token_spans(heading)
    return heading if len(spans) <= most else heading[: spans[most - 1][1]]


def _sections(read: ReadText, count: _Counter) -> Iterator[_Section]:
    """The stretches from heading to heading, each with the path of the headings above it."""
    headings = sorted((heading for heading in read.headings if heading.title), key=lambda heading: heading.offset)
    bounds = [0, *(heading.offset for heading in headings), len(read.text)]
    path: list[Heading] = []
    for number in range(len(bounds) - 1):
        if number:
            heading = headings[number - 1]
            path = [*(above for above in path if above.level < heading.level), heading]
        start, end = bounds[number], bounds[number + 1]
        text = read.text[start:end]
        if text.strip():
            yield _Section(start, end, tuple(above.title for above in path), count(text))


def _packed(sections: Iterator[_Section], chunk_tokens: int) -> Iterator[_Section]:
    """Small neighbours together, under the headings that they share: a line by itself means little."""
    held: _Section | None = None
    for section in sections:
        if held is None:
            held = section
        elif (
            held.path and held.tokens + section.tokens <= chunk_tokens and (shared := _shared(held.path, section.path))
        ):
            held = _Section(held.start, section.end, shared, held.tokens + section.tokens)
        else:
            yield held
            held = section
    if held is not None:
        yield held


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    length = next((n for n, (left, right) in enumerate(zip(one, other, strict=False)) if left != right), None)
    return one[: min(len(one), len(other)) if length is None else length]


def _pieces(text: str, section: _Section, room: int, count: _Counter) -> Iterator[tuple[int, int]]:
    from semchunk.semchunk import chunk

    stretch = text[section.start : section.end]
    overlap = 0 if section.tokens <= room else min(OVERLAP_TOKENS, room // 4)
    # Not memoized: it would keep the texts of tenants for ever.
    chunked: Any = chunk(stretch, room - overlap, count, memoize=False, offsets=True)
    begins = [begin for begin, _ in count.token_spans(stretch)] if overlap else []
    for number, (start, end) in enumerate(chunked[1]):
        if stretch[start:end].strip():
            if number and overlap:
                start = begins[max(bisect_left(begins, start) - overlap, 0)]  # noqa: PLW2901
            yield section.start + start, section.start + end


def _page_of(pages: Sequence[int], offset: int) -> int | None:
    return bisect_right(pages, offset) if pages else None
