"""What webhooks are called with: a message that has ended, or a budget that was spent to a threshold."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import Date, Interval, String, TextClause, bindparam, text

from app.db.execution import Connection, Record
from app.messages.columns import WHOLE
from app.models.rows import MessageRow
from app.models.text_places import OF_DUE
from app.services import response_events

BodyOf = Callable[[MessageRow], dict[str, Any]]
# Of a response it is its tenant's, as it is by now: "" leads nowhere, and is given up at once.
_URL = """CASE WHEN messages.api = 'responses' THEN COALESCE((
  SELECT tenants.event_webhook_url FROM tenants WHERE tenants.id = :tenant_id), '')
  ELSE messages.webhook_url END AS webhook_url"""
READ_MESSAGE = text(f"""
SELECT {WHOLE}, {_URL}, messages.webhook_attempts, messages.traceparent FROM messages
WHERE messages.tenant_id = :tenant_id AND messages.id = :id AND messages.webhook_due_at IS NOT NULL
""")
NOTE_MESSAGE = text("""
UPDATE messages SET webhook_attempts = messages.webhook_attempts + 1, webhook_due_at = now() + :pause
WHERE messages.tenant_id = :tenant_id AND messages.id = :id AND messages.attempts = :attempts
  AND messages.webhook_due_at IS NOT NULL
""").bindparams(bindparam("pause", type_=Interval))
_ALERT = """budget_alerts.tenant_id = :tenant_id AND budget_alerts.holder = :holder
  AND budget_alerts.period_unit = :unit AND budget_alerts.period = :period
  AND budget_alerts.threshold = CAST(:threshold AS smallint) AND budget_alerts.due_at IS NOT NULL"""
_TYPES = (bindparam("period", type_=Date), bindparam("threshold", type_=String))
# The URL as above. A key is shown as the last of its line.
READ_ALERT = text(f"""
SELECT budget_alerts.kind, budget_alerts.threshold, budget_alerts.limit_micro_usd, budget_alerts.spent_micro_usd,
  budget_alerts.attempts, COALESCE(tenants.event_webhook_url, '') AS url, keys.id AS api_key_id,
  CASE budget_alerts.kind WHEN 'user' THEN budget_alerts.holder WHEN 'key' THEN keys.user_id END AS user_id,
  (budget_alerts.period + CAST('1 ' || budget_alerts.period_unit AS interval)) AT TIME ZONE 'UTC' AS resets_at
FROM budget_alerts JOIN tenants ON tenants.id = :tenant_id
  LEFT JOIN LATERAL (
    SELECT api_keys.id, api_keys.user_id FROM api_keys
    WHERE api_keys.tenant_id = :tenant_id AND budget_alerts.kind = 'key'
      AND COALESCE(api_keys.line_id, api_keys.id) = budget_alerts.holder
    ORDER BY api_keys.created_at DESC, api_keys.id DESC LIMIT 1
  ) AS keys ON true
WHERE {_ALERT}
""").bindparams(*_TYPES)
NOTE_ALERT = text(f"""
UPDATE budget_alerts SET attempts = budget_alerts.attempts + 1, due_at = now() + :pause, updated_at = now()
WHERE {_ALERT}
""").bindparams(*_TYPES, bindparam("pause", type_=Interval))


class DueMessageRow(MessageRow):
    __slots__ = ()
    text_places = OF_DUE

    webhook_url: str
    webhook_attempts: int
    traceparent: str | None


class DueAlertRow(Record):
    __slots__ = ()

    kind: str
    threshold: int
    limit_micro_usd: int
    spent_micro_usd: int
    attempts: int
    url: str
    api_key_id: str | None
    user_id: str | None
    resets_at: datetime


@dataclass(frozen=True, slots=True)
class Due:
    """A call to be made. `note` counts the attempt and takes `values` and a pause; `told`: of it, in the log."""

    url: str
    event_id: str
    body: bytes
    attempts: int
    traceparent: str | None
    note: TextClause
    values: dict[str, Any]
    told: dict[str, str]


async def read_due(connection: Connection, tenant_id: str, due_id: str, body_of: BodyOf) -> Due | None:
    """As `claim_due_webhooks` names it; None where nothing is due any more. `body_of` renders a message."""
    kind, *names = due_id.split("/")
    if kind == "budget":
        return await _read_alert(connection, tenant_id, names)
    values = {"tenant_id": tenant_id, "id": due_id}
    message = (await connection.execute(READ_MESSAGE, values, DueMessageRow)).one_or_none()
    if message is None:
        return None
    # One for each end of the message: a receiver that has seen it may ignore it.
    event_id = f"{due_id}-{message.attempts}"
    of_response = message.api == response_events.API
    return Due(
        url=message.webhook_url,
        event_id=event_id,
        body=(
            _written_out(response_events.event_of(message, event_id))
            if of_response
            else _event(f"message.{message.status}", body_of(message))
        ),
        attempts=message.webhook_attempts,
        traceparent=message.traceparent,
        note=NOTE_MESSAGE,
        values=values | {"attempts": message.attempts},
        told={"message_id": due_id},
    )


async def _read_alert(connection: Connection, tenant_id: str, names: list[str]) -> Due | None:
    holder, unit, period, threshold = names
    key = {"holder": holder, "unit": unit, "period": date.fromisoformat(period), "threshold": threshold}
    values = {"tenant_id": tenant_id, **key}
    alert = (await connection.execute(READ_ALERT, values, DueAlertRow)).one_or_none()
    if alert is None:
        return None
    body = {
        "budget": alert.kind,
        "user_id": alert.user_id,
        "api_key_id": alert.api_key_id,
        "period": unit,
        "limit_micro_usd": alert.limit_micro_usd,
        "spent_micro_usd": alert.spent_micro_usd,
        "percent": alert.spent_micro_usd * 100 // alert.limit_micro_usd,
        "threshold": alert.threshold,
        "resets_at": _written(alert.resets_at),
    }
    # The same each time, and it does not tell the tenant's id, which lets in where registration is open.
    digest = hashlib.sha256("/".join((tenant_id, *names)).encode()).hexdigest()
    return Due(
        url=alert.url,
        event_id=f"budget-{digest[:32]}",
        body=_event("budget.threshold", body),
        attempts=alert.attempts,
        traceparent=None,
        note=NOTE_ALERT,
        values=values,
        told={"budget": alert.kind, "period": unit, "threshold": threshold},
    )


def _event(kind: str, data: dict[str, Any]) -> bytes:
    return _written_out({"type": kind, "timestamp": _written(datetime.now(UTC)), "data": data})


def _written_out(event: dict[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode()


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
