"""The newest migration is applied, undone and applied again under the code that was there before it, while that serves.

So the order of an upgrade is: migrate, then replace the processes one by one; and back is the same the other way round.
"""

import asyncio
import io
import subprocess
import tarfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import URL

from alembic import command
from app.core.ids import new_id
from app.db.provision import ALEMBIC_INI, ROOT
from tests.committed.server import ServerProcess, running
from tests.helpers import Tenant, make_tenant
from tests.own_database import own_database
from tests.waiting import until

CLIENTS = 4
# Of each kind of request, before the next step begins.
ANSWERS = 2
EXPECTED = {
    "send": "201",
    "read": "200",
    "delete": "204",
    "stream": "200",
    "list": "200",
    "usage": "200",
    "settings": "200",
    "login": "401",
}


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def code_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code that was there before the newest migration: of the commit before the one that brought it."""
    newest = ScriptDirectory.from_config(Config(ALEMBIC_INI)).get_revision("head")
    path = str(Path(newest.path).relative_to(ROOT))
    try:
        brought = git("log", "--diff-filter=A", "-1", "--format=%H", "--", path).decode().strip()
        archive = git("archive", f"{brought}^" if brought else "HEAD")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the history with the code before {path} is not here: {error}")
    directory = tmp_path_factory.mktemp("before")
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(directory, filter="data")
    return directory


class Load:
    """Clients that use the service in turn; `seen` counts their requests by what was asked and answered."""

    def __init__(self, server: ServerProcess, tenant: Tenant) -> None:
        self._server, self._tenant = server, tenant
        self.seen: Counter[tuple[str, str]] = Counter()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        clients = [asyncio.create_task(self._use()) for _ in range(CLIENTS)]
        try:
            yield
        finally:
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)

    async def _use(self) -> None:
        user, admin = self._tenant.user.headers, self._tenant.admin.headers
        async with self._server.client() as client:
            while True:
                body = {"content": "Hello"}
                sent = await self._ask(client, "send", "POST", "/messages", json=body, headers=user)
                if sent is not None and sent.status_code == 201:
                    path = f"/messages/{sent.json()['id']}"
                    await self._ask(client, "read", "GET", path, headers=user)
                    await self._ask(client, "delete", "DELETE", path, headers=user)
                await self._ask(client, "stream", "POST", "/messages", json={**body, "stream": True}, headers=user)
                await self._ask(client, "list", "GET", "/messages", headers=user)
                await self._ask(client, "usage", "GET", "/usage", headers=admin)
                settings = {"registration": "open"}
                path = f"/tenants/{self._tenant.id}"
                await self._ask(client, "settings", "PATCH", path, json=settings, headers=admin)
                # Refused: each login that is not would end the oldest session of the user.
                login = {"email": self._tenant.user.email, "password": "not this one"}
                await self._ask(client, "login", "POST", "/login", json=login)

    async def _ask(self, client: httpx.AsyncClient, what: str, method: str, path: str, **options: object):
        try:
            answer = await client.request(method, path, **options)
        except httpx.TransportError as error:
            self.seen[what, repr(error)] += 1
            return None
        text = answer.text if answer.status_code >= 500 else ""
        failed = "error" if "event: failed" in answer.text else ""
        self.seen[what, f"{answer.status_code} {text}{failed}".strip()] += 1
        return answer

    def assert_nothing_failed(self) -> None:
        assert self.seen.keys() <= EXPECTED.items(), self.seen.keys() - EXPECTED.items()

    async def goes_on(self) -> None:
        """Return once everything was asked and answered some more times."""
        before = Counter(self.seen)

        def enough() -> bool:
            self.assert_nothing_failed()
            new = self.seen - before
            return all(new[kind] >= ANSWERS for kind in EXPECTED.items())

        await until(enough, "the service to go on answering")


async def test_no_request_fails_while_the_newest_migration_comes_and_goes_and_comes(
    template_url: URL, code_before: Path, tmp_path: Path
) -> None:
    config = Config(ALEMBIC_INI)
    async with own_database(template_url) as own:
        config.attributes["url"] = own.text
        await asyncio.to_thread(command.downgrade, config, "-1")
        settings = {"database_url": own.text, "secret_key": new_id() * 2}
        async with running(tmp_path, root=code_before, **settings) as server, server.client() as client:
            tenant = await make_tenant(client)
            load = Load(server, tenant)
            async with load.running():
                await load.goes_on()
                for step, target in (
                    (command.upgrade, "head"),
                    (command.downgrade, "-1"),
                    (command.upgrade, "head"),
                ):
                    await asyncio.to_thread(step, config, target)
                    await load.goes_on()
                # As a deployment does it: the new code beside the old one, on what the new one needs.
                async with running(tmp_path, **settings) as new:
                    second = Load(new, tenant)
                    async with second.running():
                        await second.goes_on()
                        await load.goes_on()
                        state = (await client.get("/health/ready")).json()["background"]
    load.assert_nothing_failed()
    second.assert_nothing_failed()
    assert set(state.values()) == {"running"}
