"""An OpenAPI description, as the table of operations sees it."""

from collections.abc import Iterable
from typing import Any

from app.verification.operation import ID_IN_BODY, Operation
from app.verification.operations import OPERATIONS

METHODS = {"get", "put", "post", "patch", "delete", "options", "head", "trace"}
# What a parameter of a query names, where its name does not say it.
# A model's name is nobody's own.
NAMED_IN_QUERY = {"actor_id": "user", "target_id": "user", "model": ""}


def kind_in_query(name: str) -> str:
    return NAMED_IN_QUERY.get(name, name.removesuffix(ID_IN_BODY))


def described(schema: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """The operations of an OpenAPI schema by (method, path)."""
    return {
        (method, path): operation
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
        if method in METHODS
    }


def body_fields(schema: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any] | None:
    """The fields of an operation's JSON body; None where it takes none."""
    content = operation.get("requestBody", {}).get("content", {})
    if "application/json" not in content:
        return None
    return dict(resolved(schema, content["application/json"]["schema"]).get("properties", {}))


def resolved(schema: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """The part of the schema that is meant: references followed, the first alternative that is not null."""
    while "$ref" in part or "anyOf" in part:
        if "anyOf" in part:
            part = next(option for option in part["anyOf"] if option.get("type") != "null")
        else:
            part = schema["components"]["schemas"][part["$ref"].rpartition("/")[2]]
    return part


def gaps(schema: dict[str, Any], operations: Iterable[Operation] = OPERATIONS) -> list[str]:
    """What the table lacks against a schema, and what it has too much: each a sentence that says what to do."""
    rows = {(row.method, row.path): row for row in operations}
    found = described(schema)
    missing = [
        f'{method.upper()} {path} has no row: add Operation("{method}", "{path}", <who may call it>, ...) to OPERATIONS'
        f" in app/verification/operations.py"
        for method, path in found.keys() - rows.keys()
    ]
    stale = [f"{row.name} has a row but no route: remove the row or mend its path" for row in rows.values()
             if (row.method, row.path) not in found]  # fmt: skip
    unfilled = [
        problem
        for key in found.keys() & rows.keys()
        for problem in _ids_without_kind(rows[key], body_fields(schema, found[key]) or {})
    ]
    return sorted([*missing, *stale, *unfilled])


def _ids_without_kind(row: Operation, fields: dict[str, Any]) -> list[str]:
    problems = [
        f"{row.name} takes `{name}` in its body, which the row's body lacks: add it as `<kind>`"
        for name in fields
        if name.endswith(ID_IN_BODY) and name not in (row.body or {})
    ]
    if "{" in row.path and not row.target:
        problems.append(f"{row.name} takes an id in its path: say with target= what it names")
    return problems
