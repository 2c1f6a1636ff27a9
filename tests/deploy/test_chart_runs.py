"""The containers of the chart with the environment that it gives them, on a PostgreSQL without a database yet."""

import asyncio
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import URL

from tests.committed.server import free_port
from tests.conftest import execute
from tests.deploy.chart import ROOT, container_of, needs_helm, render
from tests.waiting import PATIENCE_SECONDS, until

pytestmark = needs_helm
(IMAGE_COMMAND,) = re.findall(r"^CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


def command_of(container: dict[str, Any]) -> list[str]:
    program, *arguments = container.get("command") or json.loads(IMAGE_COMMAND)
    assert program == "python"
    return [sys.executable, *arguments]


def environment_of(container: dict[str, Any], held: dict[str, str]) -> dict[str, str]:
    """What the container is given, and nothing else; `held` is what the Secret holds."""
    variables = {one["name"]: one.get("value", held.get(one["name"], "")) for one in container["env"]}
    return {"PATH": os.environ["PATH"], **variables}


@asynccontextmanager
async def running(container: dict[str, Any], environment: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the container's port `http`."""
    process = subprocess.Popen(command_of(container), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{environment['PORT']}", timeout=PATIENCE_SECONDS
        ) as client:

            async def answers() -> bool:
                assert process.poll() is None
                try:
                    return (await client.get(container["startupProbe"]["httpGet"]["path"])).is_success
                except httpx.TransportError:
                    return False

            await until(answers, "the container to have started")
            yield client
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, PATIENCE_SECONDS)


@pytest.fixture
async def empty(template_url: URL) -> AsyncIterator[URL]:
    """The superuser's URL of a database that is yet to be made; a login of its name with `_runtime` goes with it."""
    url = template_url.set(database=f"chart_{secrets.token_hex(6)}")
    yield url
    await execute(template_url.set(database="postgres"), f"DROP DATABASE {url.database} WITH (FORCE)")
    await execute(template_url.set(database="postgres"), f"DROP ROLE {url.database}_runtime")


async def test_the_migration_makes_a_database_that_api_and_worker_are_ready_on(empty: URL) -> None:
    held = {
        "SECRET_KEY": secrets.token_hex(32),
        "DATABASE_PASSWORD": "p@ss:w/rd",
        "MIGRATION_DATABASE_PASSWORD": str(empty.password),
    }
    address = f"{empty.host}:{empty.port}/{empty.database}"
    release = render(
        {
            "existingSecret": "llm-saas",
            "worker": {"enabled": True},
            "settings": {"DATABASE_URL": f"postgresql://{empty.database}_runtime@{address}"},
            "migration": {
                "settings": {"MIGRATION_DATABASE_URL": f"postgresql://{empty.username}@{address}"},
                "secretSettings": {"MIGRATION_DATABASE_PASSWORD": {"existingSecret": "owner"}},
            },
        }
    )
    containers = {component: container_of(pod) for component, pod in release.pods().items()}
    migration = containers.pop("migration")
    for _ in range(2):  # each upgrade runs it again
        run = await asyncio.to_thread(
            subprocess.run, command_of(migration), cwd=ROOT, env=environment_of(migration, held), check=False
        )
        assert run.returncode == 0
    assert containers.keys() == {"api", "worker"}
    for container in containers.values():
        environment = environment_of(container, held)
        assert str(empty.password) not in environment.values()
        async with running(container, {**environment, "HOST": "127.0.0.1", "PORT": str(free_port())}) as client:
            for probe in ("readinessProbe", "livenessProbe"):
                assert (await client.get(container[probe]["httpGet"]["path"])).status_code == 200
