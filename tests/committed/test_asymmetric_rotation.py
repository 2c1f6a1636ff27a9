"""From HS256 to RS256 to ES256 with processes of adjacent steps, and what is published meanwhile."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import URL

from tests.api.problems import assert_problem
from tests.committed.test_key_rotation import OLD, serving
from tests.core.test_key_ring import KEYS, PEMS, PRIVATE_PARTS, public_pem, unb64, verify_with
from tests.helpers import make_tenant
from tests.sessions import Session, begin, refresh, status_of

RS_PUBLIC, ES_PUBLIC = public_pem(PEMS["RS256"]), public_pem(PEMS["ES256"])
RS: dict[str, Any] = {"jwt_algorithm": "RS256", "jwt_private_key": PEMS["RS256"]}
ES: dict[str, Any] = {"jwt_algorithm": "ES256", "jwt_private_key": PEMS["ES256"]}
# The key that comes is accepted first, the key that goes is accepted still: SECRET_KEY stays, as it makes refresh
# tokens, and stands in PREVIOUS_SECRET_KEYS for as long as access tokens that it signed are about.
STEPS: list[dict[str, Any]] = [
    {},
    {"jwt_previous_keys": [RS_PUBLIC]},
    {**RS, "previous_secret_keys": [OLD]},
    RS,
    {**RS, "jwt_previous_keys": [ES_PUBLIC]},
    {**ES, "jwt_previous_keys": [RS_PUBLIC]},
    ES,
]


async def published(client: httpx.AsyncClient) -> list[dict[str, str]]:
    answer = await client.get("/.well-known/jwks.json")
    assert answer.status_code == 200
    assert not any(part in key for key in answer.json()["keys"] for part in PRIVATE_PARTS)
    keys: list[dict[str, str]] = answer.json()["keys"]
    return keys


async def test_with_a_shared_secret_nothing_is_published(client: httpx.AsyncClient) -> None:
    answer = await client.get("/.well-known/jwks.json")
    assert answer.json() == {"keys": []}


@pytest.mark.parametrize("pair", list(pairwise(STEPS)), ids=[f"{at} to {at + 1}" for at in range(len(STEPS) - 1)])
async def test_no_session_is_dropped_between_adjacent_steps(
    database_url: URL, tmp_path: Path, pair: tuple[dict[str, Any], ...]
) -> None:
    async with serving(database_url, tmp_path, *({"secret_key": OLD, **step} for step in pair)) as processes:
        acme = await make_tenant(processes[0])
        for maker in processes:
            session = await begin(maker, acme.user)
            header = json.loads(unb64(session.access.split(".")[0]))
            for other in processes:
                assert await status_of(other, session.access) == 200
                kids = {key["kid"] for key in await published(other)}
                assert header["alg"] == "HS256" or header["kid"] in kids
                session = Session.of(await refresh(other, session.refresh))
                assert await status_of(maker, session.access) == 200


async def test_after_the_last_step_old_access_tokens_are_refused_and_sessions_go_on(
    database_url: URL, tmp_path: Path
) -> None:
    steps = [{"secret_key": OLD, **step} for step in (STEPS[0], STEPS[3], STEPS[6])]
    async with serving(database_url, tmp_path, *steps) as (first, second, last):
        acme = await make_tenant(first)
        session = await begin(first, acme.user)
        assert await status_of(second, session.access) == 401
        session = Session.of(await refresh(second, session.refresh))
        assert await status_of(last, session.access) == 401
        session = Session.of(await refresh(last, session.refresh))
        assert await status_of(last, session.access) == 200


async def test_another_service_verifies_a_token_with_the_published_key(database_url: URL, tmp_path: Path) -> None:
    for step, algorithm in ((RS, "RS256"), (ES, "ES256")):
        async with serving(database_url, tmp_path, {"secret_key": OLD, **step}) as (client,):
            acme = await make_tenant(client)
            session = await begin(client, acme.user)
            header, claims = (json.loads(unb64(part)) for part in session.access.split(".")[:2])
            (key,) = [key for key in await published(client) if key["kid"] == header["kid"]]
            assert key["alg"] == algorithm
            assert key == KEYS[algorithm].public
            verify_with(key, session.access)
            assert (claims["sub"], claims["tenant_id"], claims["role"]) == (acme.user.id, acme.id, "user")
            assert_problem(await client.post("/.well-known/jwks.json"), 405)
