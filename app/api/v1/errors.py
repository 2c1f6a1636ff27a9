"""Errors as the clients of `/v1` read them: in the shape of their own protocol, which the path tells."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi.responses import JSONResponse
from starlette.types import Scope

from app.api.http.paths import ANTHROPIC, V1, is_v1, own_path
from app.core import errors
from app.schemas.problem import Problem

INVALID, SERVER, QUOTA, REQUESTS = "invalid_request_error", "server_error", "insufficient_quota", "requests"


@dataclass(frozen=True, slots=True)
class Form:
    """How a kind of error differs from what its status says. `retries`: whether a client may send the same again."""

    code: str | None = None
    type: str | None = None
    status: int | None = None
    param: str | None = None
    retries: bool | None = None


# The nearest ancestor counts. SDKs try 408, 409, 429 and 5xx again by themselves.
FORMS: dict[type[errors.AppError], Form] = {
    errors.AuthenticationError: Form("invalid_api_key"),
    errors.InsufficientScope: Form("missing_scope"),
    errors.ModelNotFound: Form("model_not_found", param="model"),
    errors.UnsupportedByModel: Form("unsupported_value"),
    errors.BudgetExceeded: Form(QUOTA, QUOTA, 429, retries=False),
    errors.RateLimited: Form("rate_limit_exceeded", REQUESTS),
    errors.TokensUsedUp: Form("rate_limit_exceeded", "tokens"),
    errors.TooManyRunning: Form("rate_limit_exceeded", REQUESTS),
    errors.TooManyStreams: Form("rate_limit_exceeded", REQUESTS),
    errors.TooManyLargeRequests: Form("rate_limit_exceeded", REQUESTS),
    errors.Conflict: Form(retries=False),
    errors.ConversationBusy: Form("conversation_locked", retries=True),
    errors.IdempotencyKeyInFlight: Form(retries=True),
    errors.IdempotencyKeyReused: Form(status=409, param="Idempotency-Key", retries=False),
    errors.PreviousNotFound: Form("previous_response_not_found", status=400, param="previous_response_id"),
    errors.InvalidCursor: Form("invalid_value", param="after"),
    errors.DocumentsOff: Form(retries=False),
    errors.SearchEncrypted: Form("unsupported_value", status=400, param="metadata", retries=False),
    errors.ProviderRejected: Form(retries=False),
    errors.EmptyAnswer: Form(retries=False),
    errors.OutputMismatch: Form(retries=False),
    errors.PreviousGone: Form(retries=False),
}
STATUS_CODES = {401: "invalid_api_key", 404: "not_found", 405: "method_not_supported", 413: "request_too_large"}
PLAIN = Form()
UNKNOWN_URL = "unknown_url"


@dataclass(frozen=True, slots=True)
class Fault:
    """An error in the words of OpenAI's clients; `retries` None leaves it to them."""

    status: int
    message: str
    type: str
    param: str | None
    code: str | None
    retries: bool | None
    request_id: str


Renderer = Callable[[Fault], dict[str, Any]]


def openai(fault: Fault) -> dict[str, Any]:
    error = {"message": fault.message, "type": fault.type, "param": fault.param, "code": fault.code}
    return {"error": error}


ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def anthropic(fault: Fault) -> dict[str, Any]:
    usual = "invalid_request_error" if fault.status < 500 else "api_error"
    error = {"type": ANTHROPIC_TYPES.get(fault.status, usual), "message": fault.message}
    return {"type": "error", "error": error, "request_id": fault.request_id}


# The longest that fits.
RENDERERS: Mapping[str, Renderer] = {V1: openai, ANTHROPIC: anthropic}


def renderer_of(scope: Scope) -> Renderer | None:
    """That of the path; None where errors are problems."""
    path = own_path(scope)
    if not is_v1(path):
        return None
    found = [prefix for prefix in RENDERERS if path == prefix or path.startswith(f"{prefix}/")]
    return RENDERERS[max(found, key=len)] if found else None


def fault_of(scope: Scope, problem: Problem, error: errors.AppError | None = None) -> Fault:
    """What a problem is here; `error` is what it was made of, if that was one of the domain."""
    form = next((FORMS[kind] for kind in type(error).__mro__ if kind in FORMS), PLAIN)
    status = form.status or (400 if problem.status == 422 else problem.status)
    param = form.param
    if isinstance(error, errors.InvalidRequest):
        param = error.param
        form = Form(error.code)
    elif problem.errors:
        param = param or _place(problem.errors[0].loc)
    message = problem.detail
    if problem.errors and error is None:
        message = f"{param}: {problem.errors[0].msg}" if param else problem.errors[0].msg
    code = form.code or (_word(problem) if error is not None else _code(scope, problem))
    retries = False if scope["state"].get("billed") else form.retries
    return Fault(status, message, form.type or _type(status), param, code, retries, problem.request_id)


def dialect_response(
    scope: Scope, problem: Problem, error: errors.AppError | None, headers: Mapping[str, str]
) -> JSONResponse | None:
    """The answer in the dialect of the path; None where the problem is the answer."""
    render = renderer_of(scope)
    if render is None:
        return None
    fault = fault_of(scope, problem, error)
    said = dict(headers)
    if fault.status == 401:
        said["WWW-Authenticate"] = "Bearer"
    if fault.retries and "Retry-After" not in said:
        said["Retry-After"] = "1"
    if "Retry-After" in said:
        said["Retry-After-Ms"] = str(int(said["Retry-After"]) * 1000)
    if fault.retries is not None:
        said["X-Should-Retry"] = str(fault.retries).lower()
    return JSONResponse(render(fault), fault.status, headers=said)


def _word(problem: Problem) -> str:
    return problem.type.rpartition(":")[2].replace("-", "_")


def _type(status: int) -> str:
    if status == 429:
        return REQUESTS
    return INVALID if status < 500 else SERVER


def _code(scope: Scope, problem: Problem) -> str | None:
    if problem.errors:
        return "missing_required_parameter" if problem.errors[0].type == "missing" else "invalid_value"
    if problem.status == 404 and scope.get("route") is None:
        return UNKNOWN_URL
    return STATUS_CODES.get(problem.status, INVALID if problem.status < 500 else SERVER)


def _place(loc: list[str | int]) -> str | None:
    """`["body", "messages", 0, "role"]` as `messages[0].role`."""
    place = ""
    for part in loc[1:]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else part
    return place or None
