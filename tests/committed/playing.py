"""A provider that says what a test wrote down: text, thoughts and tool calls."""

import asyncio
from collections.abc import Sequence

from app.core.completion import Completion, FinishReason
from app.core.items import Delta, Item, Message, ToolCall, text_of
from app.llm.base import Call
from app.messages.log import Log
from tests.waiting import patience


class PlayingProvider:
    """Each call gets the next of `answers`, the last one for ever. `calls` are what was asked.

    `say` hands on events of the call that runs; it answers with all that was said once it is released.
    """

    name = "playing"
    models: tuple[str, ...] = ("playing-1",)

    def __init__(self, *answers: Sequence[Item], held: bool = False) -> None:
        self.calls: list[Call] = []
        self.answers = [list(answer) for answer in answers] or [[Message("assistant", "Fine.")]]
        self.release = asyncio.Event()
        self.asked = asyncio.Condition()
        self.cancelled = 0
        self._held = held
        self._said = Log()
        if not held:
            self.release.set()

    async def complete(self, call: Call) -> Completion:
        async with self.asked:
            self.calls.append(call)
            self.asked.notify_all()
        items: tuple[Item, ...] = tuple(self.answers[min(len(self.calls), len(self.answers)) - 1])
        if call.on_event and not self._held:
            for piece in Log.of(items).since(0):
                call.on_event(piece.event)
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self._held and call.on_event:
            items = self._said.items()
        text = "".join(text_of(item.content) for item in items if isinstance(item, Message))
        called = any(isinstance(item, ToolCall) for item in items)
        reason = FinishReason.TOOL_CALLS if called else FinishReason.STOP
        return Completion(text, "playing-1", 10, 5, 0, reason, reasoning_tokens=3, items=items)

    def say(self, event: Delta) -> None:
        """Of the last call."""
        self._said.take(event)
        hear = self.calls[-1].on_event
        assert hear is not None
        hear(event)

    async def wait_for_calls(self, count: int) -> None:
        async with patience(f"{count} calls of the provider"), self.asked:
            await self.asked.wait_for(lambda: len(self.calls) >= count)

    async def close(self) -> None: ...
