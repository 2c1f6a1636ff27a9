"""How a run ended, as parameters of `SETTLE`: what is kept of it, and what it costs. `tokens` is for the limits.

Failing is not free: what was written is charged however the run ended. A run that did not complete never costs more
than was set aside for it.
"""

from dataclasses import replace
from typing import Any

from app.core.completion import Completion
from app.core.errors import ProviderError
from app.core.item_json import items_to_json
from app.messages.generation import Generation
from app.messages.log import storable
from app.models import MessageStatus
from app.services.llm_service import Charge, LLMService

FREE = Charge(None, tokens=0)


def completed(llm: LLMService, run: Generation, completion: Completion) -> dict[str, Any]:
    if completion.cached:
        return _end(run, MessageStatus.COMPLETED, completion, Charge(0, tokens=0))
    charge = llm.charge(completion, run.call, run.thoughts)
    # Nobody counted: what was set aside.
    if charge.micro_usd is None:
        charge = replace(charge, micro_usd=run.claim)
    return _end(run, MessageStatus.COMPLETED, completion, charge)


def failed(llm: LLMService, run: Generation, error: ProviderError) -> dict[str, Any]:
    """Free is what failed before the provider was at work on it."""
    answer = error.answer
    if not run.asked:
        return _end(run, MessageStatus.FAILED, None, FREE) | {"error_code": error.code}
    if answer is None and (run.log.length or run.thoughts):
        answer = llm.partial(run.call, run.output)
        charge = _bounded(run, llm.charge(answer, run.call, run.thoughts))
    else:
        spent = llm.spent(run.call, answer, run.thoughts)
        charge = spent if spent.micro_usd is None else _bounded(run, spent)
    return _end(run, MessageStatus.FAILED, answer, charge) | {"error_code": error.code}


def cancelled(llm: LLMService, run: Generation) -> dict[str, Any]:
    """Nobody saw what was written to a call without a stream: it costs what was set aside."""
    if not run.asked:
        return _end(run, MessageStatus.CANCELLED, None, FREE)
    answer = llm.partial(run.call, run.output)
    charge = llm.charge(answer, run.call, run.thoughts) if run.streams else llm.unseen(run.call)
    return _end(run, MessageStatus.CANCELLED, answer, _bounded(run, charge))


def uncounted(run: Generation, answer: Completion | None) -> dict[str, Any]:
    """What a defect in counting leaves: the answer, at what was set aside for it."""
    status = MessageStatus.COMPLETED if answer else MessageStatus.CANCELLED
    error_code = run.error.code if run.error else None
    ended = MessageStatus.FAILED if run.error else status
    return _end(run, ended, answer, Charge(run.claim)) | {"error_code": error_code}


def _bounded(run: Generation, charge: Charge) -> Charge:
    if charge.micro_usd is None:
        return replace(charge, micro_usd=run.claim)
    return charge if run.claim is None else replace(charge, micro_usd=min(charge.micro_usd, run.claim))


def _end(run: Generation, status: MessageStatus, answer: Completion | None, charge: Charge) -> dict[str, Any]:
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
        "cost_micro_usd": charge.micro_usd,
        "price": charge.price,
        "cached": answer is not None and answer.cached,
        "tokens": charge.tokens,
    }
