"""How a run ended, as parameters of `SETTLE`: what is kept of it, and what it costs.

Failing is not free: what was written is charged however the run ended. A run that did not complete never costs more
than was set aside for it.
"""

from typing import Any

from app.core.completion import Completion
from app.core.errors import ProviderError
from app.core.item_json import items_to_json
from app.messages.generation import Generation
from app.messages.log import storable
from app.models import MessageStatus
from app.services.llm_service import LLMService


def completed(llm: LLMService, run: Generation, completion: Completion) -> dict[str, Any]:
    if completion.cached:
        return _end(run, MessageStatus.COMPLETED, completion, 0)
    cost = llm.cost(completion, run.call, run.thoughts)
    # Nobody counted: what was set aside.
    return _end(run, MessageStatus.COMPLETED, completion, run.claim if cost is None else cost)


def failed(llm: LLMService, run: Generation, error: ProviderError) -> dict[str, Any]:
    """Free is what failed before the provider was at work on it."""
    answer = error.answer
    if not run.asked:
        return _end(run, MessageStatus.FAILED, None, None) | {"error_code": error.code}
    if answer is None and (run.log.length or run.thoughts):
        answer = llm.partial(run.call, run.output)
        cost = _bounded(run, llm.cost(answer, run.call, run.thoughts))
    else:
        spent = llm.spent(run.call, answer, run.thoughts).micro_usd
        cost = None if spent is None else _bounded(run, spent)
    return _end(run, MessageStatus.FAILED, answer, cost) | {"error_code": error.code}


def cancelled(llm: LLMService, run: Generation) -> dict[str, Any]:
    """Nobody saw what was written to a call without a stream: it costs what was set aside."""
    if not run.asked:
        return _end(run, MessageStatus.CANCELLED, None, None)
    answer = llm.partial(run.call, run.output)
    cost = llm.cost(answer, run.call, run.thoughts) if run.streams else llm.unseen(run.call)
    return _end(run, MessageStatus.CANCELLED, answer, _bounded(run, cost))


def uncounted(run: Generation, answer: Completion | None) -> dict[str, Any]:
    """What a defect in counting leaves: the answer, at what was set aside for it."""
    status = MessageStatus.COMPLETED if answer else MessageStatus.CANCELLED
    error_code = run.error.code if run.error else None
    return _end(run, MessageStatus.FAILED if run.error else status, answer, run.claim) | {"error_code": error_code}


def _bounded(run: Generation, cost: int | None) -> int | None:
    if run.claim is None or cost is None:
        return run.claim if cost is None else cost
    return min(cost, run.claim)


def _end(run: Generation, status: MessageStatus, answer: Completion | None, cost: int | None) -> dict[str, Any]:
    kept = run.row.stored
    return {
        "status": status.value,
        "error_code": None,
        "finish_reason": answer.finish_reason if answer else None,
        "response": run.log.text if kept else "",
        "output": None if run.log.plain or not kept else items_to_json(run.output),
        "model": storable(answer.model)[:255] if answer else None,
        "input_tokens": answer.input_tokens if answer else None,
        "cached_tokens": answer.cached_tokens if answer else None,
        "output_tokens": answer.output_tokens if answer else None,
        "reasoning_tokens": answer.reasoning_tokens if answer else None,
        "cost_micro_usd": cost,
        "cached": answer is not None and answer.cached,
    }
