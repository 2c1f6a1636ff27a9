"""Some hundred hostile uploads; `make soak` sends ten thousand, to processes, with the real embedder."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import asyncpg
import httpx
import pytest

from app.db.session import Database
from app.documents import ingestion as taking_in
from app.documents.extraction import reading
from app.documents.extraction.kinds import is_archive, kind_of_bytes
from app.documents.extraction.limits import Limits
from app.documents.failures import ExtractionFailed, FailureCode
from app.documents.removal import Remover
from app.documents.shapes import ReadText
from tests.conftest import own_database
from tests.documents.hostile_uploads import half_stored, made_of, upload
from tests.documents.test_ingestion import app, client, database, ingestion
from tests.helpers import make_tenant

database_url, settings, superuser = own_database()
__all__ = ["app", "client", "database"]
UPLOADS, AT_ONCE, SEED = 160, 8, 20261126


async def read_here(content: bytes, name: str, declared: str | None) -> ReadText:
    """As a child reads it; what a library in C reads is not read here."""
    try:
        if is_archive(content) or kind_of_bytes(content) is not None:
            raise ExtractionFailed(FailureCode.TYPE_MISMATCH)
        return reading.prepared(content, name, declared, Limits())()
    except Exception as error:
        raise reading.failure_of(error) from error


async def test_no_hostile_upload_is_a_500_or_leaves_half_of_itself(
    client: httpx.AsyncClient, database: Database, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking_in, "read_file", read_here)
    tenants = [await make_tenant(client) for _ in range(4)]
    statuses: Counter[int] = Counter()

    async def send(numbers: Sequence[int], headers: dict[str, str]) -> None:
        for number in numbers:
            sent = upload(random.Random(f"{SEED}:{number}"))
            given: list[Any] = [
                *headers.items(),
                *((name, value.encode("latin-1", "replace")) for name, value in sent.headers),
            ]
            answer = await client.post("/documents", content=sent.body, headers=given)
            assert answer.status_code < 500, (number, answer.text)
            statuses[answer.status_code] += 1

    members = [member for tenant in tenants for member in (tenant.admin, tenant.user)]
    await asyncio.gather(*(send(range(n, UPLOADS, AT_ONCE), member.headers) for n, member in enumerate(members)))
    await ingestion(database).take_all()
    await Remover(database).remove()

    assert statuses[202] > UPLOADS / 3
    assert {400, 422} <= statuses.keys()
    ids = [tenant.id for tenant in tenants]
    assert await half_stored(superuser, ids) == {}
    assert await made_of(superuser, ids) == statuses[202]
    ends = await superuser.fetch("SELECT status, count(*) FROM documents GROUP BY 1")
    assert {row["status"] for row in ends} == {"ready", "failed"}
