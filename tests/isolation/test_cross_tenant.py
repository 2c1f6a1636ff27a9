"""Another tenant's ids in every place that takes one."""

import asyncio

import httpx

from app.core.ids import new_id
from tests.helpers import PASSWORD, Member, Tenant, send, unique_email


def without_request_id(answer: httpx.Response) -> tuple[int, dict[str, object]]:
    body = answer.json()
    body.pop("request_id")
    return answer.status_code, body


async def test_a_path_tenant_that_is_not_ones_own_is_refused_alike_whether_it_exists_or_not(
    client: httpx.AsyncClient, acme: Tenant, rival: Tenant
) -> None:
    headers = acme.admin.headers
    theirs = await client.get(f"/tenants/{rival.id}/users", headers=headers)
    nobodys = await client.get(f"/tenants/{new_id()}/users", headers=headers)
    nonsense = await client.get("/tenants/nonsense/users", headers=headers)

    assert theirs.status_code == 403
    assert without_request_id(theirs) == without_request_id(nobodys) == without_request_id(nonsense)


async def test_the_tenant_in_query_or_header_has_no_effect(
    client: httpx.AsyncClient, acme: Tenant, rival: Tenant
) -> None:
    await send(client, rival.user)
    mine = await send(client, acme.user)
    headers = {**acme.user.headers, "X-Tenant-ID": rival.id}

    listed = await client.get("/messages", params={"tenant_id": rival.id}, headers=headers)

    assert [row["id"] for row in listed.json()] == [mine["id"]]
    theirs = await client.get("/messages", params={"user_id": rival.user.id}, headers=headers)
    assert theirs.json() == []


async def test_the_tenant_in_a_body_is_refused(client: httpx.AsyncClient, acme: Tenant, rival: Tenant) -> None:
    answers = [
        await client.post("/messages", json={"content": "x", "tenant_id": rival.id}, headers=acme.user.headers),
        await client.post(
            "/admin/users",
            json={"email": unique_email(), "password": PASSWORD, "tenant_id": rival.id},
            headers=acme.admin.headers,
        ),
    ]
    assert [answer.status_code for answer in answers] == [422, 422]


async def test_another_tenants_cursor_shows_no_row_of_it(
    client: httpx.AsyncClient, acme: Tenant, rival: Tenant
) -> None:
    for _ in range(2):
        await send(client, rival.user)
    cursor = (await client.get("/messages?limit=1", headers=rival.user.headers)).links["next"]["url"]

    assert (await client.get(cursor, headers=acme.user.headers)).json() == []


async def test_an_admins_new_user_joins_the_admins_tenant(client: httpx.AsyncClient, acme: Tenant) -> None:
    created = await client.post(
        "/admin/users", json={"email": unique_email(), "password": PASSWORD}, headers=acme.admin.headers
    )
    assert created.json()["tenant_id"] == acme.id


async def test_many_tenants_at_once_on_few_connections_see_only_their_own(
    client: httpx.AsyncClient, acme: Tenant, rival: Tenant
) -> None:
    async def ask(tenant: Tenant, member: Member, n: int) -> None:
        sent = await send(client, member, f"{tenant.id} {n}")
        assert sent["tenant_id"] == tenant.id
        for row in (await client.get("/messages?limit=100", headers=member.headers)).json():
            assert row["tenant_id"] == tenant.id
            assert row["content"].startswith(tenant.id)

    await asyncio.gather(*(ask(t, m, n) for n in range(20) for t in (acme, rival) for m in (t.admin, t.user)))
