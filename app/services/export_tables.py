"""What an export holds: each table of the tenant, its columns, and the statements that read it page by page.

Columns are listed, so that a new one stays inside until somebody has decided; a test asks for the decision.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from sqlalchemy import Column, DateTime, Table, Text, TextClause, bindparam, text

from app import models
from app.core.lines import one_line
from app.db.execution import Connection, Record
from app.services.exported_texts import in_plain

PAGE_ROWS = 500
# Of long texts. A page ends with the row that reaches it, so it holds one at least.
PAGE_BYTES = 1024 * 1024
NEWEST_FIRST = ("created_at", "id")
UTC_TIME = r'YYYY-MM-DD"T"HH24\:MI\:SS.US"Z"'  # a bare colon would begin a parameter


class ExportedLine(Record):
    """A line of JSON; the columns of the table's key stand beside it."""

    __slots__ = ()

    line: str


@dataclass(frozen=True, slots=True)
class ExportedTable:
    """`key` orders the rows: unique in the tenant, led by an index. Pages go from the highest down: what is added
    meanwhile lies behind the reader, so it comes to an end.
    """

    type: str
    table: Table
    columns: tuple[str, ...]
    key: tuple[str, ...] = NEWEST_FIRST
    weighty: tuple[str, ...] = ()
    """Columns of JSON that may be as long as texts are."""
    first_page: TextClause = field(init=False)
    next_page: TextClause = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "first_page", _statement(self, further=False))
        object.__setattr__(self, "next_page", _statement(self, further=True))

    @property
    def long(self) -> tuple[str, ...]:
        """The columns of unbounded text."""
        return tuple(name for name in self.columns if isinstance(self.table.c[name].type, Text)) + self.weighty

    async def page(self, connection: Connection, tenant_id: str, after: ExportedLine | None) -> Sequence[ExportedLine]:
        """The rows after one of the page before it; None: the first."""
        values, statement = {"tenant_id": tenant_id}, self.first_page
        if after is not None:
            statement = self.next_page
            values |= {column: getattr(after, column) for column in self.key}
        rows = (await connection.execute(statement, values, ExportedLine)).all()
        if connection.texts is None:
            return rows
        lines = await in_plain(connection, tenant_id, self.table.name, [row.line for row in rows])
        return [type(row)((line, *row[1:])) for row, line in zip(rows, lines, strict=True)]

    def is_last(self, page: Sequence[ExportedLine]) -> bool:
        """Whether none can follow. One that was cut for its bytes may have a next one, however few its rows are."""
        return not self.long and len(page) < PAGE_ROWS


def _statement(exported: ExportedTable, *, further: bool) -> TextClause:
    """SQL that gives a line of JSON, and the key, for each row of a page.

    PostgreSQL writes the JSON: the event loop has better to do than to take rows apart and write them again.
    """
    table, key = exported.table, exported.key
    name, tenant = table.name, "id" if table.name == "tenants" else "tenant_id"
    newest_first = ", ".join(f"{column} DESC" for column in key)
    after = f"AND ({_each(f'{name}.{{}}', key)}) < ({_each(':{}', key)})" if further else ""
    rows = (
        f"SELECT {_each(f'{name}.{{}}', exported.columns)} FROM {name}"
        f" WHERE {name}.{tenant} = :tenant_id {after} ORDER BY {newest_first} LIMIT {PAGE_ROWS}"
    )
    bounded = ""
    if exported.long:
        # PostgreSQL knows the size of a stored text without reading it, and what a JSON takes up.
        size = " + ".join(
            f"COALESCE({'pg_column_size' if column in exported.weighty else 'octet_length'}({column}), 0)"
            for column in exported.long
        )
        before = f"sum({size}) OVER (ORDER BY {newest_first} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
        rows = f"SELECT *, COALESCE({before}, 0) AS bytes_before FROM ({rows}) AS found"
        bounded = f"WHERE page.bytes_before < {PAGE_BYTES}"
    shown = ", ".join(_shown(table.c[column]) for column in exported.columns)
    sql = (
        f"SELECT row_to_json(line)::text AS line, {_each('page.{}', key)} FROM ({rows}) AS page"
        f" CROSS JOIN LATERAL (SELECT '{exported.type}' AS type, {shown}) AS line {bounded}"
        f" ORDER BY {_each('page.{} DESC', key)}"
    )
    return text(sql).bindparams(*(bindparam(column, type_=table.c[column].type) for column in key if further))


def lines_of(page: Sequence[ExportedLine]) -> bytes:
    return one_line("".join(f"{row.line}\n" for row in page)).encode()


def _each(form: str, columns: tuple[str, ...]) -> str:
    return ", ".join(form.format(column) for column in columns)


def _shown(column: Column[Any]) -> str:
    if isinstance(column.type, DateTime):
        return f"to_char(page.{column.name} AT TIME ZONE 'UTC', '{UTC_TIME}') AS {column.name}"
    return f"page.{column.name}"


def _table(model: type[models.Base]) -> Table:
    return cast("Table", model.__table__)


_TIMES = ("created_at", "updated_at")
# Parents before their children.
EXPORTED = (
    ExportedTable(
        "tenant",
        _table(models.Tenant),
        ("id", "name", "registration", "message_visibility", "cache_ttl_seconds", "message_retention_days",
         "allowed_models", "default_model", "event_webhook_url", *_TIMES),
        ("id",),
    ),
    ExportedTable(
        "user",
        _table(models.User),
        ("id", "tenant_id", "email", "role", "token_version", "disabled_at", *_TIMES),
    ),
    ExportedTable(
        "conversation",
        _table(models.Conversation),
        ("id", "tenant_id", "user_id", "title", "system_prompt", "metadata", "deleting_at", *_TIMES),
    ),
    ExportedTable(
        "message",
        _table(models.Message),
        ("id", "tenant_id", "user_id", "conversation_id", "api_key_line", "content", "response", "status", "error_code",
         "finish_reason", "model", "input_tokens", "cached_tokens", "output_tokens", "cost_micro_usd", "price",
         "cached", "api", "asked_model", "reasoning_tokens", "metadata", "previous_id", "stored",
         "attempts", "documents", "citations", "cancel_requested", "claim_micro_usd", "claimed_at", "lease_expires_at",
         "webhook_url", "webhook_due_at", "webhook_attempts", *_TIMES),
    ),
    ExportedTable(
        "message_content",
        _table(models.MessageContent),
        ("tenant_id", "message_id", "request", "output"),
        ("message_id",),
        weighty=("request", "output"),
    ),
    ExportedTable(
        "document",
        _table(models.Document),
        ("id", "tenant_id", "user_id", "name", "collection", "visibility", "media_type", "attributes", "content_hash",
         "bytes", "status", "error_code", "progress", "pages", "characters", "chunks", "tokens", "current",
         "deleting_at", *_TIMES),
    ),
    ExportedTable(
        "document_content",
        _table(models.DocumentContent),
        ("tenant_id", "document_id", "text"),
        ("document_id",),
    ),
    ExportedTable(
        "document_chunk",
        _table(models.DocumentChunk),
        ("id", "tenant_id", "document_id", "n", "page", "heading", "start", "end", "tokens", "text"),
        ("document_id", "n"),
    ),
    ExportedTable(
        "deleted_usage",
        _table(models.DeletedUsage),
        ("id", "tenant_id", "user_id", "model", "input_tokens", "cached_tokens", "output_tokens", "cost_micro_usd",
         "cached", *_TIMES),
    ),
    ExportedTable(
        "embedding_hour",
        _table(models.EmbeddingHour),
        ("tenant_id", "hour", "user_id", "model", "tokens", "cost_micro_usd"),
        ("hour", "user_id", "model"),
    ),
    # From the highest down, NULL comes first: the tenant's own budget.
    ExportedTable(
        "budget",
        _table(models.Budget),
        ("id", "tenant_id", "user_id", "limit_micro_usd", "ceiling_micro_usd", "period", "spent_micro_usd",
         "reserved_micro_usd", *_TIMES),
        ("user_id",),
    ),
    ExportedTable(
        "period_budget",
        _table(models.PeriodBudget),
        ("tenant_id", "holder", "user_id", "period_unit", "limit_micro_usd", "period", "spent_micro_usd",
         "reserved_micro_usd", *_TIMES),
        ("holder", "period_unit"),
    ),
    ExportedTable(
        "budget_alert",
        _table(models.BudgetAlert),
        ("tenant_id", "holder", "period_unit", "period", "threshold", "kind", "limit_micro_usd", "spent_micro_usd",
         "due_at", "attempts", *_TIMES),
        ("holder", "period_unit", "period", "threshold"),
    ),
    ExportedTable(
        "api_key",
        _table(models.ApiKey),
        ("id", "tenant_id", "user_id", "line_id", "name", "prefix", "scopes", "allowed_models", "expires_at",
         "last_used_at", *_TIMES),
    ),
    ExportedTable(
        "session",
        _table(models.UserSession),
        ("id", "tenant_id", "user_id", "rotated_at", "expires_at", *_TIMES),
        ("user_id", "id"),
    ),
    ExportedTable("invite", _table(models.Invite), ("id", "tenant_id", "user_id", "email", "expires_at", *_TIMES)),
    ExportedTable(
        "idempotency_key",
        _table(models.IdempotencyKey),
        ("tenant_id", "user_id", "key", "resource_id", "expires_at"),
        ("user_id", "key"),
    ),
    ExportedTable(
        "audit_entry",
        _table(models.AuditEntry),
        ("id", "tenant_id", "action", "actor_type", "actor_id", "api_key_id", "target_id", "address", "request_id",
         "own_request_id", "details", "created_at"),
    ),
    ExportedTable(
        "provider_key",
        _table(models.ProviderKey),
        ("tenant_id", "provider", "base_url", "last_four", "set_by", "set_at"),
        ("provider",),
    ),
)  # fmt: skip
NOT_EXPORTED = {
    "documents.audience": "`user_id` where `visibility` is private",
    "documents.attempts": "tells the runs of its ingestion apart",
    "documents.failures": "of its ingestion, while that goes on",
    "documents.taken": "whether a process works on it",
    "documents.lease_expires_at": "until when",
    "document_contents.original": "the file until it is read; its text is kept, and exported",
    "chunk_vectors": "made of the chunks' texts by a model",
    "chunk_terms": "made of the chunks' texts",
    "term_frequencies": "made of the chunks' texts",
    "document_totals": "sums of what the documents say, and how long reading them took this month",
    "message_contents.expires_at": "nobody writes it: when a text expires is counted from when it was sent",
    "messages.has_contents": "whether message_contents has more of it",
    "messages.cache_use": "how a message that waits uses the cache",
    "messages.queue_tag": "whose turn it is among all tenants",
    "messages.taken_at": "when a worker took it",
    "messages.traceparent": "names a trace of the operator's",
    "messages.words": "made of the message's text",
    "search_blocks": "made of the messages' texts",
    "usage_days": "sums of what the messages say, and deleted_usage",
    "usage_ends": "how far they reach",
    "provider_keys.sealed": "a secret, sealed",
    "tenant_data_keys": "a secret, sealed",
    "text_keys": "which master key wraps the key of the tenant's texts, which it does not hold",
    "directory_claims": "keyed hashes of emails, keys and the tenant's name",
    "message_deltas": "what messages that still run have said: it is theirs once they have ended",
    "users.hashed_password": "a secret",
    "api_keys.key_hash": "a secret",
    "sessions.token_hash": "a secret",
    "sessions.previous_hash": "a secret",
    "sessions.salt": "a secret",
    "invites.token_hash": "a secret",
    "idempotency_keys.request_hash": "a keyed hash of what the export holds in clear, or of what the user took back",
    "tenants.webhook_secret_version": "which of its webhook secrets holds",
    "tenants.webhook_secret_changed_at": "until when the one before holds too",
    "tenants.cache_epoch": "a part of the keys to what is kept",
    "tenants.moving": "set while the tenant moves to another region",
    "tenants.moving_until": "as above",
    "tenants.nothing_kept_since": "up to when there may be something to delete",
    "tenants.erasing_at": "nobody gets in to export while it is set",
}
