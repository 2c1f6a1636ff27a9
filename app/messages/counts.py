"""What the end of a run is in the metrics."""

from collections.abc import Mapping
from typing import Any

from app.messages.generation import Generation
from app.observability.instruments import COST, MESSAGES_ENDED, TOKENS
from app.observability.spenders import SPENDERS
from app.services.llm_service import LLMService

KINDS = {"input": "input_tokens", "cached": "cached_tokens", "output": "output_tokens"}


def count_end(llm: LLMService, run: Generation, end: Mapping[str, Any]) -> None:
    """`end` holds the parameters of `SETTLE`, of this run alone."""
    if not MESSAGES_ENDED.on:
        return
    MESSAGES_ENDED.add(end["status"], end["error_code"] or "")
    model = llm.asked_for(end["model"])
    for kind, name in KINDS.items():
        if end[name]:
            TOKENS.add(model, kind, amount=end[name])
    if end["cost_micro_usd"]:
        COST.add(model, amount=end["cost_micro_usd"] / 1_000_000)
        SPENDERS.add(run.tenant_id, end["cost_micro_usd"])
