"""The background loops of a process: the one place that lists them.

Some belong to the process, because they serve what runs in it. The others do work of the whole installation, which any
process may take: one that serves requests beside a worker leaves it to that (BACKGROUND_WORK=false).
"""

from collections.abc import Sequence

from app.core.supervision import Loop, Supervisor
from app.db.session import Database
from app.documents.ingestion import Ingestion
from app.documents.reembedding import Reembedding
from app.documents.removal import Remover
from app.messages.engine import MessageEngine
from app.messages.retention import Retention
from app.messages.search_indexer import SearchIndexer
from app.messages.signals import MessageSignals
from app.messages.sweeper import Expiry, Sweeper
from app.observability.sampler import Sampler
from app.services.audit_tally import AuditTally
from app.services.erase_service import TenantEraser
from app.services.webhook_service import WebhookService


def supervise(  # noqa: PLR0913 - one for each loop
    database: Database,
    engine: MessageEngine,
    signals: MessageSignals,
    webhooks: WebhookService,
    eraser: TenantEraser,
    *,
    search_indexer: SearchIndexer,
    tally: AuditTally | None,
    sweeper: Sweeper,
    retention: Retention,
    shared_work: bool,
    sampler: Sampler | None = None,
    queue: Loop | None = None,
    ingestion: Ingestion | None = None,
    reembedding: Reembedding | None = None,
    further: Sequence[Loop] = (),
) -> Supervisor:
    """A supervisor, not yet started; without the work that any process may take unless `shared_work`.

    `queue`: what puts messages before workers, or what takes them as one.
    """
    own = [
        Loop("leases", engine.leases.run, engine.leases.turns),
        Loop("deltas", engine.run),
        Loop("notifications", signals.listen),
        Loop("reader_wakeups", signals.wake_slowly),
    ]
    if sampler is not None:
        own.append(Loop("metrics", sampler.run))
    if queue is not None:
        own.append(queue)
    if tally is not None:
        own.append(Loop("audit_tally", tally.run))
    expiry = Expiry(database)
    shared = [
        Loop("sweep", sweeper.run, sweeper.turns),
        Loop("expiry", expiry.run, expiry.turns),
        Loop("webhooks", webhooks.run, webhooks.turns),
        Loop("erasures", eraser.run, eraser.turns),
        Loop("search_index", search_indexer.run, search_indexer.turns),
        Loop("retention", retention.run, retention.turns),
    ]
    if ingestion is not None:
        remover = Remover(database)
        shared.append(Loop("ingestion", ingestion.run, ingestion.turns))
        shared.append(Loop("document_removal", remover.run, remover.turns))
    if reembedding is not None:
        shared.append(Loop("reembedding", reembedding.run, reembedding.turns))
    return Supervisor([*own, *shared, *further] if shared_work else own)
