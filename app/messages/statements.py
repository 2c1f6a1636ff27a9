"""The SQL of a message's life. Each step is one statement, so that no half of it can be stored.

reserve and retry  make the message `pending`, with the most that it may cost as its claim
settle             ends it, with what it cost, and forgets its deltas

The budgets follow by triggers when the transaction commits (`account_message` in the migration): a commit whose claim
does not fit fails as a whole.
"""

from typing import Any

from sqlalchemy import BigInteger, BindParameter, Boolean, Integer, Interval, String, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from app.db.execution import Record
from app.messages.idempotency import CLAIM_SQL
from app.models.rows import MessageRow

COLUMNS = ", ".join(MessageRow.columns())
_LEASE = bindparam("lease", type_=Interval)
_CLAIM = bindparam("claim", type_=BigInteger)
_QUEUED = bindparam("queued", type_=Boolean)
_JSON = JSONB(none_as_null=True)
_DOCUMENTS, _CITATIONS = (bindparam(name, None, type_=_JSON) for name in ("documents", "citations"))

_TAG = "CASE WHEN :queued THEN next_queue_tag() END"
# `queued`: it waits for a worker, for as long as its lease.
_TO_RUN = {"claim_micro_usd": ":claim", "lease_expires_at": "clock_timestamp() + :lease", "queue_tag": _TAG}
# An answer that was kept: the message has ended when it is stored, and claims nothing.
_ANSWERED = {
    "status": "'completed'", "response": ":response", "finish_reason": "'stop'", "model": ":model",
    "input_tokens": "0", "cached_tokens": "0", "output_tokens": "0", "cost_micro_usd": "0", "cached": "true",
    "webhook_due_at": "CASE WHEN CAST(:webhook_url AS text) IS NULL THEN NULL ELSE now() END",
}  # fmt: skip
_SENT = (
    "id", "tenant_id", "user_id", "content", "conversation_id", "webhook_url", "traceparent", "documents", "citations",
)  # fmt: skip
# How the tenant caches, beside the message: no trip of its own.
_CACHING = """, (SELECT json_build_array(tenants.cache_ttl_seconds, tenants.cache_epoch, tenants.message_visibility)
 FROM tenants WHERE tenants.id = :tenant_id) AS caching"""


def _reserve(*, once: bool, caches: bool = False, answered: bool = False) -> TextClause:
    """`once`: with an idempotency key, in the same trip: no row if the key made something before."""
    columns = {name: f":{name}" for name in _SENT} | (_ANSWERED if answered else _TO_RUN)
    if caches and not answered:
        columns["cache_use"] = ":cache_use"
    if not once:
        # Not now(), when the transaction began: it may have waited for the conversation, and turns are in the order
        # of this.
        columns |= {"created_at": "clock_timestamp()", "updated_at": "clock_timestamp()"}
    values = ", ".join(columns.values())
    typed: list[BindParameter[Any]] = [bindparam("model", type_=String)] if answered else [_LEASE, _CLAIM, _QUEUED]
    typed += [_DOCUMENTS, _CITATIONS]
    if "cache_use" in columns:
        typed.append(bindparam("cache_use", type_=String))
    if once:
        names = ("id", "tenant_id", "user_id", "conversation_id", "resource_id", "traceparent")
        typed += [bindparam("kept_for", type_=Interval), *(bindparam(name, type_=String) for name in names)]
    return text(f"""
{f"WITH claimed AS ({CLAIM_SQL})" if once else ""}
INSERT INTO messages ({", ".join(columns)})
{f"SELECT {values} WHERE EXISTS (SELECT FROM claimed)" if once else f"VALUES ({values})"}
RETURNING {COLUMNS}{_CACHING if caches else ""}
""").bindparams(*typed)


RESERVE, RESERVE_ONCE = _reserve(once=False), _reserve(once=True)
RESERVE_CACHING = {once: _reserve(once=once, caches=True) for once in (False, True)}
RESERVE_ANSWERED = {once: _reserve(once=once, caches=True, answered=True) for once in (False, True)}

RETRY = text(f"""
UPDATE messages SET
  status = 'pending', error_code = NULL, finish_reason = NULL, response = '', attempts = messages.attempts + 1,
  cancel_requested = false, claim_micro_usd = :claim, claimed_at = now(),
  lease_expires_at = clock_timestamp() + :lease, queue_tag = {_TAG}, taken_at = NULL, cache_use = NULL,
  citations = :citations,
  updated_at = now(), webhook_due_at = NULL, webhook_attempts = 0, traceparent = :traceparent
WHERE messages.tenant_id = :tenant_id AND messages.id = :id AND messages.status IN ('failed', 'cancelled')
RETURNING {COLUMNS}
""").bindparams(_LEASE, _CLAIM, _QUEUED, _CITATIONS)

# One worker begins it: who comes second finds no row. Nobody does once its tenant is being erased, which may take long.
BEGIN = text(f"""
UPDATE messages SET queue_tag = NULL, lease_expires_at = clock_timestamp() + :lease
WHERE messages.tenant_id = :tenant_id AND messages.id = :id AND messages.attempts = :attempt
  AND messages.status = 'pending' AND messages.queue_tag IS NOT NULL
  AND EXISTS (SELECT FROM tenants WHERE tenants.id = :tenant_id AND tenants.erasing_at IS NULL)
RETURNING {COLUMNS}, claim_micro_usd, traceparent, cache_use{_CACHING},
  (SELECT conversations.system_prompt FROM conversations
   WHERE conversations.tenant_id = :tenant_id AND conversations.id = messages.conversation_id) AS system_prompt
""").bindparams(_LEASE)

CITE = text("""
UPDATE messages SET citations = :citations WHERE messages.tenant_id = :tenant_id AND messages.id = :id
""").bindparams(_CITATIONS)

# Only a pending message can end, and only the run that began it: another may have ended it first. Who asked for the end
# waits for it, perhaps elsewhere; other ends are told with the deltas, because each notification queues the commits.
_END = """
UPDATE messages SET
  status = {status}, error_code = {error_code}, finish_reason = {finish_reason}, response = {response},
  lease_expires_at = NULL, queue_tag = NULL, updated_at = now(),
  model = COALESCE(:model, messages.model),
  input_tokens = {sum_input_tokens}, cached_tokens = {sum_cached_tokens}, output_tokens = {sum_output_tokens},
  cost_micro_usd = {sum_cost_micro_usd}, cached = {cached},
  webhook_due_at = CASE WHEN messages.webhook_url IS NULL THEN NULL ELSE now() END
WHERE messages.tenant_id = :tenant_id AND messages.id = :id AND messages.status = 'pending'
  AND {owned}
"""
_TOLD = f"{COLUMNS}, CASE WHEN cancel_requested THEN pg_notify('llm_saas_messages', id) END"
_END_AND_CLEAR = f"""
WITH ended AS ({{end}} RETURNING {COLUMNS}, cancel_requested), cleared AS (
  DELETE FROM message_deltas WHERE message_deltas.tenant_id = :tenant_id AND message_deltas.message_id = :id
    AND message_deltas.attempt <= {{attempt}}
)
SELECT {_TOLD} FROM ended
"""
# What a column holds: a provider may count as it likes, and the message must end.
_NUMBERS = dict.fromkeys(("input_tokens", "cached_tokens", "output_tokens"), 2**31 - 1) | {"cost_micro_usd": 2**63 - 1}
_TYPES: tuple[BindParameter[Any], ...] = (
    *(bindparam(name, type_=BigInteger if name == "cost_micro_usd" else Integer) for name in _NUMBERS),
    bindparam("model", type_=String),
)


def _end(*, status: str, error_code: str, finish_reason: str, response: str, cached: str, owned: str) -> str:
    # A message that is run again adds to what its earlier runs used.
    sums = {
        f"sum_{name}": f"CASE WHEN :{name} IS NULL THEN messages.{name} ELSE"
        f" LEAST(COALESCE(messages.{name}, 0)::numeric + :{name}, {most}) END"
        for name, most in _NUMBERS.items()
    }
    return _END.format(
        status=status,
        error_code=error_code,
        finish_reason=finish_reason,
        response=response,
        cached=cached,
        owned=owned,
        **sums,
    )


_END_RUN = _end(
    status=":status",
    error_code=":error_code",
    finish_reason=":finish_reason",
    response=":response",
    cached=":cached",
    owned="messages.attempts = :attempt",
)
# A run that did not stream has no deltas, and an earlier one's went with its own end.
SETTLE = text(f"{_END_RUN} RETURNING {_TOLD}").bindparams(*_TYPES)
SETTLE_STREAM = text(_END_AND_CLEAR.format(end=_END_RUN, attempt=":attempt")).bindparams(*_TYPES)
# In the place of a dead process: the text is what that one had written. Or of a worker that never came.
_END_ABANDONED = _end(
    status="CASE WHEN messages.cancel_requested THEN 'cancelled' ELSE 'failed' END",
    error_code="CASE WHEN messages.cancel_requested THEN NULL WHEN messages.queue_tag IS NOT NULL THEN 'not_started'"
    " ELSE 'interrupted' END",
    finish_reason="NULL",
    response="COALESCE((SELECT string_agg(message_deltas.text, '' ORDER BY message_deltas.start) FROM message_deltas"
    " WHERE message_deltas.tenant_id = :tenant_id AND message_deltas.message_id = :id"
    " AND message_deltas.attempt = messages.attempts), '')",
    cached="false",
    owned="messages.lease_expires_at < now()",
)
SETTLE_ABANDONED = text(
    _END_AND_CLEAR.format(end=_END_ABANDONED, attempt="(SELECT ended.attempts FROM ended)")
).bindparams(*_TYPES)

# The other processes hear of it when the transaction commits.
REQUEST_CANCEL = text("""
UPDATE messages SET cancel_requested = true
WHERE messages.tenant_id = :tenant_id AND messages.id = :id AND messages.status = 'pending'
RETURNING pg_notify('llm_saas_messages', 'cancel ' || messages.attempts || ' ' || messages.id),
  queue_tag IS NOT NULL AS waiting
""")
# Nobody has begun it, and who asked for the end holds its row: it ends with the request.
END_WAITING = text(
    _end(
        status="'cancelled'",
        error_code="NULL",
        finish_reason="NULL",
        response="''",
        cached="false",
        owned="messages.queue_tag IS NOT NULL",
    )
    + f"RETURNING {_TOLD}"
).bindparams(*_TYPES)
UNUSED: dict[str, Any] = dict.fromkeys((*_NUMBERS, "model"))
"""The figures of what no provider was asked for here."""

# A message that runs is not deleted under its provider's hands: the row is where its answer goes. Its figures stay.
FIGURES = (
    "id, tenant_id, user_id, model, input_tokens, cached_tokens, output_tokens, cost_micro_usd, cached, created_at"
)
DELETE = text(f"""
WITH gone AS (
  DELETE FROM messages
  WHERE messages.tenant_id = :tenant_id AND messages.id = :id AND messages.status <> 'pending' RETURNING *
), kept AS (
  INSERT INTO deleted_usage ({FIGURES}) SELECT {FIGURES} FROM gone
)
SELECT count(*) FROM gone
""")


class TurnRow(Record):
    """A message of a conversation as its model is sent it."""

    __slots__ = ()

    content: str
    response: str
    status: str


# The newest first, until `bytes` are full: a conversation may hold more than the memory. What the author does not see
# is not for its model either, also where an admin runs the author's message again.
TURNS = text("""
WITH retried AS (
  SELECT messages.created_at, messages.user_id,
         users.role = 'admin' OR tenants.message_visibility = 'tenant' AS sees_all
  FROM messages JOIN users ON users.tenant_id = :tenant_id AND users.id = messages.user_id
    JOIN tenants ON tenants.id = :tenant_id
  WHERE messages.tenant_id = :tenant_id AND messages.id = :before
)
SELECT content, response, status FROM (
  SELECT turns.*, sum(octet_length(content) + octet_length(response)) OVER (ORDER BY created_at DESC, id DESC) AS total
  FROM (
    SELECT id, content, response, status, created_at FROM messages
    WHERE messages.tenant_id = :tenant_id AND messages.conversation_id = :conversation_id
      AND messages.status IN ('completed', 'pending') AND messages.id <> :before
      AND (messages.created_at, messages.id) < (COALESCE((SELECT retried.created_at FROM retried), 'infinity'), :before)
      AND (:own IS NULL OR messages.user_id = :own)
      AND COALESCE((SELECT retried.sees_all OR retried.user_id = messages.user_id FROM retried), true)
    ORDER BY messages.created_at DESC, messages.id DESC LIMIT 200
  ) AS turns
) AS summed
WHERE total <= :bytes OR status = 'pending' ORDER BY created_at DESC, id DESC
""").bindparams(bindparam("own", type_=String))
