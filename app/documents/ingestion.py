"""Takes documents in: read, cut, embed, publish. Any process may; what a killed one left, another goes on with.

claim    the document whose turn it is, held for a lease that is renewed while somebody works on it
read     the file in a process of its own; its text and chunks are stored by one transaction
embed    some chunks at a time, outside of any transaction; what has a vector is not embedded again
publish  readers find it, and no longer the one of its name before it

After `SLICE_SECONDS` a long one goes back into its line: the small document of another tenant does not wait for it.
"""

import asyncio
from contextlib import suppress
from datetime import timedelta
from time import monotonic

import structlog

from app.core.errors import BudgetExceeded, DatabaseUnavailable, ModelWithoutPrice, ProviderError
from app.core.supervision import Turns
from app.db import rls
from app.db.session import Database, Session
from app.documents import claims, totals
from app.documents.chunking import CHUNK_TOKENS, passages_of
from app.documents.claims import ClaimedRow, LoadedRow
from app.documents.embedding.embedders import Embedders
from app.documents.extraction.extract import read_file
from app.documents.failures import ExtractionFailed, FailureCode
from app.documents.metering import Meter, Payer
from app.documents.shapes import Embedder, Passage, ReadText
from app.documents.store import MovedError, Run
from app.documents.totals import Quotas
from app.observability.instruments import DOCUMENTS_ENDED, DOCUMENTS_PUT_OFF, EXTRACTION_SECONDS

LEASE = timedelta(seconds=60)
LOOK_SECONDS = 1.0
# Each may take a core, and half a gigabyte while its file is read.
AT_ONCE = 2
SLICE_SECONDS = 15.0
AT_A_TIME = 32
# Half an hour in all; what fails for as long fails for good.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, MOST_FAILURES = 5.0, 600.0, 10
logger = structlog.get_logger()


class LostError(Exception):
    """The document is gone, or another run's by now."""


class _QuotaUsedUpError(Exception):
    """Of the tenant."""


class _UnknownModelError(Exception):
    """The tenant's vectors in use are of a model that this process does not know: of other settings than another's."""


USED_UP = (_QuotaUsedUpError, BudgetExceeded, ModelWithoutPrice)


class Ingestion:
    """`slice_seconds`: how long a document is worked on before others have their turn."""

    def __init__(
        self,
        database: Database,
        embedders: Embedders,
        quotas: Quotas,
        meter: Meter,
        *,
        lease: timedelta = LEASE,
        slice_seconds: float = SLICE_SECONDS,
        first_pause: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self._database = database
        self._embedders = embedders
        self._quotas = quotas
        self._meter = meter
        self._lease = lease
        self._slice = slice_seconds
        self._first_pause = first_pause
        self._under_way: set[asyncio.Task[None]] = set()
        self._rung = asyncio.Event()
        self.turns = Turns("ingestion")

    def ring(self) -> None:
        """Look now: a document was stored, or a place is free."""
        self._rung.set()

    async def run(self) -> None:
        """Take in what waits until cancelled; what is under way then is given back as far as it came."""
        try:
            while True:
                self._rung.clear()
                await self.turns.take(self.begin_waiting())
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._rung.wait()
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    async def begin_waiting(self) -> None:
        """Claim as much as there are places, and begin it."""
        while len(self._under_way) < AT_ONCE:
            claimed = await claims.claim(self._database, self._lease)
            if claimed is None:
                return
            task = asyncio.create_task(self.work(claimed))
            self._under_way.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        self.ring()

    async def take_all(self) -> int:
        """Take in what waits, one after the other, until nothing does now; how many runs it took."""
        count = 0
        while claimed := await claims.claim(self._database, self._lease):
            await self.work(claimed)
            count += 1
        return count

    async def work(self, claimed: ClaimedRow) -> None:
        """One run of a document. It raises nothing but cancellation: a failure is the document's."""
        began = monotonic()
        renewing = asyncio.create_task(self._renew(claimed))
        try:
            await self._guarded(claimed, began)
        except LostError:
            logger.info("document_run_lost", document_id=claimed.id, tenant_id=claimed.tenant_id)
        except DatabaseUnavailable:
            # Its lease says when somebody tries again.
            logger.warning("document_not_ingested", document_id=claimed.id, reason="database unavailable")
        except Exception:
            logger.exception("document_not_ingested", document_id=claimed.id, tenant_id=claimed.tenant_id)
        finally:
            renewing.cancel()

    async def _guarded(self, claimed: ClaimedRow, began: float) -> None:
        try:
            if claimed.failures > MOST_FAILURES:
                await self._fail(claimed, FailureCode.INTERRUPTED, began)
            elif await self._go_on(claimed, began):
                DOCUMENTS_ENDED.add("ready", "")
                logger.info("document_ready", document_id=claimed.id, tenant_id=claimed.tenant_id)
            else:
                await claims.give_back(self._database, claimed, monotonic() - began)
        except (ExtractionFailed, ProviderError, _UnknownModelError, *USED_UP) as failure:
            code, may_pass = _judged(failure)
            await (self._put_off if may_pass else self._fail)(claimed, code, began)
        except asyncio.CancelledError:
            with suppress(Exception):
                await claims.give_back(self._database, claimed, monotonic() - began)
            raise
        except (LostError, DatabaseUnavailable):
            raise
        except Exception:
            await self._put_off(claimed, FailureCode.INTERRUPTED, began)
            raise

    async def _go_on(self, claimed: ClaimedRow, began: float) -> bool:
        """Whether it was published; else its time was up, and there is more to do."""
        run = Run(claimed.tenant_id, claimed.id, claimed.attempts)
        async with self._in_tenant(claimed) as connection:
            standing = await totals.lock(connection, claimed.tenant_id)
            loaded = await claims.load(connection, claimed)
        if loaded is None:
            raise LostError
        if standing.seconds >= self._quotas.seconds:
            raise _QuotaUsedUpError
        in_use = standing.embedding_model
        if in_use and self._embedders.of(in_use) is None and claimed.failures < MOST_FAILURES:
            logger.warning("vectors_of_unknown_model", model=in_use, tenants=1, remedy="EMBEDDING_PREVIOUS")
            raise _UnknownModelError
        payer = Payer(claimed.tenant_id, loaded.user_id, lambda: self._in_tenant(claimed))
        if not loaded.is_read:
            await self._read(run, claimed, loaded, payer)
        for embedder in self._wanted(in_use):
            if not await self._embed(run, claimed, embedder, payer, began + self._slice):
                return False
        try:
            async with self._in_tenant(claimed) as connection:
                # Of one that nobody has known for as long it has none, and words alone find it.
                known = () if in_use is None else (in_use,)
                _require(await run.publish(connection, self._embedders.current.model, *known))
                await totals.add_seconds(connection, claimed.tenant_id, monotonic() - began)
        except MovedError:
            return False
        return True

    async def _read(self, run: Run, claimed: ClaimedRow, loaded: LoadedRow, payer: Payer) -> None:
        started = monotonic()
        try:
            read = await read_file(loaded.original or b"", loaded.name, loaded.media_type)
        finally:
            EXTRACTION_SECONDS.observe(monotonic() - started)
        passages = await asyncio.to_thread(self._passages, read)
        if not passages:
            raise ExtractionFailed(FailureCode.EMPTY)
        # Before any is paid for: what fails halfway has cost what is thrown away.
        await self._meter.require_room(self._embedders.current, sum(passage.tokens for passage in passages), payer)
        async with self._in_tenant(claimed) as connection:
            standing = await totals.lock(connection, claimed.tenant_id)
            if standing.chunks + len(passages) > self._quotas.chunks:
                raise _QuotaUsedUpError
            _require(await run.store(connection, read, passages))
            await totals.add(connection, claimed.tenant_id, chunks=len(passages))

    def _passages(self, read: ReadText) -> list[Passage]:
        embedder = self._embedders.current
        return passages_of(read, embedder.token_spans, min(CHUNK_TOKENS, embedder.max_tokens))

    def _wanted(self, in_use: str | None) -> list[Embedder]:
        """The tenant's vectors may still be of the model before: until all are made anew, those are searched."""
        current = self._embedders.current
        former = None if in_use in (None, current.model) else self._embedders.of(str(in_use))
        return [current] if former is None else [former, current]

    async def _embed(self, run: Run, claimed: ClaimedRow, embedder: Embedder, payer: Payer, until: float) -> bool:
        """Whether all chunks have a vector; else the time was up. Each round brings something."""
        while True:
            async with self._in_tenant(claimed) as connection:
                waiting = await run.waiting(connection, embedder.model, AT_A_TIME)
            if not waiting:
                return True
            texts = [Passage(0, 0, 0, 0, chunk.text, None, chunk.heading).embedded for chunk in waiting]
            embedded = await self._meter.embed(embedder, texts, "passage", payer)
            async with self._in_tenant(claimed) as connection:
                _require(await run.embedded(connection, embedder.model, waiting, embedded.vectors))
                await embedded.settle(connection)
            if monotonic() >= until:
                return False

    async def _renew(self, claimed: ClaimedRow) -> None:
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            with suppress(DatabaseUnavailable):
                await claims.renew(self._database, claimed, self._lease)

    async def _put_off(self, claimed: ClaimedRow, code: FailureCode, began: float) -> None:
        if claimed.failures >= MOST_FAILURES:
            await self._fail(claimed, code, began)
            return
        pause = min(self._first_pause * 2.0**claimed.failures, LONGEST_PAUSE_SECONDS)
        DOCUMENTS_PUT_OFF.add(code.value)
        logger.warning("document_put_off", document_id=claimed.id, reason=code.value, pause=pause)
        await claims.give_back(self._database, claimed, monotonic() - began, pause=pause, failed=True)

    async def _fail(self, claimed: ClaimedRow, code: FailureCode, began: float) -> None:
        logger.info("document_failed", document_id=claimed.id, tenant_id=claimed.tenant_id, code=code.value)
        if await claims.fail(self._database, claimed, code, monotonic() - began):
            DOCUMENTS_ENDED.add("failed", code.value)

    def _in_tenant(self, claimed: ClaimedRow) -> Session:
        # Its uploader may be gone or demoted by now: the tenant is entered without one.
        return self._database.background(rls.enter_tenant(claimed.tenant_id))


def _judged(failure: Exception) -> tuple[FailureCode, bool]:
    """What the document's end would be called, and whether the same may succeed later on."""
    match failure:
        case ExtractionFailed():
            return failure.code, failure.code is FailureCode.INTERRUPTED
        case ProviderError():
            return FailureCode.EMBEDDER_UNAVAILABLE, failure.transient or failure.unhealthy
        case _UnknownModelError():
            return FailureCode.EMBEDDER_UNAVAILABLE, True
        case BudgetExceeded():
            return FailureCode.BUDGET, False
        case ModelWithoutPrice():
            return FailureCode.NO_PRICE, False
        case _:
            return FailureCode.QUOTA, False


def _require(held: bool) -> None:
    if not held:
        raise LostError
