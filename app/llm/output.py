"""An answer as it comes: each piece is handed on, and kept as an item.

What is handed on of one item comes before anything of the next: so the pieces, joined, are what the items hold, and a
position in a stream means the same in what is stored. A call's arguments may come mixed with those of another; then
what follows waits until the answer has ended.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from app.core.items import (
    AT_WORK,
    Delta,
    Item,
    Message,
    Reasoning,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    ToolCallDelta,
)
from app.llm.base import OnEvent
from app.llm.failures import AnswerTooLarge
from app.llm.lines import events_of

MAX_ITEMS = 1024
MAX_CALLS = 128
"""What OpenAI takes of tools, and no model was seen to call at once."""
MAX_ARGUMENTS = 2**20
MAX_NAME = 256
MAX_LOOKS = 64
"""At the arguments of one call, for their end: each reads all of them."""


@dataclass(slots=True, eq=False)
class Said:
    """A text, or a thought."""

    thought: bool
    pieces: list[str] = field(default_factory=list)
    sealed: dict[str, Any] | None = None


@dataclass(slots=True, eq=False)
class Called:
    """A tool call. It is handed on from when its name is known."""

    index: int
    id: str
    name: str
    pieces: list[str] = field(default_factory=list)
    length: int = 0
    looks: int = 0
    announced: bool = False
    ended: bool = False

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)

    def is_whole(self) -> bool:
        """Whether its arguments are an object to its end; one that has none yet may get some."""
        if self.ended or not self.name or self.looks == MAX_LOOKS or not self.pieces[-1:]:
            return self.ended
        if self.pieces[-1].rstrip().endswith("}"):
            self.looks += 1
            with suppress(ValueError, RecursionError):
                json.loads(self.arguments)
                self.ended = True
        return self.ended


class Output:
    """`provider` is whose thoughts they are. `spoke` is set with each piece that was handed on."""

    def __init__(self, on_event: OnEvent | None, provider: str) -> None:
        self.spoke = False
        self._on_event = on_event
        self._provider = provider
        self._segments: list[Said | Called] = []
        self._ids: set[str] = set()
        self._calls: list[Called] = []
        # Those before it have ended, those after it wait.
        self._live = 0
        self._add_live: Callable[[str], None] | None = None

    @property
    def calls(self) -> list[Called]:
        return self._calls

    @property
    def text(self) -> str:
        return "".join(
            piece for part in self._segments if isinstance(part, Said) and not part.thought for piece in part.pieces
        )

    @property
    def is_empty(self) -> bool:
        return not self._segments

    def say(self, piece: str) -> None:
        """A piece of the text. Nearly all pieces are of the text that is live: these are worth a short way."""
        if not piece:
            return
        if self._add_live is None:
            said = self._said(thought=False)
            if self._live < len(self._segments) - 1:
                said.pieces.append(piece)
                return
            self._add_live = said.pieces.append
        self._add_live(piece)
        self.spoke = True
        if self._on_event is not None:
            self._on_event(TextDelta(piece))

    def think(self, piece: str, sealed: dict[str, Any] | None = None) -> None:
        """A piece of the thoughts. `sealed` is what their provider wants back with them."""
        if piece:
            thought = self._said(thought=True)
            thought.pieces.append(piece)
            thought.sealed = thought.sealed or sealed
            if self._live == len(self._segments) - 1:
                self._hand_on(ReasoningDelta(piece))

    def begin_thought(self) -> Said:
        """A thought apart from the one before. Its seal may be set until the next begins."""
        thought = Said(thought=True)
        self._append(thought)
        return thought

    def begin_call(self, call_id: object = None, name: object = None) -> Called:
        if len(self._calls) >= MAX_CALLS:
            raise AnswerTooLarge
        called = Called(len(self._calls), self._new_id(call_id), _name_in(name))
        self._append(called)
        self._calls.append(called)
        self.argue(called, "")
        return called

    def argue(self, called: Called, piece: str, name: object = None) -> None:
        """A piece of a call's arguments. Its first name is kept, whatever is said later."""
        called.name = called.name or _name_in(name)
        called.length += len(piece)
        if called.length > MAX_ARGUMENTS:
            raise AnswerTooLarge
        is_live = self._segments[self._live] is called
        if called.announced and not is_live:
            if piece.strip():
                raise ValueError("arguments after their end")
        else:
            if piece:
                called.pieces.append(piece)
            if is_live:
                self._hand_on_call(called, piece)

    def end_call(self, called: Called) -> None:
        """Nothing more of it comes. A call without arguments has an empty object of them: clients parse it."""
        if not called.name:
            raise ValueError("a call of nothing")
        if not called.ended and not called.arguments.strip():
            self.argue(called, "{}")
        called.ended = True

    def end(self, *, cut: bool = False) -> tuple[Item, ...]:
        """Hand on what waits; all items, or none where the text is all. `cut`: the latest call may be half a one."""
        for called in self._calls:
            if cut and called is self._calls[-1] and called.name:
                continue
            self.end_call(called)
        for waiting in self._segments[self._live + 1 :]:
            self._move_on()
            joined = "".join(waiting.pieces)
            if isinstance(waiting, Called):
                self._hand_on_call(waiting, joined)
            elif joined:
                self._hand_on(ReasoningDelta(joined) if waiting.thought else TextDelta(joined))
        if self._segments:
            self._move_on()
        items = [self._item(part) for part in self._segments if part.pieces or isinstance(part, Called) or part.sealed]
        return () if all(isinstance(item, Message) for item in items) else tuple(items)

    def _said(self, *, thought: bool) -> Said:
        last = self._segments[-1] if self._segments else None
        if isinstance(last, Said) and last.thought is thought:
            return last
        said = Said(thought)
        self._append(said)
        return said

    def _append(self, segment: Said | Called) -> None:
        if len(self._segments) >= MAX_ITEMS:
            raise AnswerTooLarge
        self._segments.append(segment)
        self._add_live = None
        before = self._live
        # Looked at once: from the first that has to wait, everything does.
        if before == len(self._segments) - 2:
            last = self._segments[before]
            if isinstance(last, Said) or last.is_whole():
                self._move_on()

    def _move_on(self) -> None:
        """What is live has ended: a seal closes its thought."""
        left = self._segments[self._live]
        if isinstance(left, Said) and left.sealed:
            self._hand_on(ReasoningDelta("", self._provider, left.sealed))
        self._live += 1

    def _hand_on_call(self, called: Called, piece: str) -> None:
        if called.announced:
            if piece:
                self._hand_on(ToolCallDelta(called.index, piece))
        elif called.name:
            called.announced = True
            self._hand_on(ToolCallDelta(called.index, called.arguments, called.id, called.name))

    def _hand_on(self, event: Delta) -> None:
        self.spoke = True
        if self._on_event is not None:
            self._on_event(event)

    def _new_id(self, said: object) -> str:
        """The provider's own, unless it is none or another call's: results name their call by it."""
        good = isinstance(said, str) and 0 < len(said) <= MAX_NAME and said not in self._ids
        call_id = str(said) if good else f"call_{uuid4().hex}"
        self._ids.add(call_id)
        return call_id

    def _item(self, segment: Said | Called) -> Item:
        joined = "".join(segment.pieces)
        if isinstance(segment, Called):
            return ToolCall(segment.id, segment.name, joined)
        if segment.thought:
            return Reasoning(joined, self._provider, segment.sealed)
        return Message("assistant", joined)


def _name_in(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= MAX_NAME else ""


async def follow(
    parts: AsyncIterator[bytes], output: Output, take: Callable[[Any, bool], None], on_event: OnEvent
) -> None:
    """Have each event of a stream taken, with whether one came before it; what says nothing shows work."""
    began = False
    async with aclosing(events_of(parts)) as events:
        async for event in events:
            output.spoke = False
            take(event, began)
            began = True
            if not output.spoke:
                on_event(AT_WORK)
