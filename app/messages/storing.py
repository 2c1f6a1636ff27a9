"""The SQL that stores what is sent: a statement makes it a `pending` message, with the most it may cost as its claim.

What a message has beside its text is written by the same statement, and a plain one costs what it did before there was.
"""

from functools import cache
from typing import Any

from sqlalchemy import BindParameter, Boolean, Interval, String, TextClause, bindparam, text

from app.db.sealing import seals
from app.messages.columns import COLUMNS, NAMES
from app.messages.idempotency import CLAIM_SQL
from app.messages.statements import CACHING, CITATIONS, CLAIM, JSON, LEASE, MODELS, QUEUED, TAG
from app.models.text_places import OF_MESSAGE, REQUEST, WEBHOOK_URL

# `queued`: it waits for a worker, for as long as its lease.
_TO_RUN = {"claim_micro_usd": ":claim", "lease_expires_at": "clock_timestamp() + :lease", "queue_tag": TAG}
# An answer that was kept: the message has ended when it is stored, and claims nothing.
_ANSWERED = {
    "status": "'completed'", "response": ":response", "finish_reason": "'stop'", "model": ":model",
    "input_tokens": "0", "cached_tokens": "0", "output_tokens": "0", "cost_micro_usd": "0", "cached": "true",
    "webhook_due_at": "CASE WHEN CAST(:webhook_url AS text) IS NULL THEN NULL ELSE now() END",
}  # fmt: skip
_SENT = (
    "id", "tenant_id", "user_id", "content", "conversation_id", "webhook_url", "traceparent", "documents", "citations",
)  # fmt: skip
# What has words in it. Who stores them believes that its tenant keeps them, and learns by the same statement that it
# does not: by then they must not have been written, as what is rolled back stays in the log and in the table's pages.
_KEEPS_NOTHING = """EXISTS (
  SELECT FROM tenants WHERE tenants.id = CAST(:tenant_id AS varchar) AND tenants.message_retention_days = 0)"""
_IN_WORDS = {
    "content": "''", "response": "''", "documents": "NULL", "citations": "NULL", "webhook_url": "NULL",
    "metadata": "NULL",
}  # fmt: skip
_OF_TENANT = "(SELECT tenants.event_webhook_url FROM tenants WHERE tenants.id = CAST(:tenant_id AS varchar))"
_FURTHER = ("api", "asked_model", "metadata", "previous_id", "stored", "has_contents")
_DOCUMENTS = bindparam("documents", None, type_=JSON)
_FURTHER_TYPES: tuple[BindParameter[Any], ...] = (
    *(bindparam(name, type_=String) for name in ("api", "asked_model", "previous_id")),
    *(bindparam(name, type_=Boolean) for name in ("stored", "has_contents")),
    *(bindparam(name, type_=JSON) for name in ("metadata", "request")),
)
_KEPT = """, contents AS (
  INSERT INTO message_contents (tenant_id, message_id, request)
  SELECT made.tenant_id, made.id, :request FROM made
  WHERE made.has_contents AND (made.models ->> 2) IS DISTINCT FROM 'true'
)"""


@cache
def storing(*, once: bool, caches: bool, answered: bool, further: bool, told: bool = False) -> TextClause:
    """`once`: with an idempotency key, in the same trip: no row if the key made something before.

    `further`: it has more than a text, or came by another interface. `told`: its tenant hears of its end.
    """
    columns = {name: f":{name}" for name in _SENT} | (_ANSWERED if answered else _TO_RUN)
    if caches and not answered:
        columns["cache_use"] = ":cache_use"
    if further:
        columns |= {name: f":{name}" for name in _FURTHER}
    if told:
        columns["webhook_url"] = _OF_TENANT
        if answered:
            columns["webhook_due_at"] = f"CASE WHEN {_OF_TENANT} IS NULL THEN NULL ELSE now() END"
    if not once:
        # Not now(), when the transaction began: it may have waited for the conversation, and turns are in the order
        # of this.
        columns |= {"created_at": "clock_timestamp()", "updated_at": "clock_timestamp()"}
    columns |= {
        name: f"CASE WHEN {_KEEPS_NOTHING} THEN {nothing} ELSE {columns[name]} END"
        for name, nothing in _IN_WORDS.items()
        if name in columns
    }
    values = ", ".join(columns.values())
    insert = f"""INSERT INTO messages ({", ".join(columns)})
{f"SELECT {values} WHERE EXISTS (SELECT FROM claimed)" if once else f"VALUES ({values})"}
RETURNING {COLUMNS}{MODELS}{CACHING if caches else ""}"""
    before = [f"claimed AS ({CLAIM_SQL})"] if once else []
    if further:
        before.append(f"made AS ({insert}){_KEPT}")
        insert = f"SELECT {NAMES}, models{', caching' if caches else ''} FROM made"
    with_ = f"WITH {', '.join(before)}" if before else ""
    types = _types(columns, once=once, answered=answered, further=further)
    return seals(text(f"{with_} {insert}").bindparams(*types), **OF_MESSAGE, webhook_url=WEBHOOK_URL, request=REQUEST)


def _types(columns: dict[str, str], *, once: bool, answered: bool, further: bool) -> list[BindParameter[Any]]:
    typed: list[BindParameter[Any]] = [bindparam("model", type_=String)] if answered else [LEASE, CLAIM, QUEUED]
    typed += [_DOCUMENTS, CITATIONS]
    if "cache_use" in columns:
        typed.append(bindparam("cache_use", type_=String))
    if further:
        typed += _FURTHER_TYPES
    if once:
        names = ("id", "tenant_id", "user_id", "conversation_id", "resource_id", "traceparent")
        typed += [bindparam("kept_for", type_=Interval), *(bindparam(name, type_=String) for name in names)]
    return typed
