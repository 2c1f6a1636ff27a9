"""What a run has written, in the order in which it came: text, thoughts and tool calls, counted in characters.

An offset into it means the same in memory, in the stored deltas and at the end: the log of the stored output is the log
of the run. So items lie one after the other, and whatever comes advances the offset: the id and the name of a call are
a piece, and so is the seal of a thought.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Self

from app.core.items import Delta, Item, Message, Reasoning, ReasoningDelta, TextDelta, ToolCall, ToolCallDelta, text_of
from app.core.provider_errors import OutputMalformed

Kind = Literal["text", "reasoning", "seal", "call", "arguments"]
WHOLE: tuple[Kind, ...] = ("seal", "call")
"""Pieces that nobody reads a part of."""
MAX_CALLS = 128
MAX_RUNS = 2_000
MAX_CHARACTERS = 2**24
MAX_ID, MAX_NAME = 512, 256


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the log from the character `start` on, all of one kind. `number`: of the call that it belongs to."""

    start: int
    kind: Kind
    number: int | None
    text: str

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def event(self) -> Delta:
        match self.kind:
            case "text":
                return TextDelta(self.text)
            case "reasoning":
                return ReasoningDelta(self.text)
            case "seal":
                provider, sealed = json.loads(self.text)
                return ReasoningDelta("", provider, sealed)
            case "call":
                call_id, name = json.loads(self.text)
                return ToolCallDelta(self.number or 0, "", call_id, name)
            case "arguments":
                return ToolCallDelta(self.number or 0, self.text)

    def after(self, offset: int) -> "Piece":
        """What of it lies after an offset before its end."""
        if offset <= self.start or self.kind in WHOLE:
            return self
        return Piece(offset, self.kind, self.number, self.text[offset - self.start :])


class Log:
    """Takes events, fit for PostgreSQL, and gives what lies after an offset."""

    __slots__ = ("_calls", "_ends", "_held", "_pieces", "_runs", "_starts")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._ends: list[int] = []
        # Of each run of one kind: which, and its first piece.
        self._runs: list[tuple[Kind, int | None]] = []
        self._starts: list[int] = []
        self._calls: dict[int, int] = {}
        self._held = ""

    @classmethod
    def of(cls, items: Iterable[Item]) -> Self:
        """The log of an answer that came as a whole; raises `OutputMalformed`."""
        log, calls = cls(), 0
        for item in items:
            match item:
                case Message(_, content):
                    log.take(TextDelta(text_of(content)))
                case Reasoning(text, provider, sealed):
                    log.take(ReasoningDelta(text, provider, sealed))
                case ToolCall(call_id, name, arguments):
                    log.take(ToolCallDelta(calls, arguments, call_id, name))
                    calls += 1
                case _:
                    raise OutputMalformed
        log.finish()
        return log

    @classmethod
    def of_pieces(cls, pieces: Iterable[tuple[Kind, int | None, str]]) -> Self:
        """As it was stored, in its order."""
        log = cls()
        for kind, number, text in pieces:
            if kind in WHOLE or not log._is_open(kind, number):
                log._open(kind, number)
            log._add(text)
        return log

    @property
    def length(self) -> int:
        """Characters so far."""
        return self._ends[-1] if self._ends else 0

    @property
    def plain(self) -> bool:
        """Whether it is text and nothing else."""
        return all(kind == "text" for kind, _ in self._runs)

    @property
    def text(self) -> str:
        """All that is text, joined."""
        return "".join(text for (kind, _), text in self._joined() if kind == "text")

    def take(self, event: Delta) -> None:
        """The next event; raises `OutputMalformed`."""
        match event:
            case TextDelta(text):
                self._write("text", None, text)
            case ReasoningDelta(text, provider, sealed):
                self._write("reasoning", None, text)
                if sealed is not None:
                    self._write_whole("seal", None, [storable(provider), storable_json(sealed)])
            case ToolCallDelta():
                self._take_call(event)

    def finish(self) -> None:
        """Nothing more comes: a half character that waited for its other half is replaced."""
        held, self._held = self._held, ""
        self._add(storable(held))

    def since(self, offset: int) -> list[Piece]:
        """What lies after the first `offset` characters, in as few pieces as there are kinds in a row."""
        found: list[Piece] = []
        first = bisect_right(self._ends, offset)
        run = bisect_right(self._starts, first) - 1
        while first < len(self._pieces):
            kind, number = self._runs[run]
            last = self._starts[run + 1] if run + 1 < len(self._runs) else len(self._pieces)
            start = self._ends[first - 1] if first else 0
            found.append(Piece(start, kind, number, "".join(self._pieces[first:last])).after(offset))
            first, run = last, run + 1
        return found

    def items(self) -> tuple[Item, ...]:
        """What was said, as the items of an answer."""
        items: list[Item] = []
        thought: str | None = None
        for (kind, _), text in self._joined():
            if thought is not None and kind != "seal":
                items.append(Reasoning(thought))
                thought = None
            match kind:
                case "text":
                    items.append(Message("assistant", text))
                case "reasoning":
                    thought = text
                case "seal":
                    provider, sealed = json.loads(text)
                    items.append(Reasoning(thought or "", provider, sealed))
                    thought = None
                case "call":
                    call_id, name = json.loads(text)
                    items.append(ToolCall(call_id, name, ""))
                case "arguments":
                    call = items.pop()
                    assert isinstance(call, ToolCall)
                    items.append(ToolCall(call.id, call.name, text))
        return tuple(items) if thought is None else (*items, Reasoning(thought))

    def _joined(self) -> Iterator[tuple[tuple[Kind, int | None], str]]:
        edges = pairwise([*self._starts, len(self._pieces)])
        for run, (first, last) in zip(self._runs, edges, strict=True):
            yield run, "".join(self._pieces[first:last])

    def _take_call(self, event: ToolCallDelta) -> None:
        number = self._calls.get(event.index)
        if number is None and (event.name or event.arguments):
            if not event.name or len(event.name) > MAX_NAME or len(event.id) > MAX_ID or len(self._calls) == MAX_CALLS:
                raise OutputMalformed
            number = self._calls[event.index] = len(self._calls)
            self._write_whole("call", number, [storable(event.id), storable(event.name)])
        if not event.arguments:
            return
        # Where something else has begun since, its place in the log is gone.
        if not self._is_open("arguments", number) and not self._is_open("call", number):
            raise OutputMalformed
        self._write("arguments", number, event.arguments)

    def _write(self, kind: Kind, number: int | None, text: str) -> None:
        if not text:
            return
        self._require_room(text)
        if not self._is_open(kind, number):
            self._open(kind, number)
        if self._held or not text.isascii():
            text, self._held = _split_pair(self._held + text)
        self._add(storable(text))

    def _write_whole(self, kind: Kind, number: int | None, value: Any) -> None:
        written = json.dumps(value)
        self._require_room(written)
        self._open(kind, number)
        self._add(written)

    def _is_open(self, kind: Kind, number: int | None) -> bool:
        return bool(self._runs) and self._runs[-1] == (kind, number)

    def _open(self, kind: Kind, number: int | None) -> None:
        if len(self._runs) == MAX_RUNS:
            raise OutputMalformed
        self.finish()
        self._runs.append((kind, number))
        self._starts.append(len(self._pieces))

    def _require_room(self, text: str) -> None:
        if self.length + len(text) > MAX_CHARACTERS:
            raise OutputMalformed

    def _add(self, piece: str) -> None:
        if not piece:
            return
        self._ends.append(self.length + len(piece))
        self._pieces.append(piece)


def storable(text: str) -> str:
    """The text with U+FFFD for what PostgreSQL cannot store: NUL and lone surrogates."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def storable_json(value: Any) -> Any:
    """As `storable`, for what JSON holds."""
    match value:
        case str():
            return storable(value)
        case dict():
            return {storable(str(name)): storable_json(each) for name, each in value.items()}
        case list() | tuple():
            return [storable_json(each) for each in value]
        case _:
            return value


def _split_pair(text: str) -> tuple[str, str]:
    """The text without a high surrogate at its end, and that surrogate: its other half may come with the next piece."""
    if text and "\ud800" <= text[-1] <= "\udbff":
        return text[:-1], text[-1]
    return text, ""
