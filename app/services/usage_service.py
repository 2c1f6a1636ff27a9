"""What a tenant used: messages, tokens and cost, by day, user or model."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Row, TextClause, text

from app.db.session import TenantSession

Grouping = Literal["day", "user", "model"]

_KEYS: dict[Grouping, str] = {
    "day": "to_char(used.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
    "user": "used.user_id",
    "model": "used.model",
}
_COLUMNS = "created_at, user_id, model, input_tokens, cached_tokens, output_tokens, cost_micro_usd"
# Also of deleted messages: what was used stays used.
_USAGE = """
SELECT {key} AS key, count(*) AS messages,
       COALESCE(sum(used.input_tokens), 0)::bigint AS input_tokens,
       COALESCE(sum(used.cached_tokens), 0)::bigint AS cached_tokens,
       COALESCE(sum(used.output_tokens), 0)::bigint AS output_tokens,
       COALESCE(sum(used.cost_micro_usd), 0)::bigint AS cost_micro_usd
FROM (
  SELECT {columns} FROM messages
  WHERE messages.tenant_id = :tenant_id AND messages.created_at >= :since AND messages.created_at < :until
  UNION ALL
  SELECT {columns} FROM deleted_usage
  WHERE deleted_usage.tenant_id = :tenant_id AND deleted_usage.created_at >= :since
    AND deleted_usage.created_at < :until
) AS used
GROUP BY 1 ORDER BY 1
"""
STATEMENTS: dict[Grouping, TextClause] = {
    grouping: text(_USAGE.format(key=key, columns=_COLUMNS)) for grouping, key in _KEYS.items()
}


class UsageService:
    """Usage of the caller's tenant."""

    def __init__(self, db: TenantSession) -> None:
        self._db = db

    async def usage(self, since: datetime, until: datetime, grouping: Grouping) -> Sequence[Row[Any]]:
        """Totals of the messages sent from `since` to before `until`, by `key`, in its order."""
        values = {"tenant_id": self._db.principal.tenant_id, "since": since, "until": until}
        async with self._db.begin() as connection:
            return (await connection.execute(STATEMENTS[grouping], values)).all()
