"""/metrics of processes as they are run, on a port of their own."""

import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import URL

from app.observability.metrics import ALL, Gauge
from tests.committed.server import ServerProcess, free_port, running
from tests.conftest import clone
from tests.helpers import Tenant, make_tenant, send
from tests.observability.scrape import PROMTOOL, Scrape, complaints, scrape
from tests.waiting import until

TENANT_COST = "llm_saas_tenant_cost_usd"
PROMPT = "a prompt that no label says"


class Workers(ServerProcess):
    """Two processes of uvicorn that share a port."""

    def command(self) -> list[str]:
        return ["-m", "uvicorn", "main:app", "--workers", "2", "--port", str(self.port), "--no-access-log"]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database(template_url: URL) -> dict[str, str]:
    return {"database_url": (await clone(template_url)).render_as_string(hide_password=False)}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def used(
    database: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Tenant, Scrape]]:
    """A service that has answered a few requests, and what its metrics say."""
    port = free_port()
    directory = tmp_path_factory.mktemp("metrics")
    settings = {"metrics_port": str(port), "metrics_top_tenants": "1", "rate_limit_enabled": "true"}
    limits = {"rate_limit_user": "5/hour"}
    async with running(directory, **database, **settings, **limits) as server, server.client() as client:
        acme = await make_tenant(client)
        for _ in range(3):
            await send(client, acme.user, PROMPT)
        stream = {"Accept": "text/event-stream", **acme.admin.headers}
        assert "[mock]" in (await client.post("/messages", json={"content": PROMPT}, headers=stream)).text
        await client.get(f"/messages?q={PROMPT}", headers=acme.user.headers)
        await client.get(f"/no-such/{PROMPT}")
        await client.request("MADEUP", "/messages")
        for _ in range(4):
            await client.get("/me", headers=acme.user.headers)

        async def sampled() -> bool:
            seen = await scrape(port)
            return seen.value(TENANT_COST) == pytest.approx(seen.value("llm_saas_cost_usd_total"))

        await until(sampled, "the sampler to look since the last message ended")
        yield acme, await scrape(port)


async def test_requests_are_counted_by_their_template_and_never_by_their_path(used: tuple[Tenant, Scrape]) -> None:
    _, seen = used
    total = "llm_saas_http_requests_total"
    assert seen.value(total, method="POST", route="/messages", status="201") == 3
    assert seen.value(total, method="POST", route="/messages", status="200") == 1
    assert seen.value(total, method="GET", route="/messages", status="200") == 1
    assert seen.value(total, route="unmatched", status="404") == 1
    assert seen.value(total, method="OTHER") == 1
    assert seen.value(total, route="/me", status="429") == 3
    assert seen.value("llm_saas_http_request_duration_seconds_count", method="POST", route="/messages") == 4
    assert seen.value("llm_saas_rate_limited_total", scope="user") == 3
    assert seen.value("llm_saas_db_pool_wait_seconds_count", database="primary") > 6


async def test_what_a_message_used_is_counted_by_its_model(used: tuple[Tenant, Scrape]) -> None:
    _, seen = used
    model = {"provider": "mock", "model": "mock-echo"}
    assert seen.value("llm_saas_provider_calls_total", **model, outcome="ok") == 4
    assert seen.value("llm_saas_provider_call_duration_seconds_count", **model) == 4
    assert seen.value("llm_saas_provider_time_to_first_token_seconds_count", **model) == 1
    assert seen.value("llm_saas_messages_ended_total", status="completed", error_code="") == 4
    read = len(PROMPT.split())
    assert seen.value("llm_saas_tokens_total", model="mock-echo", kind="input") == 4 * read
    cost = seen.value("llm_saas_cost_usd_total", model="mock-echo")
    assert cost == pytest.approx((4 * read + 2 * seen.value("llm_saas_tokens_total", kind="output")) / 1_000_000)
    assert seen.value("llm_saas_breaker_open", provider="mock") == 0


async def test_the_dearest_tenants_are_named_where_that_is_asked_for_and_nowhere_else(
    used: tuple[Tenant, Scrape],
) -> None:
    acme, seen = used
    (line,) = (line for line in seen.text.splitlines() if acme.id in line)
    assert line.startswith(f'{TENANT_COST}{{tenant_id="{acme.id}"}} ')
    assert seen.value(TENANT_COST) == pytest.approx(seen.value("llm_saas_cost_usd_total"))


async def test_what_a_service_does_not_have_says_nothing(used: tuple[Tenant, Scrape]) -> None:
    _, seen = used
    for name in ("llm_saas_rate_limits_shared", "llm_saas_cache_available", "llm_saas_replica_available"):
        assert name not in seen.text
    # While what has not happened yet says so: something that appears has no increase.
    for line in ('loop_deaths_total{loop="deltas"} 0', 'db_unavailable_total{database="primary"} 0'):
        assert f"llm_saas_{line}" in seen.text


async def test_nobody_and_nothing_that_was_sent_is_named(used: tuple[Tenant, Scrape]) -> None:
    acme, seen = used
    for secret in (PROMPT, "MADEUP", acme.user.id, acme.user.email, acme.user.token):
        assert secret not in seen.text


async def test_every_instrument_is_there_under_its_name(used: tuple[Tenant, Scrape]) -> None:
    _, seen = used
    assert {instrument.name for instrument in ALL if not isinstance(instrument, Gauge)} <= seen.names


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
async def test_prometheus_has_nothing_to_complain_about(used: tuple[Tenant, Scrape]) -> None:
    _, seen = used
    assert complaints(seen.text) == ""


async def test_a_port_that_is_taken_is_refused_at_the_start_by_its_name(
    tmp_path: Path, database: dict[str, str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = ServerProcess(tmp_path, **database, metrics_port=str(taken.getsockname()[1]))
        with pytest.raises(AssertionError, match=r"METRICS_PORT: 127\.0\.0\.1:\d+ cannot be listened at"):
            await server.start()


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="/proc/locks says which process has the port")
async def test_two_processes_are_added_up_on_one_port_which_outlives_the_one_that_answers(
    tmp_path: Path, database: dict[str, str]
) -> None:
    port = free_port()
    server = Workers(tmp_path, **database, metrics_port=str(port), tmpdir=str(tmp_path))
    await server.start()
    assert server.process is not None
    try:
        members = await until(lambda: both(tmp_path), "two processes that count")
        before = await scrape(port)
        for _ in range(20):
            async with server.client() as client:  # a connection each: the system hands them to either process
                assert (await client.get("/health")).status_code == 200
        seen = await scrape(port)
        assert counted(seen) - counted(before) == 20

        answering = holder_of(tmp_path / f"llm-saas-metrics-{server.process.pid}" / "port.lock")
        assert answering in members
        os.kill(answering, signal.SIGKILL)
        # uvicorn starts another one in its place; what the dead one had counted is not lost.
        await until(lambda: both(tmp_path) and both(tmp_path) != members, "another process in its place")

        async def answered() -> bool:
            try:
                return counted(await scrape(port)) >= counted(seen)
            except httpx.TransportError:
                return False

        await until(answered, "the port to be answered by the process that is left")
        assert (await scrape(port)).value("llm_saas_build_info") == 1
    finally:
        await server.stop()
    assert not list(tmp_path.glob("llm-saas-metrics-*/*.db"))


def both(directory: Path) -> set[int] | None:
    found = {int(path.stem.split("-")[1]) for path in directory.glob("llm-saas-metrics-*/member-*.lock")}
    return found if len(found) == 2 else None


def counted(seen: Scrape) -> float:
    return seen.value("llm_saas_http_requests_total", route="/health")


def holder_of(lock: Path) -> int:
    """The process that holds the lock, and not the one that waits for it."""
    inode = str(lock.stat().st_ino)
    (holder,) = (
        line.split()
        for line in Path("/proc/locks").read_text().splitlines()
        if f":{inode} " in line and "->" not in line
    )
    return int(holder[4])
