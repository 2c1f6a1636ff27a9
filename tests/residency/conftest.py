import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import URL

from app.db.embedded import EmbeddedPostgres
from app.db.provision import migrate
from tests.conftest import POSTGRES_OPTIONS, TEMPLATE, clone
from tests.residency.regions import Cluster, Two


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def second_cluster() -> AsyncIterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="llm-saas-region-") as directory:
        server = EmbeddedPostgres(Path(directory), database=TEMPLATE, options=POSTGRES_OPTIONS)
        await asyncio.to_thread(server.start)
        await migrate(server.url)
        yield Cluster(server)
        await asyncio.to_thread(server.stop)


@pytest.fixture
async def two(template_url: URL, second_cluster: Cluster, tmp_path: Path) -> AsyncIterator[Two]:
    """Two empty regions."""
    two = Two(await clone(template_url), await second_cluster.new_database(), second_cluster, tmp_path)
    await two.connect()
    yield two
    for superuser in two.superusers.values():
        superuser.terminate()
