"""Ends a message in the place of a dead process where texts are sealed: what that one had written is read for it."""

from typing import Any

from app.core.errors import TextUnreadable
from app.db.execution import Connection
from app.messages.statements import HOLD_ABANDONED, SETTLE_ABANDONED_READ, UNUSED
from app.messages.stream import READ_DELTAS, DeltaRow
from app.models.rows import MessageRow

BEFORE_ALL = -1


async def end_abandoned(connection: Connection, tenant_id: str, message_id: str) -> MessageRow | None:
    """None if it runs, or has ended. Nobody else ends it meanwhile: its row is locked."""
    of = {"tenant_id": tenant_id, "id": message_id}
    held = (await connection.execute(HOLD_ABANDONED, of)).one_or_none()
    if held is None:
        return None
    values = {**of, "attempt": held.attempts, "offset": BEFORE_ALL}
    try:
        rows = (await connection.execute(READ_DELTAS, values, DeltaRow)).all()
    except TextUnreadable:
        rows = []
    written: dict[str, Any] = {"response": "".join(row.text for row in rows if row.kind == "text"), "output": None}
    if any(row.kind != "text" for row in rows):
        written["output"] = [
            {"type": "piece", "kind": row.kind, "number": row.number, "text": row.text} for row in rows
        ]
    return (await connection.execute(SETTLE_ABANDONED_READ, {**of, **UNUSED, **written}, MessageRow)).one_or_none()
