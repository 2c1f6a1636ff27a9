"""Pages: how deep `skip` goes, and cursors that nobody handed out."""

import base64
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from app.core.ids import new_id
from tests.api.problems import assert_problem
from tests.helpers import Tenant, send

LISTS = ["/messages", "/conversations", "/api-keys", "/admin/audit-log", "/admin/invites", "/tenants/{id}/users"]


def cursor(moment: str, row_id: str) -> str:
    return base64.urlsafe_b64encode(f"{moment}|{row_id}".encode()).decode().rstrip("=")


@pytest.mark.parametrize("path", LISTS)
async def test_skip_has_a_largest_value_and_beyond_it_the_answer_names_the_way(
    client: httpx.AsyncClient, acme: Tenant, path: str
) -> None:
    path = path.format(id=acme.id)
    deepest = await client.get(f"{path}?skip=10000", headers=acme.admin.headers)
    assert (deepest.status_code, deepest.json()) == (200, [])

    problem = assert_problem(await client.get(f"{path}?skip=10001", headers=acme.admin.headers), 422)
    assert problem["errors"][0]["loc"] == ["query", "skip"]
    assert "`Link`" in problem["errors"][0]["msg"]


async def test_the_largest_skip_is_documented(client: httpx.AsyncClient) -> None:
    parameters = (await client.get("/openapi.json")).json()["paths"]["/messages"]["get"]["parameters"]
    assert next(item["schema"]["maximum"] for item in parameters if item["name"] == "skip") == 10_000


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "moment",
    [
        "0001-01-01T00:00:00+14:00",
        "0001-01-01T00:00:00+00:00",
        "9999-12-31T23:59:59-14:00",
        "9999-12-31T23:59:59.999999+00:00",
        "2026-11-26T00:00:00+00:00:00.000001",
        "2026-11-26T00:00:00+23:59",
    ],
)
async def test_a_cursor_at_the_end_of_the_calendar_is_a_page_or_refused(
    client: httpx.AsyncClient, acme: Tenant, path: str, moment: str
) -> None:
    path = path.format(id=acme.id)
    answer = await client.get(f"{path}?cursor={cursor(moment, new_id())}", headers=acme.admin.headers)
    if answer.status_code != 200:
        assert_problem(answer, 422)


def filters_of(schema: dict[str, Any], path: str) -> set[str]:
    """The query parameters of a list but those that say where the page begins."""
    operation = schema["paths"].get(path, {}).get("get", {})
    return {item["name"] for item in operation.get("parameters", ()) if item["in"] == "query"} - {"skip", "cursor"}


async def test_the_next_page_keeps_every_parameter_of_every_list(client: httpx.AsyncClient, acme: Tenant) -> None:
    admin, user = acme.admin, acme.user
    talk = (await client.post("/conversations", json={}, headers=user.headers)).json()["id"]
    body = {"content": "Hello", "conversation_id": talk}
    for number, role in enumerate(("admin", "user")):
        changed = await client.patch(f"/admin/users/{user.id}", json={"role": role}, headers=admin.headers)
        invited = await client.post("/admin/invites", json={"email": f"{new_id()}@acme.com"}, headers=admin.headers)
        key = {"name": f"{number}", "scopes": ["messages:read"]}
        made = await client.post("/api-keys", json=key, headers=admin.headers)
        assert (changed.status_code, invited.status_code, made.status_code) == (200, 201, 201)
    for member in (admin, admin):
        assert (await client.post("/messages", json=body, headers=member.headers)).status_code == 201
        await client.post("/conversations", json={}, headers=member.headers)
        await send(client, member)
    for number in range(2):
        note = {"name": f"{number}", "text": f"Hello {number}", "collection": "notes"}
        assert (await client.post("/documents", json=note, headers=admin.headers)).status_code == 202
    values = {
        "limit": "1",
        "since": "2026-01-01T00:00:00+00:00",
        "user_id": admin.id,
        "conversation_id": talk,
        "status": "completed",
        "q": "Hello",
        "action": "user.changed",
        "actor_id": admin.id,
        "target_id": user.id,
        "collection": "notes",
    }
    schema = (await client.get("/openapi.json")).json()
    lists = [path for path, item in schema["paths"].items() if "cursor" in str(item.get("get", {}).get("parameters"))]
    assert set(lists) >= set(LISTS)
    for path in lists:
        query = {name: values[name] for name in filters_of(schema, path)}
        if path == "/documents":
            query["status"] = "queued"  # nothing takes them in here
        answer = await client.get(path.format(id=acme.id), params=query, headers=admin.headers)
        assert "next" in answer.links, (path, answer.text)
        kept = parse_qs(urlsplit(answer.links["next"]["url"]).query)
        assert {name: kept.get(name) for name in query} == {name: [value] for name, value in query.items()}, path
