"""The service as clients see it through nginx over TLS, and several processes as one."""

import asyncio
import secrets
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

from tests.committed.held import FIRST, REST
from tests.committed.sse import following, rest, sending, text_of
from tests.deploy.conftest import MAX_BODY_BYTES, REQUESTS_OF_A_USER, Fleet
from tests.deploy.nginx import NGINX
from tests.helpers import Tenant, make_tenant
from tests.redis_server import REDIS
from tests.waiting import PATIENCE_SECONDS, until, within_patience

CURL = shutil.which("curl")
MISSING = [name for name, found in (("nginx", NGINX), ("redis-server", REDIS), ("curl", CURL)) if not found]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed (make test installs them for root): {MISSING}")


async def test_events_arrive_as_they_are_written_over_http_1(fleet: Fleet, tenant: Tenant) -> None:
    headers = {**tenant.user.headers, "Accept-Encoding": "gzip"}
    async with sending(fleet.through, headers) as events:
        assert (await anext(events)).name == "message"
        assert (await anext(events)).data == {"text": FIRST}
        assert not fleet.provider.release.is_set()
        fleet.provider.release.set()
        assert text_of(await rest(events)) == REST


async def test_events_arrive_as_they_are_written_over_http_2(fleet: Fleet, tenant: Tenant) -> None:
    curl = await asyncio.create_subprocess_exec(
        CURL or "", "--no-buffer", "--silent", "--http2", "--include", "--compressed",
        "--cacert", fleet.nginx.certificate,
        "--header", f"Authorization: Bearer {tenant.user.token}", "--json", '{"content": "Hello", "stream": true}',
        f"https://127.0.0.1:{fleet.nginx.port}/messages", stdout=subprocess.PIPE,
    )  # fmt: skip
    assert curl.stdout is not None
    begin = await within_patience(curl.stdout.readuntil(FIRST.encode()), "the first delta")
    fleet.provider.release.set()
    end = await within_patience(curl.stdout.read(), "the end")
    assert begin.startswith(b"HTTP/2 200")
    assert b"content-encoding" not in begin.lower()
    assert b"event: completed" in end
    assert await curl.wait() == 0


async def test_old_tls_is_refused(fleet: Fleet) -> None:
    context = ssl.create_default_context(cafile=fleet.nginx.certificate)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        await asyncio.open_connection("127.0.0.1", fleet.nginx.port, ssl=context)


def assert_problem(answer: httpx.Response, status: int, kind: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["type"]) == (status, f"urn:llm-saas:problem:{kind}")
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["cache-control"] == "no-store"


async def test_a_body_that_is_too_large_is_the_services_problem_whoever_refuses_it(
    fleet: Fleet, tenant: Tenant
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * (MAX_BODY_BYTES // 2)

    large = b"x" * (MAX_BODY_BYTES + 1)
    for body in (large, pieces()):
        refused = await fleet.through.post("/messages", content=body, headers=tenant.user.headers)
        assert_problem(refused, 413, "content-too-large")
        assert (await fleet.nginx.line(refused.headers["x-request-id"]))["upstream"] == ""
    async with fleet.processes[0].client() as direct:
        own = await direct.post("/messages", content=large, headers=tenant.user.headers)
    assert {**own.json(), "request_id": ""} == {**refused.json(), "request_id": ""}
    assert {name for name in own.headers if name.startswith("x-") or "policy" in name} <= set(refused.headers)

    small = await fleet.through.post("/login", content=b"x" * 20_000)
    assert_problem(small, 413, "content-too-large")
    assert (await fleet.nginx.line(small.headers["x-request-id"]))["upstream_status"] == "413"


async def test_what_nginx_refuses_by_itself_is_a_problem(fleet: Fleet) -> None:
    assert_problem(await fleet.through.get("/metrics"), 404, "not-found")
    assert_problem(await fleet.through.get("/me?" + "x" * 9000), 414, "uri-too-long")
    assert_problem(await fleet.through.get("/me", headers={"X": "x" * 9000}), 431, "request-header-fields-too-large")
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as plain:
        assert_problem(await plain.get(f"http://127.0.0.1:{fleet.nginx.port}/me"), 400, "bad-request")


async def test_nobody_can_forge_an_address(fleet: Fleet, superuser: asyncpg.Connection) -> None:
    invented = {"X-Forwarded-For": "192.0.2.66", "X-Real-IP": "192.0.2.66", "Forwarded": "for=192.0.2.66"}
    for address in ("127.0.0.9", "127.0.0.1"):  # the second is also the proxy's own, which the service trusts
        async with fleet.nginx.client(transport={"local_address": address}, headers=invented) as client:
            tenant = await make_tenant(client)
        found = await superuser.fetch("SELECT DISTINCT address FROM audit_log WHERE tenant_id = $1", tenant.id)
        assert [str(row["address"]) for row in found] == [address]


@pytest.mark.parametrize("given", ["sane-id.1:2_3", "", "not sane", "x" * 129, 'a"b'])
async def test_a_request_has_one_id_everywhere(fleet: Fleet, given: str) -> None:
    answer = await fleet.through.get("/me", headers={"X-Request-ID": given})
    known = answer.headers["x-request-id"]
    assert (known == given) == (given == "sane-id.1:2_3")
    assert (await fleet.nginx.line(known))["status"] == 401
    logs = [process.log for process in fleet.processes]
    await until(lambda: any(f'"request_id": "{known}"' in log.read_text() for log in logs), "the service's log line")
    assert answer.json()["request_id"] == known


async def test_long_lists_are_compressed(fleet: Fleet, tenant: Tenant) -> None:
    fleet.provider.release.set()
    sent = await fleet.through.post("/messages", json={"content": "x" * 9000}, headers=tenant.user.headers)
    assert sent.status_code == 201
    listed = await fleet.through.get("/messages", headers={**tenant.user.headers, "Accept-Encoding": "gzip"})
    assert listed.headers["content-encoding"] == "gzip"
    assert listed.json()[0]["content"] == "x" * 9000


async def test_a_reload_in_the_middle_of_a_stream_loses_nothing(fleet: Fleet, tenant: Tenant) -> None:
    old = fleet.nginx.workers()
    async with sending(fleet.through, tenant.user.headers) as events:
        assert (await anext(events)).name == "message"
        assert (await anext(events)).data == {"text": FIRST}
        fleet.nginx.reload()
        await until(lambda: fleet.nginx.workers() - old, "new workers")
        for _ in range(4):
            assert (await fleet.through.get("/health")).status_code == 200
        assert fleet.nginx.workers() & old  # the one that the stream goes through
        fleet.provider.release.set()
        ends = await rest(events)
    assert (text_of(ends), ends[-1].name) == (REST, "completed")
    await until(lambda: not fleet.nginx.workers() & old, "the old workers to go")


async def test_when_a_process_is_killed_only_what_it_was_doing_fails_and_no_message_is_sent_twice(
    fleet: Fleet, tenant: Tenant
) -> None:
    user, victim = tenant.user.headers, fleet.processes[0]
    sends = [asyncio.create_task(fleet.through.post("/messages", json={"content": "x"}, headers=user)) for _ in "123"]
    await until(lambda: fleet.provider.asked == 3, "the provider to be asked three times")
    victim.kill()
    searches = [await fleet.through.get("/messages?q=canary", headers=user) for _ in range(6)]
    assert {answer.status_code for answer in searches} == {200}
    logins = [await fleet.through.post("/login", json={"email": "no@acme.com", "password": "no"}) for _ in range(3)]
    assert {answer.status_code for answer in logins} == {401}
    fleet.provider.release.set()
    answers = await asyncio.gather(*sends)
    lines = [await fleet.nginx.line(answer.headers["x-request-id"]) for answer in (*answers, *searches, *logins)]
    assert [fleet.process(line) for line in lines].count(0) == 1  # nobody else's request ended there
    assert fleet.provider.asked == 3
    for answer, line in zip(answers, lines, strict=False):
        if fleet.process(line):
            assert answer.status_code == 201
        else:
            assert_problem(answer, 502, "bad-gateway")
            assert answer.headers["retry-after"] == "1"

    async def asked() -> dict[str, Any]:
        answer = await fleet.through.get("/health?q=canary")
        assert answer.status_code == 200
        return await fleet.nginx.line(answer.headers["x-request-id"])

    async def tried_in_vain() -> bool:
        return (await asked())["upstream_status"] == "502, 200"

    async def serves_again() -> bool:
        return fleet.process(await asked()) == 0

    await until(tried_in_vain, "nginx to try the process again, and another for the same request")
    logs = [fleet.nginx.log, fleet.nginx.directory / "error.log", *(process.log for process in fleet.processes)]
    assert not [log for log in logs if "canary" in log.read_text()]
    await victim.start()
    await until(serves_again, "nginx to find it back")


async def test_processes_count_requests_together(fleet: Fleet, tenant: Tenant) -> None:
    user = tenant.user.headers
    answers = await asyncio.gather(*(fleet.through.get("/me", headers=user) for _ in range(REQUESTS_OF_A_USER + 9)))
    assert sorted(answer.status_code for answer in answers) == [200] * REQUESTS_OF_A_USER + [429] * 9
    lines = [await fleet.nginx.line(answer.headers["x-request-id"]) for answer in answers]
    assert {fleet.process(line) for line in lines} == {0, 1, 2}


async def test_a_message_is_cancelled_from_another_process(fleet: Fleet, tenant: Tenant) -> None:
    one, other, _ = fleet.processes
    async with one.client() as here, other.client() as there, sending(here, tenant.user.headers) as events:
        message_id = (await anext(events)).data["id"]
        assert (await anext(events)).data == {"text": FIRST}
        cancelled = await there.post(f"/messages/{message_id}/cancel", headers=tenant.user.headers)
        ends = await rest(events)
    assert cancelled.status_code == 200, cancelled.text
    assert [event.name for event in ends] == ["cancelled"]
    assert ends[0].data["response"] == FIRST


async def test_a_stream_goes_on_at_another_process(fleet: Fleet, tenant: Tenant) -> None:
    headers = tenant.user.headers
    async with sending(fleet.through, {**headers, "X-Request-ID": "begins"}) as events:
        message_id = (await anext(events)).data["id"]
        first = await anext(events)
    began = fleet.process(await fleet.nginx.line("begins"))
    others = [process for process in fleet.processes if process is not fleet.processes[began]]
    for process in others:
        async with process.client() as client, following(client, message_id, headers, first.id) as events:
            assert (await anext(events)).name == "message"
            if process is others[-1]:
                fleet.provider.release.set()
                ends = await rest(events)
    assert (text_of(ends), ends[-1].name) == (REST, "completed")


async def test_who_is_logged_out_at_one_process_is_out_at_all(fleet: Fleet, tenant: Tenant) -> None:
    user = tenant.user.headers
    clients = [process.client() for process in fleet.processes]
    assert {(await client.get("/me", headers=user)).status_code for client in clients} == {200}
    assert (await fleet.through.post("/logout", headers=user)).status_code == 204
    assert {(await client.get("/me", headers=user)).status_code for client in clients} == {401}
    for client in clients:
        await client.aclose()


async def test_an_idempotency_key_is_one_at_all_processes(
    fleet: Fleet, tenant: Tenant, superuser: asyncpg.Connection
) -> None:
    headers = {**tenant.user.headers, "Idempotency-Key": secrets.token_hex(8)}
    body = {"content": "once"}
    sends = [asyncio.create_task(fleet.through.post("/messages", json=body, headers=headers)) for _ in range(6)]
    _, running = await asyncio.wait(sends, return_when=asyncio.FIRST_COMPLETED)
    while len(running) > 1:
        _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    assert {task.result().status_code for task in sends if task.done()} == {409}
    fleet.provider.release.set()
    answer = await running.pop()
    replays = [await fleet.through.post("/messages", json=body, headers=headers) for _ in range(3)]
    assert {replay.json()["id"] for replay in (answer, *replays)} == {answer.json()["id"]}
    assert await superuser.fetchval("SELECT count(*) FROM messages WHERE tenant_id = $1", tenant.id) == 1
    assert fleet.provider.asked == 1


async def test_a_budget_is_one_at_all_processes(fleet: Fleet, tenant: Tenant) -> None:
    set_to = await fleet.through.put("/admin/budget", json={"limit_micro_usd": 3}, headers=tenant.admin.headers)
    assert set_to.status_code == 200, set_to.text
    body = {"content": "x", "background": True}
    sent = [fleet.through.post("/messages", json=body, headers=tenant.user.headers) for _ in range(9)]
    answers = await asyncio.gather(*sent)
    assert sorted(answer.status_code for answer in answers) == [202] * 3 + [402] * 6  # each sets one aside
    fleet.provider.release.set()


async def test_an_answer_is_kept_for_all_processes(fleet: Fleet, tenant: Tenant) -> None:
    kept = await fleet.through.patch(
        f"/tenants/{tenant.id}", json={"cache_ttl_seconds": 60}, headers=tenant.admin.headers
    )
    assert kept.status_code == 200, kept.text
    fleet.provider.release.set()
    looks = []
    for process in fleet.processes:
        async with process.client() as client:
            answer = await client.post("/messages", json={"content": "the same"}, headers=tenant.user.headers)
            looks.append((answer.status_code, answer.headers["x-cache"], answer.json()["response"]))
    assert looks == [(201, "miss", FIRST + REST), (201, "hit", FIRST + REST), (201, "hit", FIRST + REST)]
    assert fleet.provider.asked == 1
