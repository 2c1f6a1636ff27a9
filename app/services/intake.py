"""What a prompt meets before it is stored."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from app.messages.doorbell import Doorbell
from app.messages.idempotency import IdempotencyKeys
from app.observability import tracing
from app.services.budget_refusals import BudgetRefusals
from app.services.budget_service import SpendingCeiling
from app.services.model_service import ModelPolicies
from app.services.webhook_service import WebhookService

if TYPE_CHECKING:
    from app.cache.cache import ResponseCache


@dataclass(frozen=True, slots=True)
class PassageLimits:
    """`tokens`: of the passages of a prompt, about. `floor`: the score below which a passage has nothing to say."""

    tokens: int
    floor: float


@dataclass(frozen=True, slots=True)
class Intake:
    """One for the process. `context_tokens` bounds what a conversation sends along."""

    webhooks: WebhookService
    keys: IdempotencyKeys
    ceiling: SpendingCeiling
    context_tokens: int
    passages: PassageLimits
    model_policies: ModelPolicies
    refusals: BudgetRefusals
    workers: Doorbell | None = None
    """Who answers background messages; None: this process."""
    cache: "ResponseCache | None" = None

    def run_by(self, lease: timedelta, *, background: bool) -> dict[str, Any]:
        """For the statement that stores it: whether a message waits for a worker, and how long it may; or its lease."""
        terms: dict[str, Any] = {"queued": False, "lease": lease, "traceparent": tracing.traceparent()}
        if background and self.workers is not None:
            terms |= {"queued": True, "lease": self.workers.patience}
        return terms

    def rang(self, *, background: bool) -> bool:
        """Whether workers answer what was just committed; then they have been told."""
        if not background or self.workers is None:
            return False
        self.workers.ring()
        return True
