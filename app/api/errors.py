"""Problem details (RFC 9457) for everything that fails, and what under `/v1` stands in their place."""

import math
import re
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.types import Scope

from app.api.methods import allowed_methods
from app.api.statuses import BLAMED, DETAILS, RETRY_AFTER_SECONDS, STATUSES, TITLES
from app.api.v1.errors import dialect_response
from app.callers import count_refused, note_refused
from app.core import errors
from app.schemas.oauth import OAuthError
from app.schemas.problem import Problem

INVALID_INPUT = "invalid-input"
RATE_LIMIT_HEADERS = {
    name: {"description": words, "schema": {"type": kind}}
    for name, kind, words in (
        ("Retry-After", "integer", "Seconds."),
        ("RateLimit-Policy", "string", 'The limit: `"user";q=1200;w=60` is 1200 requests in 60 seconds.'),
        ("RateLimit", "string", '`"user";r=0;t=17`: none are left, and the window ends in 17 seconds.'),
    )
}
# Its clients read RFC 6749's errors, not problems.
OAUTH_PATH = "/token"
FORMS = ("", "application/x-www-form-urlencoded", "multipart/form-data")
# A location names fields of the schema; what else stands in it was sent by the caller.
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")


def install_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(errors.AppError, _on_app_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)


def refusal(scope: Scope, reason: int | errors.AppError) -> Response:
    """The answer when no route could give one: to a status (400, 408, 413, 414, 431, 500), or to an error."""
    if isinstance(reason, errors.AppError):
        return _response(scope, problem_of(scope, reason), reason)
    return _response(scope, problem_of_status(scope, reason))


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems of a route for its OpenAPI description."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    problems: dict[int | str, dict[str, Any]] = {
        status: {"description": TITLES[status], "content": content} for status in statuses
    }
    if 401 in statuses or 429 in statuses:  # who is identified is counted
        problems[429] = {"description": TITLES[429], "content": content, "headers": RATE_LIMIT_HEADERS}
    return problems


async def _on_app_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.AppError)
    if isinstance(error, errors.AuthenticationError):
        try:
            await count_refused(request)
        except (errors.RateLimited, errors.TenantMoving) as better:
            error = better
    if isinstance(error, errors.PermissionDenied):
        note_refused(request)
    seconds = next((seconds for kind, seconds in RETRY_AFTER_SECONDS.items() if isinstance(error, kind)), None)
    if isinstance(error, errors.ProviderError) and error.retry_after is not None:
        seconds = math.ceil(error.retry_after)
    if isinstance(error, errors.RateLimited):
        seconds = error.standing.retry_after
        request.scope["state"]["token_limit" if isinstance(error, errors.TokensUsedUp) else "rate_limit"] = (
            error.standing
        )
    headers = {"Retry-After": str(seconds)} if seconds is not None else {}
    return _answer(request, problem_of(request.scope, error), error, headers)


def problem_of(scope: Scope, error: errors.AppError) -> Problem:
    """What a domain error is to the caller."""
    words = re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
    extra: dict[str, Any] = {}
    if type(error) in BLAMED:
        extra["errors"] = [{"loc": BLAMED[type(error)], "msg": error.detail, "type": words}]
    if isinstance(error, (errors.ProviderError, errors.IdempotencyKeyInFlight, errors.NotStored)):
        extra["message_id"] = error.message_id
    if isinstance(error, errors.BudgetExceeded):
        extra["resets_at"] = error.resets_at
    return _problem(scope, STATUSES[type(error)], kind=words.replace("_", "-"), detail=error.detail, **extra)


def problem_of_status(scope: Scope, status: int) -> Problem:
    """What a status without an error of the domain is to the caller."""
    return _problem(scope, status, kind=INVALID_INPUT if status == 422 else _slug(TITLES[status]))


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if unsupported := _unsupported_media_type(request, error):
        return _answer(request, problem_of(request.scope, unsupported), unsupported)
    found = [
        {"loc": [_safe(part) for part in item["loc"]], "msg": _message(item), "type": item["type"]}
        for item in error.errors()[:50]
    ]
    return _answer(request, _problem(request.scope, 422, kind=INVALID_INPUT, errors=found))


def _unsupported_media_type(request: Request, error: RequestValidationError) -> errors.UnsupportedMediaType | None:
    """What the body was not read for: FastAPI leaves it as bytes where it is no JSON by its Content-Type."""
    if isinstance(error.body, bytes) and error.body:
        return errors.UnsupportedMediaType()
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if isinstance(error.body, FormData) and media_type not in FORMS:
        return errors.UnsupportedMediaType("The body must be a form: application/x-www-form-urlencoded.")
    return None


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = allowed_methods(request.scope)
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
    return _answer(request, problem_of_status(request.scope, error.status_code), headers=headers)


def _problem(scope: Scope, status: int, *, kind: str, detail: str | None = None, **extra: Any) -> Problem:
    phrase = TITLES[status]
    return Problem(
        type=f"urn:llm-saas:problem:{kind}",
        title=phrase,
        status=status,
        detail=detail or DETAILS.get(status, f"{phrase}."),
        request_id=scope["state"]["request_id"],
        **extra,
    )


def _answer(
    request: Request, problem: Problem, error: errors.AppError | None = None, headers: dict[str, str] | None = None
) -> Response:
    path = getattr(request.scope.get("route"), "path", None)
    if path == OAUTH_PATH and problem.status in (400, 401, 422):
        return JSONResponse(_oauth_error(problem).model_dump(), 400)
    return _response(request.scope, problem, error, headers)


def _oauth_error(problem: Problem) -> OAuthError:
    if problem.status == 401:
        return OAuthError(error="invalid_grant", error_description=problem.detail)
    if any(item.loc[-1] == "grant_type" for item in problem.errors or []):
        return OAuthError(error="unsupported_grant_type", error_description="The grant type here is password.")
    return OAuthError(error="invalid_request", error_description="The form needs grant_type, username and password.")


def _response(
    scope: Scope, problem: Problem, error: errors.AppError | None = None, headers: dict[str, str] | None = None
) -> Response:
    headers = {**(headers or {})}
    if (answer := dialect_response(scope, problem, error, headers)) is not None:
        return answer
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    content = problem.model_dump(mode="json", exclude_none=True)
    return JSONResponse(content, problem.status, headers=headers, media_type="application/problem+json")


def _message(item: dict[str, Any]) -> str:
    # The messages of ValueErrors raised by libraries may quote the value (email-validator's do).
    return "The value is not valid" if item["type"] == "value_error" else str(item["msg"])


def _safe(part: Any) -> str | int:
    if isinstance(part, int) or (isinstance(part, str) and _FIELD_NAME.fullmatch(part)):
        return part
    return "?"


def _slug(phrase: str) -> str:
    return phrase.lower().replace(" ", "-")
