"""What the portable form of an export holds beside the other one: digests, vectors, and what is sealed."""

from dataclasses import replace
from typing import cast

from sqlalchemy import Table

from app import models
from app.services.export_end import Form
from app.services.export_tables import EXPORTED, ExportedTable

# Nobody's session goes along: tokens are signed by a deployment, and who logs in anew has lost nothing.
LEFT_OUT = {"session"}
FURTHER = {
    "tenant": ("webhook_secret_version", "webhook_secret_changed_at", "nothing_kept_since"),
    "user": ("hashed_password",),
    "document": ("attempts", "failures"),
    "document_content": ("original",),
    "api_key": ("key_hash",),
    "invite": ("token_hash",),
    "idempotency_key": ("request_hash",),
    "provider_key": ("sealed",),
}


def _table(model: type[models.Base]) -> Table:
    return cast("Table", model.__table__)


DATA_KEY = ExportedTable(
    "tenant_data_key",
    _table(models.TenantDataKey),
    ("tenant_id", "master", "sealed", "created_at", "updated_at"),
    ("tenant_id",),
)
VECTOR = ExportedTable(
    "chunk_vector",
    _table(models.ChunkVector),
    ("tenant_id", "chunk_id", "model", "document_id", "embedding"),
    ("chunk_id", "model"),
)
# Its sums are made of the documents that come.
TOTALS = ExportedTable(
    "document_totals",
    _table(models.DocumentTotals),
    ("tenant_id", "ingestion_seconds", "ingestion_month", "embedding_model", "former_model", "moved_at"),
    ("tenant_id",),
)
TENANT, *OWNED = (
    replace(exported, columns=exported.columns + FURTHER.get(exported.type, ()))
    for exported in EXPORTED
    if exported.type not in LEFT_OUT
)
PORTABLE = (TENANT, DATA_KEY, *OWNED, VECTOR, TOTALS)
FORMS: dict[Form, tuple[ExportedTable, ...]] = {"export": EXPORTED, "portable": PORTABLE}
