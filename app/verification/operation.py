"""What a row of the table of operations says: who may call one, with what, and what each kind of caller gets."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

ID_IN_BODY = "_id"


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
