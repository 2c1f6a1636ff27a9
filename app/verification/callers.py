"""The kinds of callers, and what the table of operations means for each."""

from app.verification.operation import ADMIN_SCOPE, READ, WRITE, Access, Operation

# They hold an admin's token (or key): so that what refuses them is the database, not the role in the token.
LOST = ("deleted", "demoted", "disabled", "logged_out", "with_an_old_password", "revoked_key")
KEY_SCOPES = {"key_to_read": [READ], "key_to_write": [WRITE], "key_with_all": [READ, WRITE, ADMIN_SCOPE]}


def status_for(kind: str, operation: Operation) -> int:
    """What the table promises to this kind of caller, for a thing of the caller's own tenant."""
    if kind in operation.answers:
        return operation.answers[kind]
    if operation.access is Access.OPEN:
        return operation.ok
    if kind == "anonymous":
        return 401
    if kind in LOST:
        return 401
    return operation.ok if _may(kind, operation) else 403


def _may(kind: str, operation: Operation) -> bool:
    if kind in KEY_SCOPES:
        needed = operation.scope or (ADMIN_SCOPE if operation.access is Access.ADMIN else "")
        return not needed or needed in KEY_SCOPES[kind]
    allowed = {
        "admin": set(Access),
        "user": {Access.MEMBER, Access.OWNER},
        "colleague": {Access.MEMBER},
    }[kind]
    return operation.access in allowed
