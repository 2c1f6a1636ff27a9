"""Reads a file in a process of its own."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from pathlib import Path

import structlog

from app.documents.extraction import frames
from app.documents.extraction.limits import Limits
from app.documents.failures import ExtractionFailed, FailureCode
from app.documents.shapes import ReadText

logger = structlog.get_logger()

ROOT = Path(__file__).parents[3]
CHILD = (sys.executable, "-B", "-s", "-m", "app.documents.extraction.child")
_PIECE = 256 * 1024
_GOODBYE_SECONDS = 10
_said: set[str] = set()


async def read_file(content: bytes, name: str, declared: str | None) -> ReadText:
    """As `extract`, for which a short text needs no process."""
    from app.documents.extraction.reading import read_here

    found = await asyncio.to_thread(read_here, content, name, declared, Limits())
    return found or await extract(content, name, declared)


async def extract(content: bytes, name: str, declared: str | None, limits: Limits | None = None) -> ReadText:
    """The text of a file with its headings and pages; `declared` is the media type that came with it.

    How many run at once is the caller's to bound: each may take `limits.memory`. Cancelling ends the child.

    Raises:
        ExtractionFailed: there is none, and why.
    """
    limits = limits or Limits()
    if not content:
        raise ExtractionFailed(FailureCode.EMPTY)
    if len(content) > limits.file:
        raise ExtractionFailed(FailureCode.TOO_LARGE, "file")
    try:
        read = await _in_child(content, name, declared, limits)
    except ExtractionFailed as failure:
        logger.info("a file gave no text", code=failure.code.value, reason=failure.reason)
        raise
    return read


async def _in_child(content: bytes, name: str, declared: str | None, limits: Limits) -> ReadText:
    try:
        # No environment: it has the keys. In a session of its own, so that all of it can be ended.
        child = await asyncio.create_subprocess_exec(
            *CHILD, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env={}, cwd=ROOT, start_new_session=True
        )
    except OSError as error:
        raise ExtractionFailed(FailureCode.INTERRUPTED, type(error).__name__) from error
    try:
        async with asyncio.timeout(limits.seconds):
            await _hand_over(child, frames.asked(content, name, declared, limits), content)
            kind, parts = await _answer(child, limits)
        # Of a large text it takes long enough to be felt by those who wait for the loop.
        return await asyncio.to_thread(frames.unpacked, kind, parts, limits)
    except TimeoutError as error:
        raise ExtractionFailed(FailureCode.TOO_COMPLEX, "time") from error
    except (ValueError, asyncio.IncompleteReadError) as error:
        await _end(child)
        raise ExtractionFailed(FailureCode.TOO_COMPLEX, f"{type(error).__name__} {child.returncode}") from error
    finally:
        await _end(child)


async def _hand_over(child: Process, asked: bytes, content: bytes) -> None:
    """In pieces: the transport would copy what the pipe does not take."""
    assert child.stdin is not None
    # Who reads no more has died, and the answer says of what.
    with suppress(BrokenPipeError, ConnectionResetError):
        child.stdin.write(asked)
        view = memoryview(content)
        for start in range(0, len(view), _PIECE):
            child.stdin.write(view[start : start + _PIECE])
            await child.stdin.drain()
        child.stdin.close()


async def _answer(child: Process, limits: Limits) -> tuple[int, list[bytes]]:
    assert child.stdout is not None
    try:
        confined = await child.stdout.readexactly(1)
    except asyncio.IncompleteReadError as error:
        code = await child.wait()
        _say_once("the process that reads files did not start", returncode=code)
        raise ExtractionFailed(FailureCode.INTERRUPTED, f"returncode {code}") from error
    if confined != frames.ALONE:
        _say_once("files are read by processes that are not cut off from the network: the system does not allow it")
    kind, sizes = frames.lengths(await child.stdout.readexactly(frames.ANSWERED.size), limits)
    return kind, [await child.stdout.readexactly(size) for size in sizes]


async def _end(child: Process) -> None:
    assert child.stdout is not None
    if child.returncode is None:
        with suppress(ProcessLookupError):
            if sys.platform == "win32":
                child.kill()
            else:
                os.killpg(child.pid, signal.SIGKILL)
    # What is left in the pipe holds it open; so does who left the group, whom nobody waits for.
    with suppress(TimeoutError):
        async with asyncio.timeout(_GOODBYE_SECONDS):
            while await child.stdout.read(_PIECE):
                pass
            await child.wait()


def _say_once(event: str, **values: object) -> None:
    if event not in _said:
        _said.add(event)
        logger.warning(event, **values)
