"""The OpenAPI description: what FastAPI derives, with every error as a problem."""

from typing import Any

from fastapi import FastAPI

from app.schemas.problem import Problem

DESCRIPTION = """
Tenants, their users and their LLM messages side by side in one PostgreSQL, isolated by construction.

Create a tenant with its first admin, log in (or press **Authorize**), send a message.
Errors are `application/problem+json` (RFC 9457); every answer carries `X-Request-ID`.
"""
REPLACED = ("HTTPValidationError", "ValidationError")


def install_openapi(app: FastAPI) -> None:
    original = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = original()
            schemas = schema["components"]["schemas"]
            for name in REPLACED:
                schemas.pop(name, None)
            problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(problem.pop("$defs"))
            schemas["Problem"] = problem
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
