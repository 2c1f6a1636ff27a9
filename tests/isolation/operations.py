"""Every operation of the interface: who may call it, with what, and what each kind of caller gets.

`test_every_operation.py` walks the OpenAPI schema and calls each operation as its row says; `python -m soak` makes its
requests from the same rows. A new route needs a row here, and nothing else.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

ID_IN_BODY = "_id"
METHODS = {"get", "put", "post", "patch", "delete", "options", "head", "trace"}


class Access(Enum):
    OPEN = "anyone, logged in or not"
    MEMBER = "every user of the tenant"
    OWNER = "who made the thing, and admins"
    ADMIN = "admins"


READ, WRITE, ADMIN_SCOPE, SESSION = "messages:read", "messages:write", "admin", "a session"


@dataclass(frozen=True)
class Operation:
    """One operation.

    ok       what a caller who may gets for a thing of the own tenant
    target   what `{id}` in the path names: a kind of `resources.py`; another tenant's is 403 for `tenant`, else 404.
             Of a thing within another it is both ids, with a slash between them
    body     a valid body; `<kind>` stands for the id of such a thing, `<email>` and `<name>` for ones not taken
    form     the body goes as a form
    query    what must stand in the query, written as a body
    differs  each answer tells of the calls before it: no two are the same
    foreign_in_body  what another tenant's id in the body gives
    scope    what an API key needs: a scope, "" (any key; for admins: ADMIN_SCOPE), SESSION (no key will do)
    answers  exceptions: kind of caller (`callers.py`) -> status
    named    the path has a name that each tenant may have, and no id: another tenant's is not told apart from the own
    ends     what a call that succeeds takes from the caller ("session", "tenant"): each gets a tenant of its own
    """

    method: str
    path: str
    access: Access
    ok: int = 200
    target: str = ""
    body: dict[str, Any] | None = None
    form: bool = False
    query: dict[str, str] = field(default_factory=dict)
    differs: bool = False
    foreign_in_body: int = 404
    scope: str = ""
    answers: dict[str, int] = field(default_factory=dict)
    ends: str = ""
    named: bool = False

    @property
    def name(self) -> str:
        return f"{self.method.upper()} {self.path}"

    def path_to(self, target: str) -> str:
        if "{item_id}" not in self.path:
            return self.path.replace("{id}", target).replace("{name}", target)
        outer, _, inner = target.partition("/")
        return self.path.replace("{id}", outer).replace("{item_id}", inner or outer)

    @property
    def is_ours(self) -> bool:
        """Or that of another protocol: an unknown field is passed over there, and errors have its shape."""
        return not self.path.startswith("/v1/")

    @property
    def foreign(self) -> int:
        """What another tenant's id in the path gives, and one that nobody has."""
        return 403 if self.target == "tenant" else 404

    @property
    def ids_in_body(self) -> list[str]:
        return [name for name in self.body or {} if name.endswith(ID_IN_BODY)]

    def filled(self, value_of: Callable[[str], Any]) -> dict[str, Any] | None:
        """The body with each `<kind>` replaced."""
        filled: dict[str, Any] | None = _filled(self.body, value_of)
        return filled


def _filled(value: Any, value_of: Callable[[str], Any]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(item, value_of) for name, item in value.items()}
    if isinstance(value, str) and value.startswith("<") and value.endswith(">"):
        return value_of(value[1:-1])
    return value


PASSWORD = "correct horse battery"
LIMIT = {"limit_micro_usd": 10**12}
CHAT = {"model": "mock-echo", "messages": [{"role": "user", "content": "Hello"}]}
OPEN, MEMBER, OWNER, ADMIN = Access

OPERATIONS = (
    Operation("get", "/health", OPEN),
    Operation("get", "/health/ready", OPEN),
    Operation("get", "/.well-known/jwks.json", OPEN),
    Operation(
        "post",
        "/create-tenant",
        OPEN,
        201,
        body={"name": "<name>", "admin": {"email": "<email>", "password": PASSWORD}},
    ),
    Operation("post", "/register", OPEN, 201, body={"email": "<email>", "password": PASSWORD, "tenant_id": "<tenant>"}),
    Operation("post", "/login", OPEN, body={"email": "<login>", "password": PASSWORD}),
    Operation("post", "/token", OPEN, body={"username": "<login>", "password": PASSWORD}, form=True),
    Operation("post", "/refresh", OPEN, body={"refresh_token": "<refresh_token>"}),
    # What a key cannot do is refused before anybody asks whether it holds.
    Operation("post", "/logout", MEMBER, 204, body={}, scope=SESSION, ends="session", answers={"revoked_key": 403}),
    Operation("get", "/me", MEMBER),
    Operation(
        "put",
        "/me/password",
        MEMBER,
        204,
        body={"current_password": PASSWORD, "new_password": f"{PASSWORD}!"},
        scope=SESSION,
        ends="session",
    ),
    Operation("post", "/api-keys", MEMBER, 201, body={"name": "nightly", "scopes": [READ]}, scope=SESSION),
    Operation("get", "/api-keys", MEMBER, scope=SESSION),
    Operation("delete", "/api-keys/{id}", OWNER, 204, target="api_key", scope=SESSION, answers={"colleague": 404}),
    Operation(
        "post",
        "/api-keys/{id}/rotate",
        OWNER,
        201,
        target="key_of_admin",
        body={"overlap_seconds": 60},
        scope=SESSION,
        answers={"user": 404, "colleague": 404},  # its own alone: who has the secret acts as the key's user
    ),
    Operation(
        "post",
        "/messages",
        MEMBER,
        201,
        body={"content": "Hello", "conversation_id": "<conversation>"},
        scope=WRITE,
        answers={"colleague": 403},  # the conversation is another's
    ),
    Operation("get", "/messages", MEMBER, scope=READ),
    Operation("get", "/messages/{id}", MEMBER, target="message", scope=READ),
    Operation("get", "/messages/{id}/stream", MEMBER, target="message", scope=READ),
    Operation("post", "/messages/{id}/cancel", OWNER, target="running_message", scope=WRITE),
    Operation("post", "/messages/{id}/retry", OWNER, target="failed_message", body={}, scope=WRITE),
    Operation("delete", "/messages/{id}", OWNER, 204, target="message", scope=WRITE),
    Operation("post", "/conversations", MEMBER, 201, body={"title": "Talk", "system_prompt": "Be brief."}, scope=WRITE),
    Operation("get", "/conversations", MEMBER, scope=READ),
    Operation("get", "/conversations/{id}", MEMBER, target="conversation", scope=READ),
    Operation("patch", "/conversations/{id}", OWNER, target="conversation", body={"title": "New"}, scope=WRITE),
    Operation("delete", "/conversations/{id}", OWNER, 204, target="conversation", scope=WRITE),
    Operation(
        "post",
        "/v1/responses",
        MEMBER,
        body={"input": "Hello", "previous_response_id": "<response>"},
        scope=WRITE,
        foreign_in_body=400,
    ),
    Operation("post", "/v1/responses/input_tokens", MEMBER, body={"input": "Hello"}, scope=WRITE),
    Operation("get", "/v1/responses/{id}", MEMBER, target="response", scope=READ),
    Operation("delete", "/v1/responses/{id}", OWNER, target="response", scope=WRITE),
    Operation("post", "/v1/responses/{id}/cancel", OWNER, target="running_response", scope=WRITE),
    Operation("get", "/v1/responses/{id}/input_items", MEMBER, target="response", scope=READ),
    Operation("post", "/v1/conversations", MEMBER, body={"metadata": {"topic": "Talk"}}, scope=WRITE),
    Operation("get", "/v1/conversations/{id}", MEMBER, target="conversation_of_responses", scope=READ),
    Operation(
        "post",
        "/v1/conversations/{id}",
        OWNER,
        target="conversation_of_responses",
        body={"metadata": {"topic": "New"}},
        scope=WRITE,
    ),
    Operation("delete", "/v1/conversations/{id}", OWNER, target="conversation_of_responses", scope=WRITE),
    Operation("get", "/v1/conversations/{id}/items", MEMBER, target="conversation_of_responses", scope=READ),
    Operation("get", "/v1/conversations/{id}/items/{item_id}", MEMBER, target="conversation_item", scope=READ),
    Operation("post", "/search", MEMBER, body={"query": "Hello"}, scope=READ),
    Operation("post", "/documents", MEMBER, 202, body={"name": "<name>", "text": "Machines."}, scope=WRITE),
    Operation("get", "/documents", MEMBER, scope=READ),
    Operation("get", "/documents/{id}", MEMBER, target="document", scope=READ),
    Operation("get", "/documents/{id}/content", MEMBER, target="read_document", scope=READ),
    Operation("delete", "/documents/{id}", OWNER, 204, target="document", scope=WRITE),
    Operation("get", "/collections", MEMBER, scope=READ),
    Operation("post", "/v1/chat/completions", MEMBER, body=CHAT, scope=WRITE),
    Operation("get", "/v1/chat/completions", MEMBER, scope=READ),
    Operation("get", "/v1/chat/completions/{id}", MEMBER, target="chat_completion", scope=READ),
    Operation("get", "/v1/chat/completions/{id}/messages", MEMBER, target="chat_completion", scope=READ),
    Operation(
        "post",
        "/v1/chat/completions/{id}",
        OWNER,
        target="chat_completion",
        body={"metadata": {"of": "x"}},
        scope=WRITE,
        answers={"key_to_write": 403},  # it shows what was stored
    ),
    Operation("delete", "/v1/chat/completions/{id}", OWNER, target="chat_completion", scope=WRITE),
    Operation("get", "/v1/models", MEMBER),
    Operation("get", "/v1/models/{id}", MEMBER, target="model", named=True),
    Operation("post", "/v1/messages", MEMBER, body={**CHAT, "max_tokens": 50}, scope=WRITE),
    Operation("post", "/v1/messages/count_tokens", MEMBER, body=CHAT, scope=WRITE),
    Operation("post", "/v1/embeddings", MEMBER, body={"input": "Hello"}, scope=WRITE),
    Operation("get", "/models", MEMBER, scope=READ),
    Operation("get", "/models/{id}", MEMBER, target="model", scope=READ, named=True),
    Operation("get", "/usage", ADMIN),
    Operation("get", "/admin/budget", ADMIN),
    Operation("put", "/admin/budget", ADMIN, body=LIMIT, scope=SESSION),
    Operation("get", "/admin/users/{id}/budget", ADMIN, target="user"),
    Operation("put", "/admin/users/{id}/budget", ADMIN, target="user", body=LIMIT, scope=SESSION),
    Operation("get", "/admin/api-keys/{id}/budget", ADMIN, target="api_key"),
    Operation("put", "/admin/api-keys/{id}/budget", ADMIN, target="api_key", body=LIMIT, scope=SESSION),
    Operation("get", "/admin/webhook-secret", ADMIN, scope=SESSION),
    Operation("post", "/admin/webhook-secret", ADMIN, scope=SESSION),
    Operation("get", "/admin/providers", ADMIN),
    Operation("get", "/admin/providers/{name}", ADMIN, target="provider_key", named=True),
    Operation(
        "put",
        "/admin/providers/{name}",
        ADMIN,
        target="provider_key",
        body={"api_key": "sk-<not-real>"},
        query={"test": "<no>"},
        scope=SESSION,
        named=True,
    ),
    Operation("delete", "/admin/providers/{name}", ADMIN, 204, target="doomed_provider_key", scope=SESSION, named=True),
    Operation(
        "post",
        "/admin/users",
        ADMIN,
        201,
        body={"email": "<email>", "password": PASSWORD, "role": "user"},
        scope=SESSION,
    ),
    Operation(
        "patch", "/admin/users/{id}", ADMIN, target="user", body={"role": "admin", "disabled": True}, scope=SESSION
    ),
    Operation("delete", "/admin/users/{id}", ADMIN, 204, target="user", scope=SESSION),
    Operation("post", "/admin/invites", ADMIN, 201, body={"email": "<email>"}, scope=SESSION),
    Operation("get", "/admin/invites", ADMIN, scope=SESSION),
    Operation("delete", "/admin/invites/{id}", ADMIN, 204, target="invite", scope=SESSION),
    Operation("get", "/admin/audit-log", ADMIN),
    Operation("get", "/tenants/{id}", MEMBER, target="tenant"),
    Operation("patch", "/tenants/{id}", ADMIN, target="tenant", body={"name": "<name>"}, scope=SESSION),
    Operation(
        "delete",
        "/tenants/{id}",
        ADMIN,
        204,
        target="tenant",
        query={"name": "<tenant_name>"},
        ends="tenant",
        scope=SESSION,
    ),
    Operation("get", "/tenants/{id}/export", ADMIN, target="tenant", differs=True, scope=SESSION),
    Operation("get", "/tenants/{id}/users", ADMIN, target="tenant"),
)
# What a parameter of a query names, where its name does not say it.
NAMED_IN_QUERY = {"actor_id": "user", "target_id": "user"}


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
        f" in tests/isolation/operations.py"
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
