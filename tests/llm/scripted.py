"""A provider without a network, that does what a test tells it to."""

import asyncio
from collections.abc import Awaitable, Callable

from app.core.items import Delta, Message, TextDelta
from app.llm.base import Call, Completion, OnEvent, event_of

TURNS = [Message("user", "Hi")]
ANSWER = Completion("Hello", "script-1")
Script = Callable[[OnEvent | None], Awaitable[Completion]]


class Heard(list[str]):
    """The pieces of text; what is none only says that the provider is there."""

    def hear(self, event: Delta) -> None:
        if isinstance(event, TextDelta):
            self.append(event.text)


class Scripted:
    """Plays `scripts` in order, the last one for ever; an exception is raised, a completion returned."""

    def __init__(self, *scripts: Script | Exception | Completion, name: str = "scripted") -> None:
        self.name = name
        self.models: tuple[str, ...] = (f"{name}-1",)
        self.calls = 0
        self.closed = False
        self._scripts = scripts

    async def complete(self, call: Call) -> Completion:
        script = self._scripts[min(self.calls, len(self._scripts) - 1)]
        self.calls += 1
        if isinstance(script, Exception):
            raise script
        return script if isinstance(script, Completion) else await script(call.on_event)

    async def close(self) -> None:
        self.closed = True


def says(*pieces: str, then: Exception | None = None) -> Script:
    async def script(on_event: OnEvent | None) -> Completion:
        for piece in pieces if on_event else ():
            on_event(event_of(piece))  # type: ignore[misc]
        if then:
            raise then
        return Completion("".join(pieces), "script-1")

    return script


async def silence(_: OnEvent | None) -> Completion:
    await asyncio.Event().wait()
    raise AssertionError
