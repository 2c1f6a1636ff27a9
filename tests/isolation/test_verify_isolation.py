"""`verify-isolation` on a deployment that is whole, and on one with each of the nets cut: what it finds then."""

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
import pytest_asyncio
from pydantic import SecretStr
from sqlalchemy import URL

from app.api.http import response_headers
from app.application import create_app
from app.cache.cache import ResponseCache
from app.commands import verify_isolation as command
from app.core.config import Settings
from app.core.ids import new_id
from app.db.session import Database
from app.residency.places import OnePlace
from app.serving import served_on_loopback
from app.verification import foreign_ids, ways_around
from app.verification.catalog import CHECKS
from app.verification.database import NAMED as STATEMENTS
from app.verification.database import Site, look_at_catalog, look_at_rows
from app.verification.description import described
from app.verification.operations import OPERATIONS
from app.verification.page import page_of
from app.verification.report import Proof, Report
from app.verification.run import Verification
from app.verification.statements import Audit
from app.verification.tenants import SIDES, Credentials, ThrowawayTenants
from app.verification.wire import NotVerified, Wire
from app.verification.world import World, two_tenants
from tests.committed.server import free_port
from tests.conftest import POOLER_SERVERS, SECRET_KEY, Pooler, execute, make_settings, own_database
from tests.deploy.nginx import NGINX
from tests.helpers import PASSWORD, unique_email
from tests.isolation.caching_proxy import BY_URL, proxy_before
from tests.pgbouncer import PgBouncer
from tests.redis_server import REDIS, RedisServer, needs_redis
from tests.statements import before_statements
from tests.waiting import until, within_patience

database_url, _, superuser = own_database()
OWN = "tenant_id::text = app_tenant()"
OPEN_DOOR = "ALTER POLICY tenant_isolation ON messages USING (true)"
MENDED = f"ALTER POLICY tenant_isolation ON messages USING ({OWN})"


@pytest_asyncio.fixture(scope="module")
async def login(database_url: URL) -> AsyncIterator[URL]:
    """The URL of a login that is no more than the runtime, as `create_tables.py` makes it."""
    name = f"runtime_{secrets.token_hex(6)}"
    await execute(database_url, f"CREATE ROLE {name} LOGIN PASSWORD 'runtime' IN ROLE llm_saas_app")
    yield database_url.set(username=name, password="runtime")
    await execute(database_url, f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if REDIS is None:
        yield ""
        return
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server.url
    server.kill()


@pytest.fixture(scope="module")
def settings(login: URL, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    data, changes = tmp_path_factory.mktemp("data"), {"redis_url": redis_url, "background_work": True}
    if Pooler.port is None:
        yield make_settings(login, data, **changes)
        return
    pooler = PgBouncer(login, POOLER_SERVERS)  # that of all tests logs in as a superuser
    pooler.start()
    through = {"database_url": pooler.url(login).render_as_string(hide_password=False)}
    yield make_settings(login, data, **changes).model_copy(update=through)
    pooler.stop()


@pytest_asyncio.fixture(scope="module")
async def url(settings: Settings) -> AsyncIterator[str]:
    async with served_on_loopback(create_app(settings)) as url:
        yield url


@asynccontextmanager
async def a_world(url: str, *kinds: str) -> AsyncIterator[World]:
    """With these things of the other's."""
    wire, report = Wire(url), Report(url, "", "")
    tenants = ThrowawayTenants(wire, [secrets.token_hex()])
    try:
        asking, other = await two_tenants(tenants)
        found = described(json.loads((await wire.get("/openapi.json")).text))
        rows = [(row, found[row.method, row.path]) for row in OPERATIONS if (row.method, row.path) in found]
        world = World(wire, tenants, report, asking, other, rows)
        await world.furnish(lambda _: None, kinds)
        yield world
    finally:
        await tenants.erase_all()
        await wire.close()


@pytest_asyncio.fixture(scope="module")
async def world(url: str) -> AsyncIterator[World]:
    async with a_world(url, "message", "tenant") as world:
        yield world


async def visited(world: World, visit: foreign_ids.Visit, name: str) -> Proof:
    proof = Proof(name)
    await visit(world, proof, *next((row, described) for row, described in world.rows if row.name == name))
    return proof


async def by_id(world: World) -> Proof:
    return await visited(world, foreign_ids.in_the_path, "GET /messages/{id}")


# --- whole


async def test_it_holds_on_a_deployment_that_is_whole_and_nothing_is_left(
    url: str, settings: Settings, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    report = await command.verified(settings, url)
    assert report.verdict == "holds", "\n".join(report.lines())
    assert {row.name for row in OPERATIONS if row.target and not row.named} <= set(report.called)
    assert await superuser.fetchval("SELECT count(*) FROM tenants") == 0
    command.write(report, tmp_path)
    assert json.loads((tmp_path / "isolation.json").read_text())["requests"] == report.requests > 500
    assert "Isolation holds" in (tmp_path / "isolation.html").read_text()


# --- with a net cut


async def catalog_of(url: URL) -> list[str]:
    database = Database(url, pool_size=1)
    report = Report("", "", "")
    await look_at_catalog(Site(url.render_as_string(hide_password=False), OnePlace(database).chosen(None)), report)
    await database.close()
    assert not [failed for proof in report.proofs for failed in proof.failed]
    return [found for proof in report.proofs for found in proof.found]


@pytest.mark.parametrize(
    ("sabotage", "mended", "said"),
    [
        (
            "DROP POLICY tenant_isolation ON invites",
            f"CREATE POLICY tenant_isolation ON invites TO llm_saas_app USING ({OWN}) WITH CHECK ({OWN})",
            "invites: no policy",
        ),
        (
            "ALTER TABLE messages NO FORCE ROW LEVEL SECURITY",
            "ALTER TABLE messages FORCE ROW LEVEL SECURITY",
            "messages: it is not forced on the owner",
        ),
    ],
)
async def test_a_policy_that_is_gone_or_not_forced_is_found(
    login: URL, database_url: URL, sabotage: str, mended: str, said: str
) -> None:
    whole = await catalog_of(login)
    await execute(database_url, sabotage)
    try:
        found = await catalog_of(login)
    finally:
        await execute(database_url, mended)
    assert set(found) - set(whole) == {said}
    assert await catalog_of(login) == whole


async def test_a_login_that_is_a_superuser_is_found(login: URL, database_url: URL) -> None:
    assert await catalog_of(login) == []
    assert any("a superuser" in problem for problem in await catalog_of(database_url))


async def test_a_policy_that_lets_all_through_is_found_at_work(world: World, login: URL, database_url: URL) -> None:
    async def rows() -> list[str]:
        database, report = Database(login, pool_size=1), Report("", "", "")
        site = Site(login.render_as_string(hide_password=False), OnePlace(database).chosen(None))
        await look_at_rows(site, world.asking.id, world.other.id, report)
        await database.close()
        return report.proofs[0].found

    assert await rows() == []
    await execute(database_url, OPEN_DOOR)
    try:
        assert await rows() == [f"messages: who entered {whom} sees rows{of}" for whom, of in
                                (("a tenant", " of others"), ("no tenant", ""))]  # fmt: skip
    finally:
        await execute(database_url, MENDED)


async def test_a_condition_that_was_cut_out_is_found_by_whoever_asks_once_the_second_net_is_gone_too(
    world: World, database_url: URL
) -> None:
    async def cut(statement: str) -> str:
        return re.sub(r"messages\.tenant_id = (\$\d+(?:::VARCHAR)?)", r"\1 IS NOT NULL", statement)

    async def both_nets_cut() -> Proof:
        await execute(database_url, OPEN_DOOR)
        try:
            with before_statements(cut):
                return await by_id(world)
        finally:
            await execute(database_url, MENDED)

    whole = await by_id(world)
    assert (whole.found, whole.failed) == ([], [])
    assert whole.tried == len(world.callers)
    found = (await both_nets_cut()).found
    assert any("GET /messages/{id} with another tenant's id, as user was answered with something" in f for f in found)


async def test_a_condition_that_was_cut_out_is_found_in_the_statements_though_the_second_net_holds() -> None:
    audit, proof = Audit(("tenants", "messages")), Proof(STATEMENTS)
    audit.judge(["SELECT messages.id FROM messages WHERE messages.tenant_id = $1"], proof)
    assert (proof.tried, proof.found) == (1, [])
    audit.judge(["SELECT messages.id FROM messages WHERE messages.id = $1"], proof)
    assert proof.found == ["no tenant's condition: SELECT messages.id FROM messages WHERE messages.id = $1"]


@needs_redis
async def test_a_kept_answer_that_all_tenants_share_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Proof("")
    await ways_around.kept_answers(world, whole)
    assert (whole.tried, whole.found, world.report.unseen) == (1, [], [])

    look = ResponseCache.look

    async def look_for_nobody(self: ResponseCache, caching: Any, asker: Any, *rest: Any) -> Any:
        return await look(self, replace(caching, epoch=""), replace(asker, tenant_id="all"), *rest)

    monkeypatch.setattr(ResponseCache, "look", look_for_nobody)
    shared = Proof("")
    await ways_around.kept_answers(world, shared)
    assert any("was answered with what was kept for that one" in found for found in shared.found)


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed (make test installs it for root)")
async def test_a_proxy_that_keeps_answers_by_their_url_is_found(url: str, tmp_path: Path) -> None:
    for name, caching in (("plain", ""), ("by-url", BY_URL)):
        (tmp_path / name).mkdir()
        async with proxy_before(url, tmp_path / name, caching) as proxy, a_world(proxy, "message", "tenant") as world:
            one = await by_id(world)
            listed = await visited(world, foreign_ids.without_an_id, "GET /messages")
        found = [*one.found, *listed.found]
        if not caching:
            assert (found, world.kept.found) == ([], [])
            continue
        for said in (
            "GET /messages/{id} with another tenant's id, as anonymous",
            "GET /messages, as user was",
        ):
            assert any(said in each for each in found), found


async def test_the_rows_of_a_tenant_that_is_neither_of_the_two_are_found(world: World) -> None:
    stranger = new_id()
    for text, found in (
        (f'[{{"tenant_id": "{world.asking.id}", "user_id": "{stranger}"}}]', []),
        (f'[{{"tenant_id": "{stranger}"}}]', [f"x was answered with something of another tenant's (200): {stranger}"]),
    ):
        proof = Proof("")
        world.look(proof, httpx2.Response(200, text=text), "x")
        assert [each.replace(", as `tenant_id`", "") for each in proof.found] == found


async def test_a_word_of_the_others_is_found_wherever_it_stands(world: World) -> None:
    for answer in (httpx2.Response(404, text=world.mark.upper()), httpx2.Response(200, headers={"x": world.other.id})):
        proof = Proof("")
        assert not world.look(proof, answer, "x")
        assert len(proof.found) == 1


async def test_an_answer_that_differs_from_that_for_nobodys_is_found(world: World) -> None:
    proof, nobodys = Proof(""), httpx2.Response(404, text="No. 2", headers={"x-request-id": "2", "date": "now"})
    world.compare(proof, httpx2.Response(404, text="No. 1", headers={"x-request-id": "1"}), nobodys, "x")
    assert (proof.tried, proof.found) == (1, [])
    for other in (httpx2.Response(403, text="No. 1"), httpx2.Response(404, text="Not yours")):
        world.compare(proof, other, nobodys, "x")
        assert proof.found == ["x: it is answered otherwise than what nobody has"]
        proof.found.clear()


async def test_an_answer_of_nobodys_proves_nothing(world: World) -> None:
    proof = Proof("")
    world.compare(proof, httpx2.Response(502), httpx2.Response(502), "x")
    assert (proof.found, proof.failed) == ([], ["x was answered with 502"])


async def test_an_operation_that_nobody_knows_is_found(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wire, report = Wire(url), Report(url, "", "")
    run = Verification(wire, ThrowawayTenants(wire, ["x"]), report, {})
    schema = (await wire.get("/openapi.json")).json()
    await wire.close()
    run.rows_of(schema)
    assert report.proofs[-1].found == []
    schema["paths"]["/secrets/{id}"] = {"get": {"responses": {}}}
    run.rows_of(schema)
    assert report.proofs[-1].found == ["GET /secrets/{id}: nobody has said who may call it, so it was not looked at"]


async def test_what_would_let_a_proxy_keep_an_answer_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_headers, "_NO_STORE", (b"cache-control", b"public"))
    await visited(world, foreign_ids.without_an_id, "GET /me")
    assert world.kept.found == ["GET /me is answered with `Cache-Control: public`: a proxy may keep it"]


# --- what it leaves, and how it gives up


async def test_the_limits_of_a_deployment_are_waited_for(settings: Settings) -> None:
    limited = settings.model_copy(update={"rate_limit_enabled": True, "rate_limit_address": "3 per 1 second"})
    async with served_on_loopback(create_app(limited)) as url:
        wire = Wire(url)
        answers = [await wire.post("/login", json={"email": "a@b.cd", "password": "x"}) for _ in range(5)]
        await wire.close()
    assert {answer.status_code for answer in answers} == {401}
    assert wire.waited > 0
    assert wire.requests > len(answers)


async def test_what_a_killed_run_left_is_erased_by_the_next_and_nothing_of_others_is(
    url: str, superuser: asyncpg.Connection
) -> None:
    wire = Wire(url)
    ours = ThrowawayTenants(wire, ["a key", "the key before"])
    stranger = {
        "name": "verify-isolation asking 0123456789abcdef",
        "admin": {"email": unique_email(), "password": PASSWORD},
    }
    kept = (await wire.post("/create-tenant", json=stranger)).json()["id"]
    left = [(await killed.make("asking")).id for killed in (ThrowawayTenants(wire, ["the key before"]), ours)]
    assert await ours.erase_all() == len(left)
    found = {row[0] for row in await superuser.fetch("SELECT id FROM tenants")}
    assert kept in found
    assert not found & set(left)
    assert await ours.erase_all() == 0
    await wire.close()


async def test_a_run_that_is_interrupted_says_so_and_leaves_nothing(
    url: str, settings: Settings, superuser: asyncpg.Connection
) -> None:
    names = [Credentials.of(SECRET_KEY, side, 0).tenant_name for side in SIDES]
    there = "SELECT count(*) FROM tenants WHERE name = ANY($1)"
    task = asyncio.create_task(command.verified(settings, url))

    async def made() -> bool:
        return bool(await superuser.fetchval(there, names) == len(SIDES))

    await until(made, "the run to have made its tenants")
    task.cancel()
    report = await within_patience(task, "the run to end")
    assert (report.gave_up, report.status) == ("interrupted", 2)
    assert await superuser.fetchval(there, names) == 0


async def test_where_tenants_are_the_operators_to_create_it_uses_what_it_has(settings: Settings, login: URL) -> None:
    closed = settings.model_copy(
        update={"tenant_creation": "operator", "operator_token": SecretStr("o" * 32), "docs_enabled": False}
    )
    created: list[Credentials] = []

    async def create(credentials: Credentials) -> bool:
        created.append(credentials)
        return True

    async with served_on_loopback(create_app(closed)) as url:
        wire = Wire(url)
        with_token, without = ThrowawayTenants(wire, ["k"], "o" * 32), ThrowawayTenants(wire, ["l"])
        assert (await with_token.make("asking")).admin.token
        assert await with_token.erase_all() == 1
        with pytest.raises(NotVerified, match="Set OPERATOR_TOKEN, or DATABASE_URL"):
            await without.make("asking")
        with pytest.raises(NotVerified, match="cannot log in"):  # as this `create` makes nothing
            await ThrowawayTenants(wire, ["m"], create=create).make("asking")
        assert len(created) == 1
        run = Verification(wire, without, Report(url, "", ""), {"paths": {}})
        assert await run.description() == {"paths": {}}
        assert "DOCS_ENABLED=false" in run.report.unseen[0]
        await wire.close()


async def test_a_database_that_is_not_the_services_is_said_to_be_and_not_judged(
    url: str, world: World, login: URL, template_url: URL
) -> None:
    async def told(database_url: URL) -> Report:
        database, report = Database(database_url, pool_size=1), Report("", "", "")
        site = Site(database_url.render_as_string(hide_password=False), OnePlace(database).chosen(None))
        run = Verification(world.wire, world.tenants, report, {}, [site])
        await run.look_at_catalogs()
        await run.look_at_rows(world.asking, world.other)
        await database.close()
        return report

    assert len((await told(login)).proofs) > len(CHECKS)
    elsewhere = await told(template_url)
    assert elsewhere.proofs == []
    assert "leads to another than it uses" in elsewhere.unseen[0]


async def test_two_runs_at_once_do_not_erase_each_others_tenants(settings: Settings, url: str) -> None:
    with command.lock_of(settings, url):
        report = await command.verified(settings, url)
    assert "another run" in report.gave_up
    assert (report.status, report.requests) == (2, 0)


async def test_who_is_not_there_or_is_something_else_is_not_verified(settings: Settings) -> None:
    report = await command.verified(settings, f"http://127.0.0.1:{free_port()}")
    assert (report.verdict, report.status) == ("not verified", 2)
    assert "GAVE UP" in "\n".join(report.lines())


def test_the_page_shows_what_was_found_as_text() -> None:
    report = Report("http://<script>", "1", "now", gave_up="interrupted")
    report.proof("A rule").leak("<script>alert(1)</script>")
    page = page_of(report)
    assert "A leak was found" in page
    assert "<script>" not in page
    assert report.status == 1
