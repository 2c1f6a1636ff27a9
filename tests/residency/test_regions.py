"""Several regions: a tenant lives whole in one, is found from anywhere, and an email is one user's over all."""

import asyncio

import httpx

from tests.api.problems import assert_problem
from tests.committed.server import free_port
from tests.helpers import PASSWORD, log_in, send, unique_email
from tests.observability.scrape import scrape
from tests.residency.regions import Two, new_key, tenant_in
from tests.sessions import refresh, status_of
from tests.statements import statements
from tests.waiting import until


async def test_a_tenant_lives_whole_in_its_region_and_is_served_by_any_process(two: Two) -> None:
    async with two.service() as (_, here), two.service() as (_, there):
        acme, rival = await tenant_in(here, "us"), await tenant_in(here, None)
        key = await new_key(here, acme.admin)
        for client in (here, there):
            admin = await log_in(client, acme.admin.email)
            await send(client, admin)
            login = await client.post("/login", json={"email": acme.user.email, "password": PASSWORD})
            assert (await refresh(client, login.json()["refresh_token"])).status_code == 200
            assert await status_of(client, key) == 200
            assert await status_of(client, acme.admin.token) == 200
            listed = await client.get("/messages", headers=acme.admin.headers)
            assert {message["tenant_id"] for message in listed.json()} == {acme.id}
        await send(there, rival.admin)

        assert await two.count("eu", acme.id) == {}
        assert await two.count("us", rival.id) == {}
        for region, tenant in (("us", acme), ("eu", rival)):
            found = await two.count(region, tenant.id)
            assert found.keys() >= {"tenants", "users", "messages", "sessions", "audit_log"}
        assert (await two.count("us", acme.id))["messages"] == 2


async def test_no_plaintext_of_another_region_stands_in_the_directory(two: Two) -> None:
    async with two.service() as (_, client):
        acme = await tenant_in(client, "us")
        rows = await two.superusers["eu"].fetch("SELECT * FROM directory_claims WHERE tenant_id = $1", acme.id)
    assert sorted(row["kind"] for row in rows) == ["email", "email", "tenant_name"]
    told = str([dict(row) for row in rows])
    for plain in (acme.name, acme.admin.email, acme.user.email):
        assert plain not in told
    assert await two.superusers["us"].fetchval("SELECT count(*) FROM directory_claims") == 0


async def test_an_email_and_a_name_are_one_tenants_over_all_regions_whoever_asks_at_once(two: Two) -> None:
    async with two.service() as (_, here), two.service() as (_, there):
        tenants = [await tenant_in(here, region) for region in ("eu", "us")]
        for _ in range(5):
            email, name = unique_email(), unique_email("Name")
            body = {"email": email, "password": PASSWORD}
            answers = await asyncio.gather(
                *(
                    client.post("/register", json={**body, "tenant_id": tenant.id})
                    for client in (here, there)
                    for tenant in tenants
                )
            )
            assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
            assert [await _emails(two, region, email) for region in ("eu", "us")].count(1) == 1
            answers = await asyncio.gather(
                *(
                    client.post("/create-tenant", json={"name": name, "region": region})
                    for client in (here, there)
                    for region in ("eu", "us")
                )
            )
            assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


async def test_a_deleted_users_email_is_free_in_all_regions(two: Two) -> None:
    async with two.service() as (_, client):
        acme, rival = await tenant_in(client, "us"), await tenant_in(client, "eu")
        body = {"email": acme.user.email, "password": PASSWORD, "tenant_id": rival.id}
        assert_problem(await client.post("/register", json=body), 409)
        deleted = await client.delete(f"/admin/users/{acme.user.id}", headers=acme.admin.headers)
        assert deleted.status_code == 204
        assert (await client.post("/register", json=body)).status_code == 201
        assert (await log_in(client, acme.user.email)).tenant_id == rival.id


async def test_what_a_claims_owner_has_no_more_is_free_although_nobody_gave_it_up(two: Two) -> None:
    """A process was killed after it deleted the user, and before it told the directory."""
    async with two.service() as (_, client):
        acme, rival = await tenant_in(client, "us"), await tenant_in(client, "eu")
        await two.superusers["us"].execute("DELETE FROM users WHERE id = $1", acme.user.id)
        body = {"email": acme.user.email, "password": PASSWORD, "tenant_id": rival.id}
        assert (await client.post("/register", json=body)).status_code == 201


async def test_an_erased_tenant_leaves_nothing_in_the_directory(two: Two) -> None:
    async with two.service() as (_, client):
        acme = await tenant_in(client, "us")
        await new_key(client, acme.admin)
        erased = await client.delete(f"/tenants/{acme.id}", params={"name": acme.name}, headers=acme.admin.headers)
        assert erased.status_code == 204
        assert await two.count("us", acme.id) == {}
        for table, column in (("directory_tenants", "id"), ("directory_claims", "tenant_id")):
            query = f"SELECT count(*) FROM {table} WHERE {column} = $1"
            assert await two.superusers["eu"].fetchval(query, acme.id) == 0
        assert await status_of(client, acme.admin.token) == 401


async def test_a_tenants_new_name_is_claimed_and_its_own_name_is_no_conflict(two: Two) -> None:
    async with two.service() as (_, client):
        acme, rival = await tenant_in(client, "us"), await tenant_in(client, "eu")

        async def rename(name: str) -> httpx.Response:
            return await client.patch(f"/tenants/{acme.id}", json={"name": name}, headers=acme.admin.headers)

        assert_problem(await rename(rival.name), 409)
        assert (await rename(acme.name)).status_code == 200
        new = unique_email("New")
        assert (await rename(new)).status_code == 200
        assert_problem(await client.post("/create-tenant", json={"name": new, "region": "eu"}), 409)
        # The name before is nobody's any more.
        assert (await client.post("/create-tenant", json={"name": acme.name, "region": "eu"})).status_code == 201


async def test_a_region_that_is_not_there_is_refused(two: Two, client: httpx.AsyncClient) -> None:
    async with two.service() as (_, of_two):
        for service, region in ((of_two, "mars"), (client, "eu")):
            body = {"name": unique_email("Tenant"), "region": region}
            problem = assert_problem(await service.post("/create-tenant", json=body), 422)
            assert problem["errors"][0]["loc"] == ["body", "region"]


async def test_with_one_region_no_directory_is_asked_and_nothing_is_written_to_it(two: Two) -> None:
    shards = "eu=" + two.urls["eu"].render_as_string(hide_password=False)
    with statements() as seen:
        async with two.service(database_shards=shards) as (_, client):
            acme = await tenant_in(client, "eu")
            await new_key(client, acme.admin)
            await log_in(client, acme.user.email)
    assert seen
    assert not [statement for statement in seen if "directory" in statement or "identify_region" in statement]
    assert await two.superusers["eu"].fetchval("SELECT count(*) FROM directory_tenants") == 0


async def _emails(two: Two, region: str, email: str) -> int:
    count: int = await two.superusers[region].fetchval("SELECT count(*) FROM users WHERE email = $1", email)
    return count


async def test_what_waits_is_counted_over_all_regions(two: Two) -> None:
    async with two.service(message_workers=True, background_work=False) as (_, client):
        for region, count in (("eu", 1), ("us", 2)):
            tenant = await tenant_in(client, region)
            for _ in range(count):
                body = {"content": "x", "background": True}
                assert (await client.post("/messages", json=body, headers=tenant.user.headers)).status_code == 202
    port = free_port()
    async with two.service(message_workers=True, background_work=False, metrics_port=port):

        async def all_are_shown() -> bool:
            return (await scrape(port)).value("llm_saas_queue_depth") == 3

        await until(all_are_shown, "the messages of both regions")
