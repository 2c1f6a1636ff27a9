"""Every error as OpenAI's clients are told of it."""

import json
from inspect import Parameter, signature
from typing import Any

import pytest

from app.api.errors import problem_of, problem_of_status, refusal
from app.api.statuses import STATUSES, TITLES
from app.api.v1.errors import dialect_response
from app.core import errors
from app.core.rate_limits.policy import Policy, Standing

ARGUMENTS: dict[type[errors.AppError], tuple[Any, ...]] = {
    errors.BackgroundWorkFailing: (["leases"],),
    errors.RateLimited: (Standing(Policy.of("user", "1/minute"), -1, 12.5),),
}


def needed(kind: type[errors.AppError]) -> tuple[str, ...]:
    """A word for each argument without a default."""
    given = signature(kind).parameters.values()
    return tuple("a-word" for one in given if one.default is Parameter.empty and one.kind is one.POSITIONAL_OR_KEYWORD)


def scope_of(path: str = "/v1/chat/completions", **state: Any) -> dict[str, Any]:
    return {"path": path, "state": {"request_id": "the-id", **state}, "route": object()}


def told(error: errors.AppError, **state: Any) -> tuple[int, dict[str, Any], Any]:
    scope = scope_of(**state)
    answer = dialect_response(scope, problem_of(scope, error), error, {})
    assert answer is not None
    body = json.loads(bytes(answer.body))
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"message", "type", "param", "code"}
    return answer.status_code, body["error"], answer.headers


@pytest.mark.parametrize("kind", STATUSES, ids=lambda kind: kind.__name__)
def test_every_error_has_all_four_keys_and_a_status_that_sdks_know(kind: type[errors.AppError]) -> None:
    status, error, headers = told(kind(*ARGUMENTS.get(kind, needed(kind))))
    assert status not in (402, 422)
    assert error["message"]
    assert error["type"] in ("invalid_request_error", "server_error", "insufficient_quota", "requests", "tokens")
    assert error["code"]
    assert (error["type"] == "server_error") == (status >= 500)
    assert ("www-authenticate" in headers) == (status == 401)


@pytest.mark.parametrize("status", [status for status in TITLES if status != 422])
def test_every_status_without_an_error_has_the_shape_too(status: int) -> None:
    answer = refusal(scope_of(), status)
    assert answer.status_code == (429 if status == 402 else status) or status == 402
    assert json.loads(bytes(answer.body))["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("error", "status", "code", "retries"),
    [
        (errors.BudgetExceeded(), 429, "insufficient_quota", "false"),
        (errors.ConversationBusy(), 409, "conversation_locked", "true"),
        (errors.IdempotencyKeyInFlight("an-id"), 409, "idempotency_key_in_flight", "true"),
        (errors.IdempotencyKeyReused(), 409, "idempotency_key_reused", "false"),
        (errors.ModelWithoutPrice(), 409, "model_without_price", "false"),
        (errors.InvalidCredentials(), 401, "invalid_api_key", None),
        (errors.NotFound(), 404, "not_found", None),
        (errors.ShuttingDown(), 503, "shutting_down", None),
        (errors.ProviderRejected(), 502, "provider_rejected", "false"),
        (errors.ProviderUnavailable(), 503, "provider_unavailable", None),
    ],
)
def test_a_client_learns_what_it_was_and_whether_to_try_again(
    error: errors.AppError, status: int, code: str, retries: str | None
) -> None:
    found, body, headers = told(error)
    assert (found, body["code"], headers.get("x-should-retry")) == (status, code, retries)
    assert ("retry-after-ms" in headers) == (retries == "true")


def test_what_was_billed_is_not_to_be_sent_again() -> None:
    assert told(errors.ProviderTimeout(), billed=True)[2]["x-should-retry"] == "false"
    assert "x-should-retry" not in told(errors.ProviderTimeout(), billed=False)[2]


def test_what_is_wrong_is_named_as_the_protocol_names_it() -> None:
    _, error, _ = told(errors.InvalidRequest("messages[0].role: is required", "messages[0].role", "missing"))
    assert error["param"] == "messages[0].role"
    assert error["code"] == "missing"
    assert error["type"] == "invalid_request_error"


def test_elsewhere_errors_are_problems() -> None:
    for path in ("/messages", "/v10/messages", "/"):
        scope = scope_of(path)
        assert dialect_response(scope, problem_of_status(scope, 404), None, {}) is None
    behind = {**scope_of("/api/v1/models"), "root_path": "/api"}
    assert dialect_response(behind, problem_of_status(behind, 404), None, {}) is not None
