"""Where a tenant shows users their own messages alone, a colleague's are as none on every path."""

from typing import Any

import httpx
import pytest

from app.core.ids import new_id
from tests.api.problems import assert_problem, without_request_id
from tests.helpers import Member, Tenant, join, send
from tests.sessions import Session, begin, refresh


async def set_visibility(client: httpx.AsyncClient, tenant: Tenant, mode: str) -> None:
    body = {"message_visibility": mode}
    answer = await client.patch(f"/tenants/{tenant.id}", json=body, headers=tenant.admin.headers)
    assert answer.json()["message_visibility"] == mode


async def converse(client: httpx.AsyncClient, member: Member, content: str = "Hello") -> tuple[str, str]:
    """A conversation with a message in it; their ids."""
    talk = (await client.post("/conversations", json={"title": content}, headers=member.headers)).json()["id"]
    body = {"content": content, "conversation_id": talk}
    sent = await client.post("/messages", json=body, headers=member.headers)
    assert sent.status_code == 201
    return talk, sent.json()["id"]


async def ids_of(client: httpx.AsyncClient, member: Member, path: str) -> list[str]:
    """Of every page, newest first."""
    ids, url = [], f"{path}{'&' if '?' in path else '?'}limit=3"
    while url:
        answer = await client.get(url, headers=member.headers)
        assert answer.status_code == 200, answer.text
        ids += [row["id"] for row in answer.json()]
        url = answer.links.get("next", {}).get("url", "")
    return ids


async def by_offset(client: httpx.AsyncClient, member: Member, path: str) -> list[str]:
    ids: list[str] = []
    while True:
        answer = await client.get(f"{path}?limit=3&skip={len(ids)}", headers=member.headers)
        if not answer.json():
            return ids
        ids += [row["id"] for row in answer.json()]


@pytest.mark.parametrize("kind", ["/messages", "/conversations"])
async def test_each_page_of_each_viewer_shows_every_row_once(
    client: httpx.AsyncClient, acme: Tenant, kind: str
) -> None:
    colleague = await join(client, acme.id)
    authors = [acme.user, colleague, acme.admin, acme.user, colleague, acme.user, acme.user, colleague, acme.user]
    made = [(await converse(client, author))[kind == "/messages"] for author in authors]
    newest_first = made[::-1]
    mine = [row for row, author in zip(made, authors, strict=True) if author is acme.user][::-1]

    for mode, seen in (("tenant", newest_first), ("own", mine), ("tenant", newest_first)):
        await set_visibility(client, acme, mode)
        for list_of in (ids_of, by_offset):
            assert await list_of(client, acme.user, kind) == seen
            assert await list_of(client, acme.admin, kind) == newest_first


async def test_no_filter_shows_a_colleagues_message(client: httpx.AsyncClient, acme: Tenant) -> None:
    colleague = await join(client, acme.id)
    talk, theirs = await converse(client, colleague, "a platypus of theirs")
    _, mine = await converse(client, acme.user, "a platypus of mine")
    await set_visibility(client, acme, "own")

    for query, seen in {
        "": [mine],
        "?q=platypus": [mine],
        "?q=theirs": [],
        f"?user_id={colleague.id}": [],
        f"?user_id={acme.user.id}": [mine],
        f"?conversation_id={talk}": [],
        "?status=completed": [mine],
        "?since=2020-01-01T00:00:00Z": [mine],
        f"?user_id={colleague.id}&conversation_id={talk}&q=platypus&status=completed&since=2020-01-01T00:00:00Z": [],
        f"?user_id={acme.user.id}&q=platypus&status=completed&since=2020-01-01T00:00:00Z": [mine],
    }.items():
        assert await ids_of(client, acme.user, f"/messages{query}") == seen, query
    assert await ids_of(client, acme.admin, f"/messages?user_id={colleague.id}") == [theirs]
    assert await ids_of(client, acme.admin, "/messages?q=platypus") == [mine, theirs]


# (method, path, body, what an author may get besides success)
PATHS: list[tuple[str, str, Any, int]] = [
    ("GET", "/messages/{message}", None, 200),
    ("GET", "/messages/{message}/stream", None, 200),
    ("POST", "/messages/{message}/cancel", None, 409),
    ("POST", "/messages/{message}/retry", None, 409),
    ("GET", "/conversations/{conversation}", None, 200),
    ("PATCH", "/conversations/{conversation}", {"title": "x"}, 200),
    ("PATCH", "/conversations/{conversation}", {}, 200),
    ("POST", "/messages", {"content": "x", "conversation_id": "{conversation}"}, 201),
    ("POST", "/messages", {"content": "x", "conversation_id": "{conversation}", "stream": True}, 200),
    ("POST", "/messages", {"content": "x", "conversation_id": "{conversation}", "background": True}, 202),
    ("DELETE", "/messages/{message}", None, 204),
    ("DELETE", "/conversations/{conversation}", None, 204),
]


@pytest.mark.parametrize(("method", "path", "body", "usual"), PATHS, ids=[f"{p[0]} {p[1]} {p[2]}" for p in PATHS])
async def test_a_colleagues_is_as_none_on_every_path(
    client: httpx.AsyncClient, acme: Tenant, method: str, path: str, body: Any, usual: int
) -> None:
    colleague = await join(client, acme.id)
    talk, message = await converse(client, colleague)

    async def call(member: Member, talk: str, message: str, **headers: str) -> httpx.Response:
        json = body and {name: talk if value == "{conversation}" else value for name, value in body.items()}
        filled = path.format(message=message, conversation=talk)
        return await client.request(method, filled, json=json, headers={**member.headers, **headers})

    may_read = method == "GET"
    assert (await call(acme.user, talk, message)).status_code == (200 if may_read else 403)
    await set_visibility(client, acme, "own")
    refused = await call(acme.user, talk, message)
    none = await call(acme.user, new_id(), new_id())
    keyed = await call(acme.user, talk, message, **{"Idempotency-Key": "once"})
    for answer in (refused, none, keyed):
        assert_problem(answer, 404)
        assert without_request_id(answer) == without_request_id(none)
    assert (await client.get(f"/messages/{message}", headers=colleague.headers)).status_code == 200

    assert (await call(acme.admin if method != "DELETE" else colleague, talk, message)).status_code == usual


async def test_an_admin_sees_and_deletes_all_and_switching_back_works_at_once(
    client: httpx.AsyncClient, acme: Tenant
) -> None:
    theirs = await send(client, acme.user)
    colleague = await join(client, acme.id)
    path = f"/messages/{theirs['id']}"
    for mode, status in (("tenant", 200), ("own", 404), ("tenant", 200), ("own", 404)):
        await set_visibility(client, acme, mode)
        assert (await client.get(path, headers=colleague.headers)).status_code == status
        assert (await client.get(path, headers=acme.admin.headers)).status_code == 200
    assert (await client.delete(path, headers=acme.admin.headers)).status_code == 204


async def test_a_demoted_admin_sees_its_own_alone(client: httpx.AsyncClient, acme: Tenant) -> None:
    await set_visibility(client, acme, "own")
    await send(client, acme.admin)
    mine = await send(client, acme.user)
    promoted = f"/admin/users/{acme.user.id}"
    session = await begin(client, acme.user)
    for role, count in (("admin", 2), ("user", 1)):
        await client.patch(promoted, json={"role": role}, headers=acme.admin.headers)
        session = Session.of(await refresh(client, session.refresh))
        listed = (await client.get("/messages", headers=session.headers)).json()
        assert len(listed) == count
        assert mine["id"] in [row["id"] for row in listed]


async def test_one_tenants_choice_is_no_others(client: httpx.AsyncClient, acme: Tenant, rival: Tenant) -> None:
    await set_visibility(client, acme, "own")
    theirs = await send(client, rival.admin)
    assert await ids_of(client, rival.user, "/messages") == [theirs["id"]]
    assert await ids_of(client, acme.user, "/messages") == []
    assert_problem(await client.get(f"/messages/{theirs['id']}", headers=acme.admin.headers), 404)


async def test_a_conversation_that_its_owner_deletes_takes_an_admins_turns_along_and_keeps_their_usage(
    client: httpx.AsyncClient, acme: Tenant
) -> None:
    talk, mine = await converse(client, acme.user)
    body = {"content": "An admin's turn", "conversation_id": talk}
    theirs = (await client.post("/messages", json=body, headers=acme.admin.headers)).json()["id"]
    await set_visibility(client, acme, "own")

    deleted = await client.delete(f"/conversations/{talk}", headers=acme.user.headers)

    assert deleted.status_code == 204
    for message in (mine, theirs):
        assert_problem(await client.get(f"/messages/{message}", headers=acme.admin.headers), 404)
    usage = (await client.get("/usage", headers=acme.admin.headers)).json()
    assert sum(row["messages"] for row in usage) == 2
