"""The OpenAPI description: what FastAPI derives, with names, examples and every error as a problem."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from app.api import examples, examples_of_keys, examples_of_models
from app.api.errors import OAUTH_PATH, documented, problem_of, problem_of_status
from app.api.http.paths import is_v1
from app.api.v1.anthropic import described as anthropic
from app.api.v1.described import ERROR, ERROR_SCHEMA, error_example
from app.api.v1.described import EXAMPLES as V1_EXAMPLES
from app.api.v1.described import STREAMS as V1_STREAMS
from app.schemas.document import DocumentCreate, DocumentForm
from app.schemas.message import MessageCitations, MessageDelta, MessageReasoning, MessageToolCall
from app.schemas.problem import Problem

SUMMARY = "Tenants, their users and their LLM messages side by side in one PostgreSQL, isolated by construction."
DESCRIPTION = """
Create a tenant with its first admin, log in (or press **Authorize**), send a message.
Errors are `application/problem+json` (RFC 9457); every answer carries `X-Request-ID`.
"""
CONTACT = {"name": "The project's issues and its SECURITY.md"}
LICENSE = {"name": "MIT", "identifier": "MIT"}
# Relative: the service is where its description came from, whatever a proxy calls it.
SERVERS = [{"url": "/", "description": "Where this description came from"}]
# In the order in which a newcomer needs them.
TAGS = [
    {"name": "tenants", "description": "Companies that share the service: creation, settings, export, erasure."},
    {"name": "auth", "description": "Registration, login, sessions and the caller's own account."},
    {"name": "messages", "description": "Prompts and their answers: at once, as a stream or in the background."},
    {"name": "models", "description": "What may be asked for: bounds, abilities and prices."},
    {"name": "conversations", "description": "Messages that are sent together with the turns before them."},
    {"name": "documents", "description": "What the tenant knows, and finding it by meaning and by words."},
    {"name": "api keys", "description": "Credentials for machines, which act for their user within scopes."},
    {"name": "admin", "description": "People, invites, webhooks and the audit log of the caller's tenant."},
    {"name": "usage", "description": "Tokens, cost and budgets of the caller's tenant."},
    {"name": "openai", "description": "What OpenAI's clients call: point one here, with an API key of this service."},
    {"name": "anthropic", "description": "What Anthropic's clients call, likewise."},
    {"name": "health", "description": "For probes: liveness and readiness."},
]
REPLACED = ("HTTPValidationError", "ValidationError")
FORM_NAMES = {"Body_token_token_post": "TokenForm"}
BEARER = {"type": "http", "scheme": "bearer", "description": "Paste an access token, or an API key."}
_ANSWERS = (*examples.ANSWERS, *examples_of_keys.ANSWERS, *examples_of_models.ANSWERS)
_REQUESTS = (*examples.REQUESTS, *examples_of_keys.REQUESTS)
EXAMPLES = {type(example).__name__: example.model_dump(mode="json") for example in _ANSWERS}
BODIES = {type(example).__name__: example.model_dump(mode="json", exclude_unset=True) for example in _REQUESTS}
OWN = examples.OWN | examples_of_keys.OWN


def install_openapi(app: FastAPI) -> None:
    original = app.openapi
    for route in app.routes:
        if isinstance(route, APIRoute):
            route.operation_id = route.name

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = original()
            _complete_schemas(schema)
            del schema["paths"][OAUTH_PATH]["post"]["responses"]["422"]  # FastAPI's own; a bad form is 400 there
            for path, operation in _operations(schema):
                if is_v1(path):
                    operation["responses"].pop("422", None)  # what is not valid is 400 there
                _complete(operation)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _complete_schemas(schema: dict[str, Any]) -> None:
    components = schema["components"]
    schemas = components["schemas"]
    for name in REPLACED:
        schemas.pop(name, None)
    for derived, name in FORM_NAMES.items():
        schemas[name] = {**schemas.pop(derived), "title": name}
    for model in (
        Problem, MessageDelta, MessageReasoning, MessageToolCall, MessageCitations, DocumentCreate, DocumentForm
    ):  # fmt: skip
        described = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(described.pop("$defs", {}))
        schemas[model.__name__] = described
    schemas["OpenAIError"], schemas["AnthropicError"] = ERROR_SCHEMA, anthropic.ERROR_SCHEMA
    components["securitySchemes"]["AccessTokenOrApiKey"] = BEARER


def _operations(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            yield path, operation


def _complete(operation: dict[str, Any]) -> None:
    operation["security"] = [*operation["security"], {"AccessTokenOrApiKey": []}] if "security" in operation else []
    for media in operation.get("requestBody", {}).get("content", {}).values():
        name = _rename(media["schema"])
        media.setdefault("example", BODIES.get(name) or examples.FORMS.get(name, {}))
    if "requestBody" in operation:
        for status in (400, 413, 415):
            operation["responses"].setdefault(str(status), documented(status)[status])
    for status, answer in operation["responses"].items():
        for kind, media in answer.get("content", {}).items():
            media["example"] = _example(operation["operationId"], status, kind, media.get("schema", {}))


def _rename(schema: dict[str, Any]) -> str:
    """The component that a body refers to, under the name that it has here."""
    for candidate in (schema, *schema.get("anyOf", ())):
        if "$ref" in candidate:
            name = str(candidate["$ref"].rpartition("/")[2])
            candidate["$ref"] = f"#/components/schemas/{FORM_NAMES.get(name, name)}"
            return FORM_NAMES.get(name, name)
    return ""


def _example(operation_id: str, status: str, kind: str, schema: dict[str, Any]) -> Any:
    match kind:
        case "application/problem+json":
            return _problem(operation_id, status)
        case "text/event-stream":
            return V1_STREAMS.get(operation_id, examples.EVENTS)
        case "application/x-ndjson":
            return examples.LINES
        case "text/plain":
            return examples.TEXT
    if schema in (ERROR, anthropic.ERROR):
        return (error_example if schema == ERROR else anthropic.error_example)(int(status))
    return V1_EXAMPLES.get(operation_id) or _own_example(schema)


def _own_example(schema: dict[str, Any]) -> Any:
    if schema.get("type") == "array":
        return [EXAMPLES[schema["items"]["$ref"].rpartition("/")[2]]]
    return EXAMPLES[schema["$ref"].rpartition("/")[2]]


def _problem(operation_id: str, status: str) -> dict[str, Any]:
    scope = {"state": {"request_id": examples.REQUEST}}
    error = OWN.get((operation_id, status)) or examples.USUAL.get(status)
    problem = problem_of(scope, error) if error else problem_of_status(scope, int(status))
    if status == "422":
        problem.errors = [examples.FIELD_ERROR]
    return problem.model_dump(mode="json", exclude_none=True)
