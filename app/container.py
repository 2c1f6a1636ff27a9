"""The objects that live as long as the process: made at start-up, closed at shutdown."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from app.background import supervise
from app.cache.factory import create_cache
from app.core.config import Settings
from app.core.credentials.refused import RefusedCredentials
from app.core.rate_limits.limiter import RateLimiter
from app.core.security import PasswordHasher, TokenService
from app.core.supervision import Loop, Supervisor
from app.db.pool import Prepared
from app.db.session import Database
from app.documents.embedding.embedders import Embedders
from app.documents.embedding.factory import create_embedders
from app.documents.ingestion import Ingestion
from app.documents.reembedding import Reembedding
from app.documents.totals import Quotas
from app.documents.uploads import Uploads
from app.gauges import ProcessGauges
from app.llm.factory import create_provider
from app.llm.pricing import PriceTable
from app.messages.doorbell import Doorbell
from app.messages.engine import MessageEngine
from app.messages.idempotency import IdempotencyKeys
from app.messages.retention import Retention
from app.messages.search_indexer import SearchIndexer
from app.messages.signals import MessageSignals
from app.messages.sweeper import Sweeper
from app.messages.worker import Worker
from app.observability.sampler import Sampler
from app.residency.claims import ONE_REGION, Claims
from app.residency.places import OnePlace, Place, Places
from app.residency.regional_places import RegionalPlaces
from app.schemas.message import MessageRead
from app.services.api_key_service import ApiKeyAuthenticator
from app.services.audit_tally import AuditTally
from app.services.budget_service import SpendingCeiling
from app.services.erase_service import TenantEraser
from app.services.intake import Intake, PassageLimits
from app.services.llm_service import LLMService
from app.services.session_service import SessionService
from app.services.tenant_service import CreationPolicy
from app.services.webhook_secrets import WebhookSecrets
from app.services.webhook_service import WebhookService

if TYPE_CHECKING:
    from app.cache.cache import ResponseCache


@dataclass(frozen=True, slots=True)
class Region:
    """One of several. `beside`: the container of the first, with which it shares what is the process's."""

    place: Place
    places: RegionalPlaces
    beside: "Container | None"
    loops: Sequence[Loop] = ()


@dataclass(frozen=True, slots=True)
class Container:
    database: Database
    passwords: PasswordHasher
    tokens: TokenService
    sessions: SessionService
    api_keys: ApiKeyAuthenticator
    llm: LLMService
    engine: MessageEngine
    signals: MessageSignals
    sweeper: Sweeper
    webhooks: WebhookService
    webhook_secrets: WebhookSecrets
    eraser: TenantEraser
    search_indexer: SearchIndexer
    idempotency_keys: IdempotencyKeys
    background: Supervisor
    ceiling: SpendingCeiling
    intake: Intake
    tally: AuditTally
    creation: CreationPolicy
    places: Places
    claims: Claims
    public_keys: list[dict[str, str]]
    """Of access tokens, as JWKs."""
    limits: RateLimiter
    refused: RefusedCredentials
    cache: "ResponseCache | None"
    quotas: Quotas
    uploads: Uploads
    embedders: Embedders | None = None
    """None: this service keeps no documents."""
    ingestion: Ingestion | None = None

    @classmethod
    def create(
        cls, settings: Settings, database_url: str, region: "Region | None" = None, *, works: bool = False
    ) -> "Container":
        """`works`: it answers the messages that wait for a worker. `region`: where this is one of several."""
        database = region.place.database if region else open_database(settings, database_url)
        claims: Claims = region.place.claims if region else ONE_REGION
        places: Places = region.places if region else OnePlace(database, next(iter(settings.region_urls()), None))
        beside = region.beside if region else None
        secret_keys, keys = settings.secret_keys(), settings.key_ring()
        tokens = beside.tokens if beside else TokenService(keys, settings.access_token_expire_minutes)
        session_life = timedelta(days=settings.refresh_token_expire_days)
        longest = timedelta(days=settings.session_expire_days)
        fresh = timedelta(minutes=settings.fresh_login_minutes)
        llm_provider = create_provider(settings)
        llm = LLMService(llm_provider, PriceTable(settings.llm_prices), settings.llm_max_output_tokens)
        lease = timedelta(seconds=settings.message_lease_seconds)
        limit = timedelta(seconds=settings.message_timeout_seconds)
        engine = MessageEngine(database, llm, lease, limit, settings.llm_max_running_per_tenant)
        sweeper = Sweeper(database, settings.message_lease_seconds)
        api_keys = beside.api_keys if beside else ApiKeyAuthenticator(places)
        forget = [tokens.forget_tenant, api_keys.forget_tenant]
        if region:
            forget.append(region.places.directory.forget)
        signals = MessageSignals(
            settings.database_direct_url or database_url, engine, forget, settings.stream_max_per_user
        )
        webhook_secrets = WebhookSecrets(secret_keys)
        webhooks = WebhookService(database, webhook_secrets, settings.webhook_allowed_networks, _webhook_body)
        cache = beside.cache if beside else create_cache(settings, secret_keys, llm_provider)
        eraser = TenantEraser(database, also=cache.forget_tenant if cache else None, claims=claims)
        search_indexer = SearchIndexer(database)
        tally = beside.tally if beside else AuditTally(places)
        limits = beside.limits if beside else RateLimiter(settings)
        sampler = Sampler() if settings.metrics_port and beside is None else None
        doorbell = queue = None
        if works:
            worker = Worker(
                database,
                engine,
                settings.worker_concurrency,
                settings.llm_max_running_per_tenant,
                settings.llm_context_tokens,
                cache,
            )
            signals.rung = worker.ring
            queue = Loop("queue", worker.run, worker.turns)
        elif settings.message_workers:
            doorbell = Doorbell(database, timedelta(seconds=settings.message_queue_seconds))
            queue = Loop("doorbell", doorbell.run, doorbell.turns)
        quotas = _quotas(settings)
        embedders = beside.embedders if beside else create_embedders(settings)
        ingestion = Ingestion(database, embedders, quotas) if embedders else None
        background = supervise(
            database,
            engine,
            signals,
            webhooks,
            eraser,
            search_indexer=search_indexer,
            tally=None if beside else tally,
            sweeper=sweeper,
            retention=Retention(database),
            shared_work=settings.background_work,
            sampler=sampler,
            queue=queue,
            ingestion=ingestion,
            reembedding=Reembedding(database, embedders) if embedders else None,
            further=region.loops if region else (),
        )
        if sampler is not None:
            sampler.readings.append(ProcessGauges([database], engine, limits, background).show)
        idempotency_keys = IdempotencyKeys(secret_keys)
        passages = PassageLimits(
            min(settings.document_context_tokens, settings.llm_context_tokens), settings.document_score_floor
        )
        ceiling = SpendingCeiling(settings.tenant_budget_ceiling_micro_usd)
        return cls(
            database,
            beside.passwords if beside else PasswordHasher(settings.bcrypt_rounds),
            tokens,
            beside.sessions if beside else SessionService(places, tokens, secret_keys, session_life, longest, fresh),
            api_keys,
            llm,
            engine,
            signals,
            sweeper,
            webhooks,
            webhook_secrets,
            eraser,
            search_indexer,
            idempotency_keys,
            background,
            ceiling,
            Intake(webhooks, idempotency_keys, ceiling, settings.llm_context_tokens, passages, doorbell, cache),
            tally,
            _creation_policy(settings),
            places,
            claims,
            keys.jwks(),
            limits,
            beside.refused if beside else RefusedCredentials(),
            cache,
            quotas,
            beside.uploads if beside else Uploads(),
            embedders,
            ingestion,
        )

    async def open(self) -> None:
        """Raise `UnusableSetting` for what can never work as it is set."""
        if self.cache:
            await self.cache.open()
        await self.limits.open()

    async def close(self) -> None:
        await self.tally.flush()
        await self.close_region()
        if self.cache:
            await self.cache.close()
        if self.embedders:
            await self.embedders.close()
        self.passwords.close()
        await self.limits.close()

    async def close_region(self) -> None:
        """What it shares with no other region."""
        await self.webhooks.close()
        await self.llm.close()
        await self.database.close()


def open_database(settings: Settings, url: str) -> Database:
    return Database(
        url,
        settings.db_pool_size,
        settings.db_max_overflow,
        Prepared(settings.db_statement_cache_size, settings.db_pooler_prepared),
        share=settings.db_connections_per_tenant,
        statement_seconds=settings.db_statement_timeout_seconds,
    )


def _quotas(settings: Settings) -> Quotas:
    return Quotas(
        settings.documents_per_tenant,
        settings.document_bytes_per_tenant,
        settings.document_chunks_per_tenant,
        settings.ingestion_seconds_per_tenant,
    )


def _creation_policy(settings: Settings) -> CreationPolicy:
    token = settings.operator_token.get_secret_value() if settings.tenant_creation == "operator" else None
    return CreationPolicy(token, settings.default_registration)


def _webhook_body(message: object) -> dict[str, object]:
    """As the interface shows a message, without its tenant: who knows a tenant's id may register where that is open."""
    return MessageRead.model_validate(message).model_dump(mode="json", exclude={"tenant_id"})
