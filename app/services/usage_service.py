"""What a tenant used: messages, tokens and cost, by day, user or model, or by day and model.

Days that are over are added up once; what lies beside them is counted from the messages. What was embedded counts in
the hour that it began in.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import structlog
from sqlalchemy import BindParameter, Date, DateTime, TextClause, bindparam, text

from app.core.errors import DatabaseUnavailable
from app.db.session import TenantSession
from app.models.rows import UsageRow

Grouping = Literal["day", "user", "model", "day,model"]

ADD_UP = text("SELECT add_up_usage()")
ENDS = text("SELECT usage_ends.day FROM usage_ends WHERE usage_ends.tenant_id = :tenant_id")
_KEYS: dict[Grouping, str] = {
    "day": "to_char(used.day, 'YYYY-MM-DD')",
    "user": "NULLIF(used.user_id, '')",
    "model": "NULLIF(used.model, '')",
}
_KEYS["day,model"] = _KEYS["day"]
_MODELS: dict[Grouping, str] = {"day,model": _KEYS["model"]}
_TOKENS_AND_COST = ("input_tokens", "cached_tokens", "output_tokens", "cost_micro_usd")
_SUMS = (*_TOKENS_AND_COST, "cache_hits")
_EMBEDDING = ("embedding_tokens", "embedding_cost_micro_usd")
_COUNTED = (
    f"(created_at AT TIME ZONE 'UTC')::date AS day, user_id, model, 1 AS messages, {', '.join(_TOKENS_AND_COST)},"
    " cached::int AS cache_hits, 0, 0"
)
# Also of deleted messages: what was used stays used.
_USAGE = """
SELECT {key} AS key, {model} AS model, sum(used.messages)::bigint AS messages, {sums}
FROM (
  SELECT day, user_id, model, messages, {columns}, 0 AS embedding_tokens, 0 AS embedding_cost_micro_usd FROM usage_days
  WHERE usage_days.tenant_id = :tenant_id AND usage_days.day >= :first_day AND usage_days.day < :end_day
  {counted}
  UNION ALL SELECT (hour AT TIME ZONE 'UTC')::date AS day, user_id, model, 0 AS messages, 0, 0, 0, cost_micro_usd, 0,
    tokens, cost_micro_usd FROM embedding_hours
  WHERE embedding_hours.tenant_id = :tenant_id AND embedding_hours.hour >= :since AND embedding_hours.hour < :until
    AND (embedding_hours.tokens, embedding_hours.cost_micro_usd) <> (0, 0)
) AS used
GROUP BY 1, 2 ORDER BY 1, 2
"""
_BRANCH = """UNION ALL SELECT {columns} FROM {table}
  WHERE {table}.tenant_id = :tenant_id AND {table}.created_at >= :{since} AND {table}.created_at < :{until}"""
# Before the days that are added up, and after them.
_PARTS = (("since", "before"), ("after", "until"))
_TYPES: tuple[BindParameter[Any], ...] = (
    *(bindparam(name, type_=Date) for name in ("first_day", "end_day")),
    *(bindparam(name, type_=DateTime(timezone=True)) for part in _PARTS for name in part),
)
LONG_AGO = date(1970, 1, 1)
logger = structlog.get_logger()


def _statement(grouping: Grouping) -> TextClause:
    counted = "\n  ".join(
        _BRANCH.format(columns=_COUNTED, table=table, since=since, until=until)
        for since, until in _PARTS
        for table in ("messages", "deleted_usage")
    )
    sums = ", ".join(f"COALESCE(sum(used.{name}), 0)::bigint AS {name}" for name in (*_SUMS, *_EMBEDDING))
    key, model = _KEYS[grouping], _MODELS.get(grouping, "NULL::text")
    sql = _USAGE.format(key=key, model=model, sums=sums, columns=", ".join(_SUMS), counted=counted)
    return text(sql).bindparams(*_TYPES)


STATEMENTS: dict[Grouping, TextClause] = {grouping: _statement(grouping) for grouping in _KEYS}


class UsageService:
    """Usage of the caller's tenant."""

    def __init__(self, db: TenantSession) -> None:
        self._db = db

    async def usage(self, since: datetime, until: datetime, grouping: Grouping) -> Sequence[UsageRow]:
        """Totals of the messages sent from `since` to before `until`, by `key` (and `model`), in its order."""
        await self._add_up()
        values = {"tenant_id": self._db.principal.tenant_id}
        async with self._db.read() as connection:
            ends: date | None = (await connection.execute(ENDS, values)).scalar_one_or_none()
            values |= parts(since, until, ends or LONG_AGO)
            return (await connection.execute(STATEMENTS[grouping], values, UsageRow)).all()

    async def _add_up(self) -> None:
        """What it cannot add up now is counted."""
        more = True
        while more:
            try:
                async with self._db.begin() as connection:
                    more = (await connection.execute(ADD_UP)).scalar_one()
            except DatabaseUnavailable:
                logger.warning("usage_not_added_up", tenant_id=self._db.principal.tenant_id)
                return


def parts(since: datetime, until: datetime, ends: date) -> dict[str, Any]:
    """The whole days of a time that are added up, `ends` being the first one that is not; and what lies beside them."""
    since, until = since.astimezone(UTC), until.astimezone(UTC)
    first_day, end_day = (since - timedelta(microseconds=1)).date() + timedelta(days=1), min(until.date(), ends)
    if first_day >= end_day:
        first_day = end_day = LONG_AGO
        before = after = until
    else:
        before, after = _midnight(first_day), _midnight(end_day)
    return {
        "first_day": first_day, "end_day": end_day, "since": since, "before": before, "after": after, "until": until,
    }  # fmt: skip


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
