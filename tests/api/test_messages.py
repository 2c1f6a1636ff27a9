import httpx

from tests.helpers import Tenant, send


async def test_a_message_is_answered_and_stored(client: httpx.AsyncClient, acme: Tenant) -> None:
    message = await send(client, acme.user, "What is async Python?")

    assert message["status"] == "completed"
    assert message["content"] == "What is async Python?"
    assert "What is async Python?" in message["response"]
    assert message["user_id"] == acme.user.id
    assert message["tenant_id"] == acme.id
    listed = (await client.get("/messages", headers=acme.user.headers)).json()
    assert listed == [message]


async def test_the_list_holds_the_whole_tenant_newest_first(client: httpx.AsyncClient, acme: Tenant) -> None:
    sent = [await send(client, member, f"{n}") for n in range(2) for member in (acme.admin, acme.user)]

    listed = (await client.get("/messages", headers=acme.user.headers)).json()

    assert [row["id"] for row in listed] == [row["id"] for row in reversed(sent)]


async def test_following_the_link_header_visits_every_message_once(client: httpx.AsyncClient, acme: Tenant) -> None:
    sent = [(await send(client, acme.user))["id"] for _ in range(7)]

    seen, url = [], "/messages?limit=3"
    while url:
        answer = await client.get(url, headers=acme.user.headers)
        assert len(answer.json()) <= 3
        seen += [row["id"] for row in answer.json()]
        url = answer.links.get("next", {}).get("url", "")

    assert seen == sent[::-1]


async def test_skip_and_limit_cut_the_list(client: httpx.AsyncClient, acme: Tenant) -> None:
    sent = [(await send(client, acme.user))["id"] for _ in range(4)]

    answer = await client.get("/messages?skip=1&limit=2", headers=acme.user.headers)

    assert [row["id"] for row in answer.json()] == [sent[2], sent[1]]
    assert "skip" not in answer.links["next"]["url"]


async def test_a_cursor_of_ones_own_making_is_refused(client: httpx.AsyncClient, acme: Tenant) -> None:
    for cursor in ("x", "AAAA", "2026|", "MjAyNi0wMS0wMXxh", "é"):
        answer = await client.get("/messages", params={"cursor": cursor}, headers=acme.user.headers)
        assert answer.status_code == 422, cursor
        assert answer.json()["errors"][0]["loc"] == ["query", "cursor"]
