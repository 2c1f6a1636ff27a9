"""What is counted of documents: what waits, how they end, and what reading and embedding take."""

from collections.abc import Iterator
from functools import partial

import httpx
import pytest
from prometheus_client import CollectorRegistry

from app.core.provider_errors import ProviderUnavailable
from app.db.session import Database
from app.messages.waiting_work import WaitingWork
from app.observability import instruments
from app.observability.exposition import family_of
from app.observability.metrics import Instrument
from tests.conftest import own_database
from tests.documents.library import HashEmbedder
from tests.documents.test_ingestion import TEXT, Failing, app, client, database, ingestion, upload
from tests.helpers import make_tenant

database_url, settings, superuser = own_database()
__all__ = ["app", "client", "database"]
PREFIXES = ("DOCUMENTS_", "EMBED", "EXTRACTION_")


@pytest.fixture
def registry() -> Iterator[CollectorRegistry]:
    registry = CollectorRegistry()
    counted = [
        value
        for name, value in vars(instruments).items()
        if isinstance(value, Instrument) and name.startswith(PREFIXES)
    ]
    for instrument in counted:
        instrument.switch_on(partial(family_of, registry=registry), shared=False)
    yield registry
    for instrument in counted:
        instrument.switch_off()


async def test_documents_are_counted_from_their_upload_to_their_end(
    client: httpx.AsyncClient, database: Database, registry: CollectorRegistry
) -> None:
    def shown(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"llm_saas_{name}", labels)

    tenant = await make_tenant(client)
    waiting = WaitingWork([database], queue=False, documents=True)
    await waiting.show()
    assert (shown("documents_unfinished", status="queued"), shown("documents_oldest_age_seconds")) == (0, 0)
    for text in (TEXT, " \n ", "Taken in."):
        await upload(client, tenant.user, text)
    await waiting.show()
    assert shown("documents_unfinished", status="queued") == 3
    age = shown("documents_oldest_age_seconds")
    assert age is not None
    assert age > 0

    embedder = Failing(ProviderUnavailable(), 1)
    await ingestion(database, embedder).take_all()
    await waiting.show()

    assert (shown("documents_unfinished", status="queued"), shown("documents_unfinished", status="processing")) == (
        0,
        1,
    )
    assert shown("documents_put_off_total", reason="embedder_unavailable") == 1
    ended = [shown("documents_ended_total", status="ready", error_code="")]
    ended.append(shown("documents_ended_total", status="failed", error_code="empty"))
    assert ended == [1, 1]
    of_model = {"model": "hash", "kind": "passage"}
    assert shown("embedded_texts_total", **of_model) == len(embedder.embedded)
    tokens = sum(len(HashEmbedder().token_spans(text)) for _, text in embedder.embedded)
    assert shown("embedded_tokens_total", **of_model) == tokens
    assert shown("embedding_duration_seconds_count", **of_model) == 1
    assert shown("extraction_duration_seconds_count") == 3
