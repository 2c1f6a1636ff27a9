"""Workers as processes: killed hard in the middle of a call, and stopped softly."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from sqlalchemy import URL

from tests.committed.conftest import Serve, rows_of
from tests.committed.held import held_server
from tests.committed.providers import HeldProvider
from tests.committed.server import ServerProcess
from tests.committed.test_crash import CLEAN
from tests.conftest import SECRET_KEY, own_database
from tests.helpers import Tenant, make_tenant
from tests.waiting import until

database_url, settings, superuser = own_database()


class WorkerProcess(ServerProcess):
    """`python -m app.worker`."""

    def command(self) -> list[str]:
        return ["-m", "app.worker"]


@asynccontextmanager
async def working(data_dir: Path, **settings: str) -> AsyncIterator[WorkerProcess]:
    worker = WorkerProcess(data_dir, **settings)
    await worker.start()
    try:
        yield worker
    finally:
        if worker.process and worker.process.poll() is None:
            worker.kill()


async def ends(superuser: asyncpg.Connection, tenant: Tenant) -> list[tuple[str, str | None]]:
    return [(row["status"], row["error_code"]) for row in await rows_of(superuser, tenant)]


async def test_a_killed_worker_repeats_no_call_and_loses_no_message_and_a_stopped_one_ends_what_it_runs(
    tmp_path: Path, database_url: URL, serve: Serve, superuser: asyncpg.Connection
) -> None:
    async with held_server() as provider, serve(HeldProvider(), message_workers=True) as (_, api):
        common = {
            "database_url": database_url.render_as_string(hide_password=False),
            "secret_key": SECRET_KEY,
            "message_lease_seconds": "1",
            "worker_concurrency": "1",
            **provider.settings,
        }
        acme = await make_tenant(api)

        async def send() -> None:
            body = {"content": "x", "background": True}
            assert (await api.post("/messages", json=body, headers=acme.user.headers)).status_code == 202

        async with working(tmp_path, **common, background_work="false") as first, first.client() as probe:
            assert (await probe.get("/messages", headers=acme.user.headers)).status_code == 404
            await send()
            await until(lambda: provider.asked == 1, "the call of the first worker")
            await send()
            first.kill()
        assert await ends(superuser, acme) == [("pending", None)] * 2

        async with working(tmp_path, **common) as second:
            await until(lambda: provider.asked == 2, "the call of the second worker")
            provider.release.set()

            async def both_ended() -> bool:
                return await ends(superuser, acme) == [("failed", "interrupted"), ("completed", None)]

            await until(both_ended, "the sweep and the answer")
            provider.release.clear()
            await send()
            await send()
            await until(lambda: provider.asked == 3, "the call for the third message")
            second.ask_to_stop()
            await until(lambda: "draining" in second.log.read_text(), "the soft stop to begin")
            provider.release.set()
            assert await second.ended() in CLEAN
        assert await ends(superuser, acme) == [
            ("failed", "interrupted"),
            ("completed", None),
            ("completed", None),
            ("pending", None),
        ]
        assert provider.asked == 3
