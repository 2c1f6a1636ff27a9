"""The objects that serve the tenants of one database: made at start-up, closed at shutdown."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from app.background import supervise
from app.core.config import Settings
from app.core.supervision import Loop, Supervisor
from app.db.pool import Prepared
from app.db.replica import Replica
from app.db.session import Database
from app.db.texts import texts_of
from app.documents.ingestion import Ingestion
from app.documents.reembedding import Reembedding
from app.messages.doorbell import Doorbell
from app.messages.engine import MessageEngine
from app.messages.retention import Retention
from app.messages.search_indexer import SearchIndexer
from app.messages.signals import MessageSignals
from app.messages.sweeper import Sweeper
from app.messages.worker import Worker
from app.residency.claims import Claims
from app.residency.places import OnePlace, Place
from app.schemas.message import MessageRead
from app.services.erase_service import TenantEraser
from app.services.intake import Intake, PassageLimits
from app.services.webhook_secrets import WebhookSecrets
from app.services.webhook_service import WebhookService
from app.shared import Shared


@dataclass(frozen=True, slots=True)
class Container:
    shared: Shared
    database: Database
    claims: Claims
    engine: MessageEngine
    signals: MessageSignals
    sweeper: Sweeper
    webhooks: WebhookService
    webhook_secrets: WebhookSecrets
    eraser: TenantEraser
    search_indexer: SearchIndexer
    intake: Intake
    ingestion: Ingestion | None
    """None: this service keeps no documents."""
    background: Supervisor

    @classmethod
    def create(
        cls,
        shared: Shared,
        place: Place,
        url: str,
        *,
        works: bool = False,
        own: Sequence[Loop] = (),
        once: Sequence[Loop] = (),
    ) -> "Container":
        """Of the database at `url`. `works`: it answers the messages that wait for a worker.

        `own`: loops of the process that this container's supervisor watches; `once`: those of the whole installation.
        """
        settings, database, cache = shared.settings, place.database, shared.cache
        engine = MessageEngine(
            database,
            shared.llm,
            timedelta(seconds=settings.message_lease_seconds),
            timedelta(seconds=settings.message_timeout_seconds),
            settings.llm_max_running_per_tenant,
        )
        signals = MessageSignals(
            settings.database_direct_url or url,
            engine,
            partial(_forget_tenant, shared, database),
            settings.stream_max_per_user,
        )
        signals.providers_changed = shared.provider_credentials.forget
        secrets = WebhookSecrets(shared.secret_keys)
        webhooks = WebhookService(database, secrets, settings.webhook_allowed_networks, _webhook_body)
        eraser = TenantEraser(database, also=cache.forget_tenant if cache else None, claims=place.claims)
        search_indexer, sweeper = SearchIndexer(database), Sweeper(database, settings.message_lease_seconds)
        doorbell = Doorbell(database, timedelta(seconds=settings.message_queue_seconds))
        queues = settings.message_workers and not works
        queue = [_taking(shared, database, engine, signals)] if works else []
        if queues:
            queue.append(Loop("doorbell", doorbell.run, doorbell.turns))
        embedders = shared.embedders
        ingestion = Ingestion(database, embedders, shared.quotas, shared.meter) if embedders else None
        passages = PassageLimits(
            min(settings.document_context_tokens, settings.llm_context_tokens), settings.document_score_floor
        )
        return cls(
            shared,
            database,
            place.claims,
            engine,
            signals,
            sweeper,
            webhooks,
            secrets,
            eraser,
            search_indexer,
            Intake(
                webhooks,
                shared.idempotency_keys,
                shared.ceiling,
                settings.llm_context_tokens,
                passages,
                shared.model_policies,
                shared.refusals,
                doorbell if queues else None,
                cache,
            ),
            ingestion,
            supervise(
                database,
                engine,
                signals,
                webhooks,
                eraser,
                search_indexer=search_indexer,
                sweeper=sweeper,
                retention=Retention(database, settings.v1_retention_days),
                shared_work=settings.background_work,
                ingestion=ingestion,
                reembedding=Reembedding(database, embedders, shared.meter) if embedders else None,
                own=[*queue, *own],
                once=once,
            ),
        )

    async def close(self) -> None:
        await self.webhooks.close()
        await self.database.close()


def _taking(shared: Shared, database: Database, engine: MessageEngine, signals: MessageSignals) -> Loop:
    """The loop that takes what waits for a worker; it is rung when something does."""
    settings = shared.settings
    worker = Worker(
        database,
        engine,
        settings.worker_concurrency,
        settings.llm_max_running_per_tenant,
        settings.llm_context_tokens,
        shared.cache,
    )
    signals.rung = worker.ring
    return Loop("queue", worker.run, worker.turns)


def _forget_tenant(shared: Shared, database: Database, tenant_id: str) -> None:
    shared.forget_tenant(tenant_id)
    if database.texts is not None:
        database.texts.forget(tenant_id)


def open_database(settings: Settings, url: str, name: str = "primary") -> Database:
    database = Database(
        url,
        settings.db_pool_size,
        settings.db_max_overflow,
        Prepared(settings.db_statement_cache_size, settings.db_pooler_prepared),
        share=settings.db_connections_per_tenant,
        statement_seconds=settings.db_statement_timeout_seconds,
        name=name,
    )
    database.texts = texts_of(settings)
    return database


def _create_replica(settings: Settings, primary: Database) -> Replica:
    return Replica(
        primary,
        settings.database_replica_url,
        settings.db_pool_size,
        Prepared(settings.db_statement_cache_size, settings.db_pooler_prepared),
        settings.db_connections_per_tenant,
    )


def open_one_place(settings: Settings, url: str) -> OnePlace:
    """The one database, and its replica where there is one."""
    database = open_database(settings, url)
    if settings.database_replica_url:
        database.replica = _create_replica(settings, database)
    return OnePlace(database, next(iter(settings.region_urls()), None))


def _webhook_body(message: object) -> dict[str, object]:
    """As the interface shows a message, without its tenant: who knows a tenant's id may register where that is open."""
    return MessageRead.model_validate(message).model_dump(mode="json", exclude={"tenant_id"})
