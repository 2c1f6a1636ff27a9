"""How operations of other protocols stand in the OpenAPI description: with examples, and their errors as they are.

The schemas say what is read here. Their protocols know more fields, which are passed over.
"""

from typing import Any

from app.api.errors import RATE_LIMIT_HEADERS
from app.api.statuses import DETAILS, TITLES

# Of answers, by operation: FastAPI would leave out every null of one that stands in the description of a route.
EXAMPLES: dict[str, Any] = {}
STREAMS: dict[str, str] = {}
NULLABLE = {"type": ["string", "null"]}
ERROR_SCHEMA: dict[str, Any] = {
    "title": "OpenAIError",
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {**NULLABLE, "description": "What of the request is wrong."},
                "code": NULLABLE,
            },
        }
    },
}
ERROR = {"$ref": "#/components/schemas/OpenAIError"}
WORDS = {
    400: ("invalid_request_error", "temperature", "invalid_value"),
    401: ("invalid_request_error", None, "invalid_api_key"),
    404: ("invalid_request_error", "model", "model_not_found"),
    429: ("insufficient_quota", None, "insufficient_quota"),
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What may go wrong, as OpenAI's clients read it."""
    found = {status: _error(status) for status in (401, 429, 500, 503, *statuses)}
    found[429]["headers"] = RATE_LIMIT_HEADERS
    return dict(sorted(found.items()))


def answer(schema: dict[str, Any], description: str = "Successful Response") -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def body(properties: dict[str, Any], required: list[str], example: Any) -> dict[str, Any]:
    """For `openapi_extra`: the body is read by the route itself."""
    schema = {"type": "object", "properties": properties, "required": required}
    content = {"application/json": {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


def error_example(status: int) -> dict[str, Any]:
    kind, param, code = WORDS.get(status, ("server_error" if status >= 500 else "invalid_request_error", None, None))
    message = DETAILS.get(status, f"{TITLES[status]}.")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def listed(item: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["object", "data"],
        "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": item}},
    }


def _error(status: int) -> dict[str, Any]:
    return answer(ERROR, TITLES[status])
