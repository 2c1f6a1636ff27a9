"""The SQL of budgets of days and weeks, and of API keys."""

from sqlalchemy import BigInteger, String, bindparam, text

_BEGINNING = "date_trunc(:period, now() AT TIME ZONE 'UTC')"
_RESETS_AT = f"({_BEGINNING} + CAST('1 ' || :period AS interval)) AT TIME ZONE 'UTC'"
_NOW = f"period_budgets.period = {_BEGINNING}::date"
_SHOWN = f"""
  period_budgets.user_id, :key_id AS api_key_id, period_budgets.period_unit AS period, period_budgets.limit_micro_usd,
  CAST(NULL AS bigint) AS ceiling_micro_usd,
  CASE WHEN {_NOW} THEN period_budgets.spent_micro_usd ELSE 0 END AS spent_micro_usd,
  CASE WHEN {_NOW} THEN period_budgets.reserved_micro_usd ELSE 0 END AS reserved_micro_usd,
  {_RESETS_AT} AS resets_at
"""
_OF_HOLDER = "(:user_id IS NULL OR {table}.user_id = :user_id)"
# What was deleted, and what was embedded, does not say by which key.
_OF_NO_KEY = f"{_OF_HOLDER} AND :line IS NULL"
_OF_MESSAGES = f"{_OF_HOLDER} AND (:line IS NULL OR messages.api_key_line = :line)".format(table="messages")
_SPENT = f"""
  SELECT COALESCE(sum(cost_micro_usd), 0)::bigint FROM (
    SELECT messages.cost_micro_usd FROM messages
    WHERE messages.tenant_id = :tenant_id AND {_OF_MESSAGES}
      AND messages.created_at >= {_BEGINNING} AT TIME ZONE 'UTC'
    UNION ALL
    SELECT deleted_usage.cost_micro_usd FROM deleted_usage
    WHERE deleted_usage.tenant_id = :tenant_id AND {_OF_NO_KEY.format(table="deleted_usage")}
      AND deleted_usage.created_at >= {_BEGINNING} AT TIME ZONE 'UTC'
    UNION ALL
    SELECT embedding_hours.cost_micro_usd FROM embedding_hours
    WHERE embedding_hours.tenant_id = :tenant_id AND {_OF_NO_KEY.format(table="embedding_hours")}
      AND embedding_hours.hour >= {_BEGINNING} AT TIME ZONE 'UTC'
  ) AS costs
"""
_TEXTS = tuple(bindparam(name, type_=String) for name in ("tenant_id", "user_id", "line", "key_id", "period"))
READ = text(f"""
SELECT {_SHOWN} FROM period_budgets
WHERE period_budgets.tenant_id = :tenant_id AND period_budgets.holder = :holder AND period_budgets.period_unit = :period
""").bindparams(*(each for each in _TEXTS if each.key in ("tenant_id", "key_id", "period")))
NONE = text(f"""
SELECT :user_id AS user_id, :key_id AS api_key_id, :period AS period, CAST(NULL AS bigint) AS limit_micro_usd,
  CAST(NULL AS bigint) AS ceiling_micro_usd, ({_SPENT}) AS spent_micro_usd, CAST(0 AS bigint) AS reserved_micro_usd,
  {_RESETS_AT} AS resets_at
""").bindparams(*_TEXTS)
# As the month's: what was spent before counts, and what runs at this moment has its claim.
SET = text(f"""
INSERT INTO period_budgets
  (tenant_id, holder, user_id, period_unit, limit_micro_usd, period, spent_micro_usd, reserved_micro_usd)
VALUES (:tenant_id, :holder, :user_id, :period, :limit, {_BEGINNING}::date, ({_SPENT}), (
  SELECT COALESCE(sum(messages.claim_micro_usd), 0)::bigint FROM messages
  WHERE messages.tenant_id = :tenant_id AND {_OF_MESSAGES}
    AND messages.status = 'pending' AND messages.claimed_at >= {_BEGINNING} AT TIME ZONE 'UTC'
))
ON CONFLICT (tenant_id, holder, period_unit) DO UPDATE
SET limit_micro_usd = excluded.limit_micro_usd, updated_at = now()
WHERE period_budgets.tenant_id = :tenant_id
RETURNING {_SHOWN}
""").bindparams(*_TEXTS, bindparam("limit", type_=BigInteger), bindparam("holder", type_=String))
KEY = text("""
SELECT api_keys.user_id, COALESCE(api_keys.line_id, api_keys.id) AS line FROM api_keys
WHERE api_keys.tenant_id = :tenant_id AND api_keys.id = :key_id
""")
KEEP_KEY = text(f"{KEY.text} FOR KEY SHARE")
# Of a line without a key nobody claims any more.
FORGET = text("""
DELETE FROM period_budgets
WHERE period_budgets.tenant_id = :tenant_id AND period_budgets.holder = :line AND NOT EXISTS (
  SELECT FROM api_keys WHERE api_keys.tenant_id = :tenant_id AND COALESCE(api_keys.line_id, api_keys.id) = :line)
""")
