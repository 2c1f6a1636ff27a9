"""The SQL of a message's life once it is stored. Each step is one statement, so that no half of it can be stored.

retry   makes the message `pending` again, with the most that it may cost as its claim
settle  ends it, with what it cost, and forgets its deltas

The budgets follow by triggers when the transaction commits (`account_message` in the migration): a commit whose claim
does not fit fails as a whole.
"""

from typing import Any

from sqlalchemy import BigInteger, BindParameter, Boolean, Integer, Interval, String, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from app.core.errors import PreviousGone
from app.db.sealing import seals
from app.messages.columns import BUT_OUTPUT, COLUMNS, NAMES, REQUEST
from app.models.text_places import CITATIONS as CITED
from app.models.text_places import OUTPUT, RESPONSE

LEASE = bindparam("lease", type_=Interval)
CLAIM = bindparam("claim", type_=BigInteger)
QUEUED = bindparam("queued", type_=Boolean)
JSON = JSONB(none_as_null=True)
CITATIONS = bindparam("citations", None, type_=JSON)
TAG = "CASE WHEN :queued THEN next_queue_tag() END"
# How the tenant caches, beside the message: no trip of its own.
CACHING = """, (SELECT json_build_array(tenants.cache_ttl_seconds, tenants.cache_epoch, tenants.message_visibility)
 FROM tenants WHERE tenants.id = :tenant_id) AS caching"""

# Which models the tenant allows, which answers where none is named, and whether nothing is to be kept.
MODELS = """, (SELECT json_build_array(tenants.allowed_models, tenants.default_model,
   tenants.message_retention_days = 0) FROM tenants WHERE tenants.id = :tenant_id) AS models"""

RETRY = seals(
    text(f"""
WITH again AS (
UPDATE messages SET
  status = 'pending', error_code = NULL, finish_reason = NULL, response = '', attempts = messages.attempts + 1,
  cancel_requested = false, claim_micro_usd = :claim, claimed_at = now(),
  lease_expires_at = clock_timestamp() + :lease, queue_tag = {TAG}, taken_at = NULL, cache_use = NULL,
  citations = :citations, asked_model = :asked_model,
  api_key_line = NULLIF(current_setting('app.key_line', true), ''),
  updated_at = now(), webhook_due_at = NULL, webhook_attempts = 0, traceparent = :traceparent
WHERE messages.tenant_id = :tenant_id AND messages.id = :id AND messages.status IN ('failed', 'cancelled')
RETURNING {COLUMNS}
), forgotten AS (
  UPDATE message_contents SET output = NULL FROM again WHERE again.has_contents
    AND message_contents.tenant_id = :tenant_id AND message_contents.message_id = again.id
)
SELECT {NAMES}{MODELS} FROM again
""").bindparams(LEASE, CLAIM, QUEUED, CITATIONS, bindparam("asked_model", type_=String)),
    citations=CITED,
)

# One worker begins it: who comes second finds no row. Nobody does once its tenant is being erased, which may take long.
BEGIN = text(f"""
UPDATE messages SET queue_tag = NULL, lease_expires_at = clock_timestamp() + :lease
WHERE messages.tenant_id = :tenant_id AND messages.id = :id AND messages.attempts = :attempt
  AND messages.status = 'pending' AND messages.queue_tag IS NOT NULL
  AND EXISTS (SELECT FROM tenants WHERE tenants.id = :tenant_id AND tenants.erasing_at IS NULL)
RETURNING {COLUMNS}, {REQUEST} AS request, claim_micro_usd, traceparent, cache_use{CACHING}{MODELS},
  (SELECT conversations.system_prompt FROM conversations
   WHERE conversations.tenant_id = :tenant_id AND conversations.id = messages.conversation_id) AS system_prompt
""").bindparams(LEASE)

CITE = seals(
    text("""
UPDATE messages SET citations = :citations WHERE messages.tenant_id = :tenant_id AND messages.id = :id
""").bindparams(CITATIONS),
    citations=CITED,
)

# Only a pending message can end, and only the run that began it: another may have ended it first. Who asked for the end
# waits for it, perhaps elsewhere; other ends are told with the deltas, because each notification queues the commits.
_END = """
UPDATE messages SET
  status = {status}, error_code = {error_code}, finish_reason = {finish_reason}, response = {response},
  lease_expires_at = NULL, queue_tag = NULL, updated_at = now(),
  model = COALESCE(:model, messages.model), price = COALESCE(:price, messages.price),
  input_tokens = {sum_input_tokens}, cached_tokens = {sum_cached_tokens}, output_tokens = {sum_output_tokens},
  reasoning_tokens = {sum_reasoning_tokens}, cost_micro_usd = {sum_cost_micro_usd}, cached = {cached}{further},
  webhook_due_at = CASE WHEN messages.webhook_url IS NULL THEN NULL ELSE now() END
WHERE messages.tenant_id = :tenant_id AND messages.id = :id AND messages.status = 'pending'
  AND {owned}
"""
_TELL = "CASE WHEN cancel_requested THEN pg_notify('llm_saas_messages', id) END"
_END_AND_CLEAR = f"""
WITH ended AS ({{end}} RETURNING {COLUMNS}, cancel_requested), cleared AS (
  DELETE FROM message_deltas WHERE message_deltas.tenant_id = :tenant_id AND message_deltas.message_id = :id
    AND message_deltas.attempt <= {{attempt}}
)"""
_ENDED = f" SELECT {NAMES}, {_TELL} FROM ended"
# The items of the answer beside the message, as far as they are more than its text.
_END_WITH_OUTPUT = f"""{_END_AND_CLEAR}, kept AS (
  INSERT INTO message_contents (tenant_id, message_id, output) {{output}}
  ON CONFLICT (tenant_id, message_id) DO UPDATE SET output = excluded.output
    WHERE message_contents.tenant_id = :tenant_id
  RETURNING message_contents.output
)
SELECT {BUT_OUTPUT}, (SELECT kept.output FROM kept) AS output, {_TELL} FROM ended
"""
# What a column holds: a provider may count as it likes, and the message must end.
_TOKENS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
_NUMBERS = dict.fromkeys(_TOKENS, 2**31 - 1) | {"cost_micro_usd": 2**63 - 1}
_TYPES: tuple[BindParameter[Any], ...] = (
    *(bindparam(name, type_=BigInteger if name == "cost_micro_usd" else Integer) for name in _NUMBERS),
    bindparam("model", type_=String),
    bindparam("price", type_=JSON),
)


def _end(
    *, status: str, error_code: str, finish_reason: str, response: str, cached: str, owned: str, further: str = ""
) -> str:
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
        further=further,
        **sums,
    )


def _end_of_run(further: str = "") -> str:
    return _end(
        status=":status",
        error_code=":error_code",
        finish_reason=":finish_reason",
        response=":response",
        cached=":cached",
        owned="messages.attempts = :attempt",
        further=further,
    )


# A run that did not stream has no deltas, and an earlier one's went with its own end.
_ANSWER = {"response": RESPONSE, "output": OUTPUT}
SETTLE = seals(text(f"{_end_of_run()} RETURNING {COLUMNS}, {_TELL}").bindparams(*_TYPES), **_ANSWER)
SETTLE_STREAM = seals(
    text(_END_AND_CLEAR.format(end=_end_of_run(), attempt=":attempt") + _ENDED).bindparams(*_TYPES), **_ANSWER
)
SETTLE_OUTPUT = seals(
    text(
        _END_WITH_OUTPUT.format(
            end=_end_of_run(", has_contents = true"),
            attempt=":attempt",
            output="SELECT ended.tenant_id, ended.id, :output FROM ended",
        )
    ).bindparams(*_TYPES, bindparam("output", type_=JSON)),
    **_ANSWER,
)
# In the place of a dead process: what that one had written. Or of a worker that never came.
_DELTAS = """message_deltas WHERE message_deltas.tenant_id = :tenant_id AND message_deltas.message_id = :id
    AND message_deltas.attempt = {attempts}"""
_OF_THE_RUN = _DELTAS.format(attempts="messages.attempts")
_ABANDONED = {
    "status": "CASE WHEN messages.cancel_requested THEN 'cancelled' ELSE 'failed' END",
    "error_code": "CASE WHEN messages.cancel_requested THEN NULL WHEN messages.queue_tag IS NOT NULL"
    " THEN 'not_started' ELSE 'interrupted' END",
    "finish_reason": "NULL",
    "cached": "false",
    "owned": "messages.lease_expires_at < now()",
}
_END_ABANDONED = _end(
    **_ABANDONED,
    response="COALESCE((SELECT string_agg(message_deltas.text, '' ORDER BY message_deltas.start)"
    f" FILTER (WHERE message_deltas.kind IS NULL) FROM {_OF_THE_RUN}), '')",
    further=f", has_contents = CASE WHEN EXISTS (SELECT FROM {_OF_THE_RUN} AND message_deltas.kind IS NOT NULL)"
    " THEN true ELSE messages.has_contents END",
)
# Its pieces: whoever reads them makes items of them (`app.messages.contents`).
_PIECES = f"""SELECT ended.tenant_id, ended.id, written.pieces FROM ended CROSS JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_object('type', 'piece', 'kind', COALESCE(message_deltas.kind, 'text'),
      'number', message_deltas.number, 'text', message_deltas.text) ORDER BY message_deltas.start) AS pieces
    FROM {_DELTAS.format(attempts="ended.attempts")} HAVING bool_or(message_deltas.kind IS NOT NULL)
  ) AS written"""
SETTLE_ABANDONED = text(
    _END_WITH_OUTPUT.format(end=_END_ABANDONED, attempt="(SELECT ended.attempts FROM ended)", output=_PIECES)
).bindparams(*_TYPES)
# The same where what was written is sealed, piece by piece: who ends it has read it (`app.messages.abandoned`).
HOLD_ABANDONED = text("""
SELECT messages.attempts FROM messages WHERE messages.tenant_id = :tenant_id AND messages.id = :id
  AND messages.status = 'pending' AND messages.lease_expires_at < now() FOR UPDATE
""")
_HAS_OUTPUT = "CAST(:output AS jsonb) IS NOT NULL"
SETTLE_ABANDONED_READ = seals(
    text(
        _END_WITH_OUTPUT.format(
            end=_end(
                **_ABANDONED,
                response=":response",
                further=f", has_contents = CASE WHEN {_HAS_OUTPUT} THEN true ELSE messages.has_contents END",
            ),
            attempt="(SELECT ended.attempts FROM ended)",
            output=f"SELECT ended.tenant_id, ended.id, :output FROM ended WHERE {_HAS_OUTPUT}",
        )
    ).bindparams(*_TYPES, bindparam("output", type_=JSON)),
    **_ANSWER,
)

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
    + f"RETURNING {COLUMNS}, {_TELL}"
).bindparams(*_TYPES)
# What it goes on with is no more, so no worker will ever begin it.
END_UNABLE = text(
    _end(
        status="'failed'",
        error_code=f"'{PreviousGone.code}'",
        finish_reason="NULL",
        response="''",
        cached="false",
        owned="messages.queue_tag IS NOT NULL AND messages.attempts = :attempt",
    )
    + f"RETURNING {COLUMNS}"
).bindparams(*_TYPES)
UNUSED: dict[str, Any] = dict.fromkeys((*_NUMBERS, "model", "price"))
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
