"""A tenant's settings: seen by its users, changed by its admins."""

import asyncpg
import httpx
import pytest

from app.core.ids import new_id
from tests.api.problems import assert_problem, without_request_id
from tests.helpers import Tenant, unique_email
from tests.sessions import actions_of


async def test_a_tenant_begins_open_and_with_shared_messages(client: httpx.AsyncClient, acme: Tenant) -> None:
    for member in (acme.user, acme.admin):
        body = (await client.get(f"/tenants/{acme.id}", headers=member.headers)).json()
        assert body.pop("created_at") == body.pop("updated_at")
        assert body == {
            "id": acme.id,
            "name": acme.name,
            "registration": "open",
            "message_visibility": "tenant",
            "cache_ttl_seconds": None,
            "message_retention_days": None,
            "allowed_models": None,
            "default_model": None,
            "event_webhook_url": None,
        }


async def test_an_admin_changes_what_it_names(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    path, headers, name = f"/tenants/{acme.id}", acme.admin.headers, unique_email("Tenant")
    shown = (await client.get(path, headers=headers)).json()
    for changes in (
        {"registration": "invite"},
        {"message_visibility": "own"},
        {"name": f" {name} "},
        {"cache_ttl_seconds": 86400},
        {"cache_ttl_seconds": None},
        {"message_retention_days": 30},
        {"message_retention_days": None},
        {"allowed_models": ["mock-echo"]},
        {"default_model": "mock-echo"},
        {"allowed_models": []},
        {"allowed_models": None, "default_model": None},
        {"event_webhook_url": "https://acme.example/events"},
        {"event_webhook_url": None},
    ):
        answer = await client.patch(path, json=changes, headers=headers)
        assert answer.status_code == 200
        shown |= {field: value.strip() if isinstance(value, str) else value for field, value in changes.items()}
        assert answer.json() == {**shown, "updated_at": answer.json()["updated_at"]}
        assert answer.json()["updated_at"] > shown["updated_at"]
        shown = answer.json()
    assert (await actions_of(superuser, acme.id)).count("tenant.changed") == 13
    details = "SELECT details FROM audit_log WHERE tenant_id = $1 AND details ? 'registration'"
    assert await superuser.fetchval(details, acme.id) == '{"registration": "invite"}'
    details = "SELECT details FROM audit_log WHERE tenant_id = $1 AND details ? 'cache_ttl_seconds' ORDER BY id"
    noted = [row["details"] for row in await superuser.fetch(details, acme.id)]
    assert noted == ['{"cache_ttl_seconds": 86400}', '{"cache_ttl_seconds": null}']
    noted = [
        row["details"]
        for row in await superuser.fetch(details.replace("cache_ttl_seconds", "message_retention_days"), acme.id)
    ]
    assert noted == ['{"message_retention_days": 30}', '{"message_retention_days": null}']


@pytest.mark.parametrize("body", [{}, {"name": None}, {"name": None, "registration": None, "message_visibility": None}])
async def test_what_names_nothing_changes_nothing(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant, body: dict[str, None]
) -> None:
    path, headers = f"/tenants/{acme.id}", acme.admin.headers
    before = (await client.get(path, headers=headers)).json()
    answer = await client.patch(path, json=body, headers=headers)
    assert (answer.status_code, answer.json()) == (200, before)
    assert "tenant.changed" not in await actions_of(superuser, acme.id)


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"name": "  "},
        {"name": "x" * 256},
        {"name": "a\x00b"},
        {"registration": "maybe"},
        {"message_visibility": "none"},
        {"allowed_models": ["no-such-model"]},
        {"allowed_models": "mock-echo"},
        {"allowed_models": ["mock-echo", "a b"]},
        {"default_model": "no-such-model"},
        {"default_model": ""},
        {"event_webhook_url": "http://127.0.0.1/"},
        {"event_webhook_url": "http://[::1]/"},
        {"event_webhook_url": "acme.example"},
        {"event_webhook_url": ""},
        {"cache_ttl_seconds": 0},
        {"cache_ttl_seconds": 86401},
        {"cache_ttl_seconds": "60"},
        {"message_retention_days": -1},
        {"message_retention_days": 36501},
        {"message_retention_days": 1.5},
        {"id": "x"},
        {"tenant_id": "x"},
        [],
    ],
)
async def test_a_bad_change_is_bad_input(client: httpx.AsyncClient, acme: Tenant, body: object) -> None:
    assert_problem(await client.patch(f"/tenants/{acme.id}", json=body, headers=acme.admin.headers), 422)


async def test_a_taken_name_is_a_conflict_and_changes_nothing(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant, rival: Tenant
) -> None:
    body = {"name": rival.name, "registration": "closed"}
    problem = assert_problem(await client.patch(f"/tenants/{acme.id}", json=body, headers=acme.admin.headers), 409)
    assert problem["type"] == "urn:llm-saas:problem:tenant-name-taken"
    shown = (await client.get(f"/tenants/{acme.id}", headers=acme.admin.headers)).json()
    assert (shown["name"], shown["registration"]) == (acme.name, "open")
    assert "tenant.changed" not in await actions_of(superuser, acme.id)


async def test_another_tenant_is_forbidden_real_or_not(client: httpx.AsyncClient, acme: Tenant, rival: Tenant) -> None:
    for method, body in (("GET", None), ("PATCH", {"registration": "closed"})):
        answers = [
            await client.request(method, f"/tenants/{tenant_id}", json=body, headers=acme.admin.headers)
            for tenant_id in (rival.id, new_id(), "x", rival.id.upper())
        ]
        for answer in answers:
            assert_problem(answer, 403)
        assert len({without_request_id(answer) for answer in answers}) == 1
    body = {"registration": "closed"}
    assert_problem(await client.patch(f"/tenants/{acme.id}", json=body, headers=acme.user.headers), 403)
    for tenant in (acme, rival):
        shown = (await client.get(f"/tenants/{tenant.id}", headers=tenant.user.headers)).json()
        assert shown["registration"] == "open"
