"""Writes what the running streams of the process have said: one statement, a few times a second."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from sqlalchemy import Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from app.core.credentials.text_key import TextKey
from app.core.errors import AppError, AuthenticationError, DatabaseUnavailable
from app.db import rls
from app.db.sealing import row_of
from app.db.session import Database
from app.db.texts import Texts, seal
from app.messages.generation import Generation
from app.models.text_places import DELTA, DELTA_ROW

INTERVAL_SECONDS = 0.25
# Messages that say nothing new are asked about less often: whether somebody cancelled them through another process.
TICKS_PER_LOOK = 3
# A notification holds less than 8,000 bytes.
IDS_PER_NOTICE = 200

WRITE = text("SELECT write_deltas(:batch, :notices)").bindparams(
    bindparam("batch", type_=JSONB), bindparam("notices", type_=ARRAY(Text))
)
logger = structlog.get_logger()


class DeltaWriter:
    """`running` is the engine's; `stop` is called with those that are to stop."""

    def __init__(
        self, database: Database, running: Mapping[str, Generation], stop: Callable[[Generation], None]
    ) -> None:
        self._database = database
        self._running = running
        self._stop = stop
        self._writing = asyncio.Lock()
        self._ended: list[str] = []

    async def run(self) -> None:
        tick = 0
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            tick += 1
            try:
                await self.write(look_at_all=tick % TICKS_PER_LOOK == 0)
            except DatabaseUnavailable:
                logger.warning("deltas_not_written", reason="database unavailable")
            except Exception:
                logger.exception("deltas_not_written")

    async def finish(self, generation: Generation) -> None:
        """Return when no write of it is under way and none will begin; readers elsewhere hear of its end."""
        generation.streams = False
        async with self._writing:
            self._ended.append(generation.id)

    async def write(self, *, look_at_all: bool) -> None:
        """Write what is new; on a failure it stays new, and is written the next time."""
        async with self._writing:
            young = asyncio.get_running_loop().time() - INTERVAL_SECONDS * TICKS_PER_LOOK
            chosen = [
                (generation, generation.log.length)
                for generation in self._running.values()
                if (_is_written(generation) and generation.log.length > generation.flushed)
                or (look_at_all and generation.started < young)
            ]
            if not chosen and not self._ended:
                return
            ended, self._ended = self._ended, []
            try:
                to_stop = await self._execute(chosen, ended)
            except BaseException:
                self._ended = ended + self._ended
                raise
            for generation, length in chosen:
                if generation.streams:
                    generation.flushed = length
            # Those that were asked about: by now the message may be running anew.
            for generation, _ in chosen:
                if generation.id in to_stop:
                    self._stop(generation)

    async def _execute(self, chosen: list[tuple[Generation, int]], ended: list[str]) -> set[str]:
        by_tenant: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for generation, _ in chosen:
            by_tenant[generation.tenant_id] += _entries(generation)
        batch = [
            {"tenant_id": tenant_id, "deltas": await self._as_stored(tenant_id, deltas)}
            for tenant_id, deltas in by_tenant.items()
        ]
        ids = [
            *(run.id for run, length in chosen if _is_written(run) and length > run.flushed),
            *ended,
        ]
        notices = [",".join(ids[at : at + IDS_PER_NOTICE]) for at in range(0, len(ids), IDS_PER_NOTICE)]
        async with self._database.background(rls.ENTER_NO_TENANT) as connection:
            rows = await connection.execute(WRITE, {"batch": batch, "notices": notices})
            return set(rows.scalars())

    async def _as_stored(self, tenant_id: str, deltas: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Sealed, where texts are. Of a tenant without a key, as one that is being erased, nothing is written."""
        texts = self._database.texts
        if texts is None or not texts.seals:
            return deltas
        try:
            key = await self._key(texts, tenant_id)
        except AppError as error:
            if not isinstance(error, AuthenticationError):
                logger.warning("deltas_not_written", tenant_id=tenant_id, reason=type(error).__name__)
            return [delta | {"text": ""} for delta in deltas]
        return [delta | {"text": _sealed(key, delta)} for delta in deltas]

    async def _key(self, texts: Texts, tenant_id: str) -> TextKey:
        if (known := await texts.key_of(tenant_id)) is not None:
            return known
        async with self._database.background(rls.enter_tenant(tenant_id)) as connection:
            return await texts.key_to_seal(connection, tenant_id)


def _sealed(key: TextKey, delta: dict[str, Any]) -> str:
    sealed: str = seal(key.of_row(DELTA.table, row_of(DELTA_ROW, delta)), DELTA, delta["text"])
    return sealed


def _is_written(generation: Generation) -> bool:
    """What is not to be stored stays in the process."""
    return generation.streams and generation.row.stored


def _entries(generation: Generation) -> list[dict[str, Any]]:
    """One for each piece that is new; one without text, if none is: whether it was cancelled is asked all the same."""
    asked = {"id": generation.id, "attempt": generation.attempt}
    new = generation.log.since(generation.flushed) if _is_written(generation) else ()
    pieces = [
        asked | {"start": piece.start, "text": piece.text}
        | ({} if piece.kind == "text" else {"kind": piece.kind, "number": piece.number})
        for piece in new
    ]  # fmt: skip
    return pieces or [asked | {"start": generation.flushed, "text": ""}]
