"""The objects that a process has once, however many regions it serves."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from app.cache.factory import create_cache
from app.core.config import Settings
from app.core.credentials.envelope import MasterKeys
from app.core.credentials.refused import RefusedCredentials
from app.core.rate_limits.limiter import RateLimiter
from app.core.security import PasswordHasher, TokenService
from app.documents.embedding.embedders import Embedders
from app.documents.embedding.factory import create_embedders
from app.documents.metering import Meter
from app.documents.totals import Quotas
from app.documents.uploads import Uploads
from app.llm.checked import Checked
from app.llm.factory import create_provider
from app.llm.images import Images
from app.llm.key_check import Account, KeyCheck
from app.llm.pricing import PriceTable
from app.messages.idempotency import IdempotencyKeys
from app.residency.places import Places
from app.services.api_key_service import ApiKeyAuthenticator
from app.services.audit_tally import AuditTally
from app.services.budget_refusals import BudgetRefusals
from app.services.budget_service import SpendingCeiling
from app.services.llm_service import LLMService
from app.services.model_service import ModelPolicies
from app.services.provider_credentials import ProviderCredentials
from app.services.session_service import SessionLives, SessionService
from app.services.tenant_service import CreationPolicy

if TYPE_CHECKING:
    from app.cache.cache import ResponseCache


@dataclass(frozen=True, slots=True)
class Shared:
    settings: Settings
    places: Places
    secret_keys: list[str]
    public_keys: list[dict[str, str]]
    """Of access tokens, as JWKs."""
    passwords: PasswordHasher
    tokens: TokenService
    sessions: SessionService
    api_keys: ApiKeyAuthenticator
    creation: CreationPolicy
    limits: RateLimiter
    refused: RefusedCredentials
    llm: LLMService
    model_policies: ModelPolicies
    masters: MasterKeys | None
    """None: this service keeps no secrets of tenants."""
    provider_credentials: ProviderCredentials
    key_check: KeyCheck
    images: Images
    cache: "ResponseCache | None"
    idempotency_keys: IdempotencyKeys
    ceiling: SpendingCeiling
    refusals: BudgetRefusals
    tally: AuditTally
    quotas: Quotas
    uploads: Uploads
    meter: Meter
    embedders: Embedders | None
    """None: this service keeps no documents."""

    @classmethod
    def create(cls, settings: Settings, places: Places) -> "Shared":
        secret_keys, key_ring = settings.secret_keys(), settings.key_ring()
        tokens = TokenService(key_ring, settings.access_token_expire_minutes)
        lives = SessionLives(
            refreshed=timedelta(days=settings.refresh_token_expire_days),
            longest=timedelta(days=settings.session_expire_days),
            fresh=timedelta(minutes=settings.fresh_login_minutes),
        )
        prices, masters = PriceTable(settings.llm_prices), settings.master_keys()
        credentials = ProviderCredentials(places, masters)
        provider = create_provider(settings, credentials.of)
        ceiling, refusals = SpendingCeiling(settings.tenant_budget_ceiling_micro_usd), BudgetRefusals()
        accounts = {
            "openai": Account("openai", settings.openai_base_url),
            "anthropic": Account("anthropic", settings.anthropic_base_url),
        }
        upstreams = provider.catalogue.upstreams
        accounts |= {each.account: Account(each.provider, each.base_url) for each in upstreams if each.account}
        return cls(
            settings=settings,
            places=places,
            secret_keys=secret_keys,
            public_keys=key_ring.jwks(),
            passwords=PasswordHasher(settings.bcrypt_rounds),
            tokens=tokens,
            sessions=SessionService(places, tokens, secret_keys, lives),
            api_keys=ApiKeyAuthenticator(places),
            creation=_creation_policy(settings),
            limits=RateLimiter(settings),
            refused=RefusedCredentials(),
            masters=masters,
            provider_credentials=credentials,
            key_check=KeyCheck(accounts, tuple(settings.webhook_allowed_networks)),
            images=Images(settings.llm_image_max_bytes, settings.webhook_allowed_networks),
            model_policies=ModelPolicies(),
            llm=LLMService(Checked(provider), provider.catalogue, prices),
            cache=create_cache(settings, secret_keys, provider.catalogue),
            idempotency_keys=IdempotencyKeys(secret_keys),
            ceiling=ceiling,
            refusals=refusals,
            tally=AuditTally(places),
            quotas=Quotas(
                settings.documents_per_tenant,
                settings.document_bytes_per_tenant,
                settings.document_chunks_per_tenant,
                settings.ingestion_seconds_per_tenant,
            ),
            uploads=Uploads(),
            meter=Meter(prices, ceiling, refusals),
            embedders=create_embedders(settings),
        )

    def forget_tenant(self, tenant_id: str) -> None:
        """What this process remembers of a tenant that is gone, or lives elsewhere by now."""
        self.tokens.forget_tenant(tenant_id)
        self.api_keys.forget_tenant(tenant_id)
        self.provider_credentials.forget(tenant_id)
        self.places.forget_tenant(tenant_id)
        self.model_policies.forget_tenant(tenant_id)

    async def open(self) -> None:
        """Raise `UnusableSetting` for what can never work as it is set."""
        if self.cache:
            await self.cache.open()
        await self.limits.open()

    async def close(self) -> None:
        """After the last container."""
        if self.cache:
            await self.cache.close()
        if self.embedders:
            await self.embedders.close()
        await self.llm.close()
        self.key_check.close()
        await self.images.close()
        self.passwords.close()
        await self.limits.close()


def _creation_policy(settings: Settings) -> CreationPolicy:
    token = settings.operator_token.get_secret_value() if settings.tenant_creation == "operator" else None
    return CreationPolicy(token, settings.default_registration)
