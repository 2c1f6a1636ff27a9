"""One look at a message for all of one caller's readers: a thousand that wake together cost one transaction."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

Read = Callable[[int], Awaitable[Any]]


class _Look:
    """The next one: it has not begun, so whoever joins it misses nothing."""

    __slots__ = ("offset", "task")

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.task: asyncio.Task[Any]


class SharedLooks:
    """`key` names what is read and as whom: what one caller may see is another's no business."""

    def __init__(self) -> None:
        self._next: dict[Hashable, _Look] = {}
        self._under_way: dict[Hashable, asyncio.Task[Any]] = {}

    async def look(self, key: Hashable, offset: int, read: Read) -> Any:
        """What `read` returns for the smallest offset of those who look together; raises what it raises."""
        look = self._next.get(key)
        if look is None:
            look = self._next[key] = _Look(offset)
            look.task = asyncio.create_task(self._run(key, look, read))
            look.task.add_done_callback(_retrieve)
        look.offset = min(look.offset, offset)
        # A reader that goes away leaves the look to the others.
        return await asyncio.shield(look.task)

    async def _run(self, key: Hashable, look: _Look, read: Read) -> Any:
        before = self._under_way.get(key)
        if before is not None:
            await asyncio.wait({before})
        self._under_way[key] = look.task
        del self._next[key]  # who comes from now on may know of something newer
        try:
            return await read(look.offset)
        finally:
            if self._under_way.get(key) is look.task:
                del self._under_way[key]


def _retrieve(task: "asyncio.Task[Any]") -> None:
    """All readers may have gone: an error that nobody fetched is no defect."""
    if not task.cancelled():
        task.exception()
