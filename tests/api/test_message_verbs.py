"""One message by its id, and lists that are narrowed."""

from datetime import datetime, timedelta

import asyncpg
import httpx
import pytest

from app.core.ids import new_id
from tests.api.problems import assert_problem
from tests.helpers import Tenant, send


def without_request_id(answer: httpx.Response) -> bytes:
    return answer.content.replace(answer.headers["x-request-id"].encode(), b"")


async def test_a_message_is_found_by_its_id_by_everyone_in_the_tenant(client: httpx.AsyncClient, acme: Tenant) -> None:
    sent = await send(client, acme.user)
    for member in (acme.user, acme.admin):
        answer = await client.get(f"/messages/{sent['id']}", headers=member.headers)
        assert (answer.status_code, answer.json()) == (200, sent)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_another_tenants_message_is_none_to_the_byte(
    client: httpx.AsyncClient, acme: Tenant, rival: Tenant, method: str
) -> None:
    theirs = (await send(client, rival.user))["id"]
    answers = [
        await client.request(method, f"/messages/{message_id}", headers=acme.admin.headers)
        for message_id in (theirs, new_id(), "nonsense", "%00", "x" * 100)
    ]
    for answer in answers:
        assert_problem(answer, 404)
    assert len({without_request_id(answer) for answer in answers}) == 1
    assert (await client.get(f"/messages/{theirs}", headers=rival.user.headers)).status_code == 200


async def test_the_author_deletes_a_message_for_good(client: httpx.AsyncClient, acme: Tenant) -> None:
    path = f"/messages/{(await send(client, acme.user))['id']}"
    deleted = await client.delete(path, headers=acme.user.headers)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert_problem(await client.delete(path, headers=acme.user.headers), 404)
    assert (await client.get("/messages", headers=acme.user.headers)).json() == []


async def test_a_user_deletes_nobody_elses_message_and_an_admin_does(client: httpx.AsyncClient, acme: Tenant) -> None:
    admins, users = (await send(client, acme.admin))["id"], (await send(client, acme.user))["id"]
    assert_problem(await client.delete(f"/messages/{admins}", headers=acme.user.headers), 403)
    assert (await client.get(f"/messages/{admins}", headers=acme.user.headers)).status_code == 200
    assert (await client.delete(f"/messages/{users}", headers=acme.admin.headers)).status_code == 204


async def test_a_running_message_cannot_be_deleted(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    message_id = (await send(client, acme.user))["id"]
    await superuser.execute("UPDATE messages SET status = 'pending' WHERE id = $1", message_id)
    problem = assert_problem(await client.delete(f"/messages/{message_id}", headers=acme.user.headers), 409)
    assert problem["type"] == "urn:llm-saas:problem:message-running"


async def test_the_list_is_narrowed_by_user_status_and_time(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant, rival: Tenant
) -> None:
    first, second = await send(client, acme.admin), await send(client, acme.user)
    failed = await send(client, acme.user)
    await superuser.execute("UPDATE messages SET status = 'failed' WHERE id = $1", failed["id"])

    async def listed(**query: str) -> list[str]:
        answer = await client.get("/messages", params=query, headers=acme.user.headers)
        assert answer.status_code == 200, answer.text
        return [row["id"] for row in answer.json()]

    assert await listed(user_id=acme.user.id) == [failed["id"], second["id"]]
    assert await listed(status="failed") == [failed["id"]]
    assert await listed(status="completed", user_id=acme.user.id) == [second["id"]]
    assert await listed(since=second["created_at"]) == [failed["id"], second["id"]]
    after = datetime.fromisoformat(failed["created_at"]) + timedelta(microseconds=1)
    assert await listed(since=after.isoformat()) == []
    assert await listed(user_id=rival.user.id) == []
    assert await listed() == [failed["id"], second["id"], first["id"]]


async def test_the_next_page_keeps_the_filters(client: httpx.AsyncClient, acme: Tenant) -> None:
    wanted = [(await send(client, acme.user))["id"] for _ in range(3)]
    await send(client, acme.admin)
    url = f"/messages?limit=2&status=completed&user_id={acme.user.id}&since=2020-01-01T00:00:00Z"
    seen: list[str] = []
    while url:
        answer = await client.get(url, headers=acme.user.headers)
        seen += [row["id"] for row in answer.json()]
        url = answer.links.get("next", {}).get("url", "")
    assert seen == wanted[::-1]


@pytest.mark.parametrize(
    "query",
    [
        "status=done",
        "since=yesterday",
        "since=2026-01-01T00:00:00",
        "since=0001-01-01T00:00:00%2B23:59",
        "since=9999-12-31T23:59:59-23:59",
        "since=-1",
        "user_id=%00",
        f"user_id={'x' * 37}",
    ],
)
async def test_a_filter_that_makes_no_sense_is_bad_input(client: httpx.AsyncClient, acme: Tenant, query: str) -> None:
    assert_problem(await client.get(f"/messages?{query}", headers=acme.user.headers), 422)
