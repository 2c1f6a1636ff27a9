"""What a prompt meets before it is stored."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.messages.idempotency import IdempotencyKeys
from app.services.budget_service import SpendingCeiling
from app.services.webhook_service import WebhookService

if TYPE_CHECKING:
    from app.cache.cache import ResponseCache


@dataclass(frozen=True, slots=True)
class Intake:
    """One for the process. `context_tokens` bounds what a conversation sends along."""

    webhooks: WebhookService
    keys: IdempotencyKeys
    ceiling: SpendingCeiling
    context_tokens: int
    cache: "ResponseCache | None" = None
