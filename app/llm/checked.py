"""Holds an answer to the JSON schema that was asked for, whatever its provider says that it enforces."""

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from app.core.completion import Completion
from app.core.errors import OutputMismatch
from app.core.items import ToolCall
from app.llm.base import Call, LLMProvider, Wrapper
from app.llm.schemas import is_met, weight_of

MAX_CHARACTERS = 2**17
MAX_WORK = 2**22
"""Characters times subschemas: beyond it somebody would feel that the loop is busy."""
CHILDREN = 2
CHILD_SECONDS = 10.0
ROOT = Path(__file__).parents[2]

logger = structlog.get_logger()


class Checked(Wrapper):
    """Belongs around a fallback: an answer that does not fit was billed, and another provider's would be too.

    Raises:
        OutputMismatch: the answer is not what was asked for. It is kept with the error.
    """

    def __init__(self, provider: LLMProvider) -> None:
        super().__init__(provider)
        self._children = asyncio.Semaphore(CHILDREN)

    async def complete(self, call: Call) -> Completion:
        answer = await self.inner.complete(call)
        wanted = call.options.output_format
        # A call of a tool comes before the answer, which has to fit.
        if wanted is None or any(isinstance(item, ToolCall) for item in answer.items):
            return answer
        try:
            if await self._is_met(answer.text, wanted.schema):
                return answer
        except ValueError:  # one that nobody checked when it came in
            logger.warning("output_not_checked", reason="schema")
        logger.info("output_mismatch", provider=self.name, finish_reason=answer.finish_reason)
        error = OutputMismatch()
        error.answer = answer
        raise error

    async def _is_met(self, text: str, schema: dict[str, Any] | None) -> bool:
        work = len(text) * (1 if schema is None else weight_of(schema))
        if len(text) <= MAX_CHARACTERS and work <= MAX_WORK:
            return is_met(text, schema)
        async with self._children:
            return await _met_elsewhere(text, schema)


async def _met_elsewhere(text: str, schema: dict[str, Any] | None) -> bool:
    """In a process of its own, which nobody waits for but this answer. What takes it too long is not met."""
    asked = json.dumps(schema).encode()
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-B", "-s", "-m", "app.llm.schema_child"),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        env={},
        cwd=ROOT,
    )
    try:
        async with asyncio.timeout(CHILD_SECONDS):
            said, _ = await child.communicate(b"%08d" % len(asked) + asked + text.encode(errors="replace"))
    except TimeoutError:
        logger.warning("output_not_checked", reason="time")
        return False
    finally:
        if child.returncode is None:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    if child.returncode:
        logger.warning("output_not_checked", reason=f"exit {child.returncode}")
    return said == b"1"
