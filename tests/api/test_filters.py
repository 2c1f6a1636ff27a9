"""The filters of the list of messages, together: a bounded walk where no index has them all."""

import asyncpg
import httpx
import pytest

from app.core.ids import new_id
from tests.api.test_search import find_all, store
from tests.helpers import Tenant

NAMES = ("user_id", "conversation_id", "status", "since")
STATUSES = ("completed", "failed", "cancelled", "pending")


@pytest.mark.parametrize("visibility", ["tenant", "own"])
async def test_every_combination_of_filters_finds_what_a_plain_reading_finds(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant, visibility: str
) -> None:
    conversations = [new_id(), new_id()]
    await superuser.execute(
        "INSERT INTO conversations (id, tenant_id, user_id) SELECT unnest($1::text[]), $2, $3",
        conversations, acme.id, acme.user.id,
    )  # fmt: skip
    for status in STATUSES:
        for member in (acme.user, acme.admin):
            for conversation in (None, *conversations):
                held = None if status == "pending" else conversation  # of a conversation, one may run
                await store(superuser, member, ["x"] * 3, status, conversation_id=held)
    await client.patch(f"/tenants/{acme.id}", json={"message_visibility": visibility}, headers=acme.admin.headers)
    rows = await superuser.fetch(
        "SELECT * FROM messages WHERE tenant_id = $1 ORDER BY created_at DESC, id DESC", acme.id
    )
    middle = rows[len(rows) // 2]["created_at"]
    for member in (acme.user, acme.admin):
        for filters in combinations([acme.user.id, acme.admin.id], conversations[:1], middle.isoformat()):
            expected = [
                row["id"]
                for row in rows
                if all(row[name] == value for name, value in filters.items() if name != "since")
                and ("since" not in filters or row["created_at"] >= middle)
                and (member == acme.admin or visibility == "tenant" or row["user_id"] == member.id)
            ]
            for paging in ({"limit": 100}, {"limit": 2}):
                assert await find_all(client, member, {**filters, **paging}) == expected, (filters, paging)
            answer = await client.get("/messages", params={**filters, "skip": 1, "limit": 2}, headers=member.headers)
            assert [row["id"] for row in answer.json()] == expected[1:3], filters


def combinations(users: list[str], conversations: list[str], since: str) -> list[dict[str, str]]:
    return [
        {name: value for name, value in zip(NAMES, values, strict=True) if value}
        for user in (None, *users)
        for conversation in (None, *conversations)
        for status in (None, *STATUSES)
        for values in ((user, conversation, status, None), (user, conversation, status, since))
    ]


async def test_a_filter_that_finds_next_to_nothing_goes_on_by_link(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    """All failed, and of one who was never seen: neither index alone tells."""
    ids = await store(superuser, acme.user, ["x"], "failed")
    await store(superuser, acme.admin, ["x"] * 4_000, "failed")
    await superuser.execute("UPDATE messages SET created_at = created_at - interval '1 day' WHERE id = $1", ids[0])
    query = {"status": "failed", "user_id": acme.user.id}
    answer = await client.get("/messages", params=query, headers=acme.user.headers)
    assert answer.json() == []
    assert "next" in answer.links
    assert await find_all(client, acme.user, query) == ids
