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
    sweeper: Sweeper,
    retention: Retention,
    shared_work: bool,
    ingestion: Ingestion | None = None,
    reembedding: Reembedding | None = None,
    own: Sequence[Loop] = (),
    once: Sequence[Loop] = (),
) -> Supervisor:
    """A supervisor, not yet started; without the work that any process may take unless `shared_work`.

    `own`: more loops of this process; `once`: more work of the whole installation.
    """
    of_process = [
        Loop("leases", engine.leases.run, engine.leases.turns),
        Loop("deltas", engine.run),
        Loop("notifications", signals.listen),
        Loop("reader_wakeups", signals.wake_slowly),
    ]
    if database.replica is not None:
        of_process.append(Loop("replica", database.replica.watch))
    of_process += own
    expiry = Expiry(database)
    of_installation = [
        Loop("sweep", sweeper.run, sweeper.turns),
        Loop("expiry", expiry.run, expiry.turns),
        Loop("webhooks", webhooks.run, webhooks.turns),
        Loop("erasures", eraser.run, eraser.turns),
        Loop("search_index", search_indexer.run, search_indexer.turns),
        Loop("retention", retention.run, retention.turns),
    ]
    if ingestion is not None:
        remover = Remover(database)
        of_installation.append(Loop("ingestion", ingestion.run, ingestion.turns))
        of_installation.append(Loop("document_removal", remover.run, remover.turns))
    if reembedding is not None:
        of_installation.append(Loop("reembedding", reembedding.run, reembedding.turns))
    return Supervisor([*of_process, *of_installation, *once] if shared_work else of_process)
