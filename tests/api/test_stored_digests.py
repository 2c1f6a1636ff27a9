"""What is kept of passwords and requests tells nobody who reads it more than it must."""

import hashlib
import json
import re
import secrets
from pathlib import Path

import asyncpg
import httpx
import pytest
from sqlalchemy import URL

from tests.api.problems import assert_problem
from tests.helpers import PASSWORD, Tenant, log_in, make_tenant, unique_email
from tests.sessions import instance

SECURITY = Path(__file__).resolve().parents[2] / "docs/security.md"
OLD, NEW = secrets.token_hex(32), secrets.token_hex(32)


async def test_every_digest_is_listed_with_what_is_behind_it(superuser: asyncpg.Connection) -> None:
    columns = await superuser.fetch(
        "SELECT table_name || '.' || column_name AS name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND column_name ~ 'hash|digest|secret|password' "
        "AND data_type <> 'integer' AND data_type NOT LIKE 'timestamp%'"  # a secret's number and its time are none
    )
    section = SECURITY.read_text().split("## Stored digests")[1].split("##")[0]
    assert set(re.findall(r"`(\w+\.\w+)`", section.split("Nothing else")[0])) == {row["name"] for row in columns}


async def test_a_created_users_password_stands_behind_nothing_but_its_slow_hash(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    body = {"email": unique_email(), "password": PASSWORD, "role": "user"}
    headers = {**acme.admin.headers, "Idempotency-Key": "once"}
    made = await client.post("/admin/users", json=body, headers=headers)
    assert made.status_code == 201

    kept = await superuser.fetchval(
        "SELECT request_hash FROM idempotency_keys WHERE resource_id = $1", made.json()["id"]
    )
    for guess in (body, {name: body[name] for name in ("email", "role")}):
        canonical = json.dumps(["POST /admin/users", guess], sort_keys=True).encode()
        assert kept != hashlib.sha256(canonical).hexdigest()

    # The password is no part of it at all; whatever else differs is another request.
    again = await client.post("/admin/users", json={**body, "password": f"{PASSWORD}!"}, headers=headers)
    assert (again.status_code, again.json()) == (201, made.json())
    await log_in(client, body["email"])
    assert_problem(await client.post("/admin/users", json={**body, "role": "admin"}, headers=headers), 422)


@pytest.mark.parametrize("previous", [[OLD], []], ids=["kept", "dropped"])
async def test_a_request_is_recognised_for_as_long_as_the_key_is_that_it_was_kept_under(
    database_url: URL, tmp_path: Path, previous: list[str]
) -> None:
    body, headers = {"content": "Hello"}, {"Idempotency-Key": "once"}
    async with instance(database_url, tmp_path, secret_key=OLD) as (_, client):
        acme = await make_tenant(client)
        first = (await client.post("/messages", json=body, headers={**acme.user.headers, **headers})).json()
    async with instance(database_url, tmp_path, secret_key=NEW, previous_secret_keys=previous) as (_, client):
        user = await log_in(client, acme.user.email)
        again = await client.post("/messages", json=body, headers={**user.headers, **headers})
    if previous:
        assert (again.status_code, again.json()["id"]) == (201, first["id"])
    else:
        assert_problem(again, 422)  # refused: nothing is made twice
