"""The ledger's side: what messages used, deleted ones too, by the day that they were sent on and the provider's model.

No id of a provider's is kept of a call. What a message used over several runs stands on it as one sum.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import asyncpg

# `model` is what the provider calls it, where a price tells; else the public name, which callers map.
_USED = """
SELECT m.id, m.tenant_id, (m.created_at AT TIME ZONE 'UTC')::date AS day,
  COALESCE(m.price->>'model', m.model, m.asked_model, '') AS model, m.input_tokens, m.cached_tokens, m.output_tokens,
  m.cost_micro_usd, m.attempts, m.status, m.error_code, m.cached,
  (m.updated_at AT TIME ZONE 'UTC')::date > (m.created_at AT TIME ZONE 'UTC')::date AS ended_later, false AS deleted,
  false AS embedded
FROM messages m WHERE m.created_at >= $1 AND m.created_at < $2
UNION ALL
SELECT d.id, d.tenant_id, (d.created_at AT TIME ZONE 'UTC')::date, COALESCE(d.model, ''), d.input_tokens,
  d.cached_tokens, d.output_tokens, d.cost_micro_usd, 1, 'completed', NULL, d.cached, false, true, false
FROM deleted_usage d WHERE d.created_at >= $1 AND d.created_at < $2
UNION ALL
SELECT '', e.tenant_id, (e.hour AT TIME ZONE 'UTC')::date, e.model, e.tokens, 0, 0, e.cost_micro_usd, 1, 'completed',
  NULL, false, false, false, true
FROM embedding_hours e WHERE e.hour >= $1 AND e.hour < $2 AND (e.tokens, e.cost_micro_usd) <> (0, 0)
"""
_OF_TENANTS = "($3::text[] IS NULL OR used.tenant_id = ANY ($3)) AND used.tenant_id <> ALL ($4::text[])"
# An answer that was kept of an earlier call cost nobody anything.
_ASKED = "NOT (used.cached AND used.attempts = 1)"
_COUNTED = "used.input_tokens IS NOT NULL AND used.output_tokens IS NOT NULL"
_REASONS = {
    "uncounted": f"used.cost_micro_usd > 0 AND NOT ({_COUNTED})",
    "ended_early": f"used.status IN ('failed', 'cancelled') AND used.cost_micro_usd > 0 AND {_COUNTED}",
    "free": "used.status IN ('failed', 'cancelled') AND COALESCE(used.cost_micro_usd, 0) = 0",
    "again": "used.attempts > 1",
    "ended_later": "used.ended_later AND used.attempts = 1",
    "deleted": "used.deleted",
    "pending": "used.status = 'pending'",
    "unpriced": f"used.cost_micro_usd IS NULL AND ({_COUNTED})",
    "kept": "used.cached",
}
SUMS = f"""
SELECT used.day, used.model, count(*) FILTER (WHERE {_ASKED} AND NOT used.embedded) AS messages,
  {
    ", ".join(
        f"COALESCE(sum(used.{name}) FILTER (WHERE {_ASKED}), 0)::bigint AS {name}"
        for name in ("input_tokens", "cached_tokens", "output_tokens", "cost_micro_usd")
    )
},
  {
    ", ".join(
        f"count(*) FILTER (WHERE {condition}) AS {name},"
        f" COALESCE(sum(used.cost_micro_usd) FILTER (WHERE {condition}), 0)::bigint AS {name}_micro_usd"
        for name, condition in _REASONS.items()
    )
}
FROM ({_USED}) AS used WHERE {_OF_TENANTS} GROUP BY used.day, used.model
"""
MESSAGES = f"""
SELECT used.* FROM ({_USED}) AS used
WHERE {_OF_TENANTS} AND used.model = ANY ($5::text[]) AND {_ASKED} AND NOT used.embedded
ORDER BY used.id LIMIT $6
"""
OWN_KEYS = "SELECT count(DISTINCT tenant_id) FROM provider_keys"
ERASED = "SELECT count(*) FROM erased_tenants WHERE erased_at >= $1"
MOST_MESSAGES = 100_000


@dataclass(slots=True)
class Used:
    """Of one model on one day. `reasons`: how many messages, and their cost, of each kind that may explain more."""

    names: set[str] = field(default_factory=set)
    messages: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost_micro_usd: int = 0
    reasons: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, row: asyncpg.Record) -> None:
        self.names.add(row["model"])
        for name in ("messages", "input_tokens", "cached_tokens", "output_tokens", "cost_micro_usd"):
            setattr(self, name, getattr(self, name) + row[name])
        for name in _REASONS:
            count, cost = self.reasons.get(name, (0, 0))
            self.reasons[name] = count + row[name], cost + row[f"{name}_micro_usd"]


@dataclass(frozen=True, slots=True)
class Scope:
    """Whole days, in UTC, the last one included. `tenants` None: all."""

    first: date
    last: date
    tenants: Sequence[str] | None = None
    but: Sequence[str] = ()

    @property
    def arguments(self) -> tuple[Any, ...]:
        return _midnight(self.first), _midnight(self.last + timedelta(days=1)), self.tenants, list(self.but)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


async def rows_of(connection: asyncpg.Connection, scope: Scope) -> list[asyncpg.Record]:
    """By day and model; `connection` is of a login that row-level security does not hold."""
    found: list[asyncpg.Record] = await connection.fetch(SUMS, *scope.arguments)
    return found


async def messages_of(connection: asyncpg.Connection, scope: Scope, models: Sequence[str]) -> list[asyncpg.Record]:
    found: list[asyncpg.Record] = await connection.fetch(MESSAGES, *scope.arguments, list(models), MOST_MESSAGES)
    return found
