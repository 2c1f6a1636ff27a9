"""Replacing SECRET_KEY while several processes of different steps serve one database."""

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import URL

from tests.api.test_api_keys import make_key
from tests.api.test_refresh import expire_grace
from tests.committed.test_webhooks import LOOPBACK, Receiver, ended, receiver  # noqa: F401 - a fixture
from tests.helpers import Tenant, make_tenant
from tests.sessions import Session, actions_of, begin, instance, refresh, status_of

OLD, NEW = secrets.token_hex(32), secrets.token_hex(32)
BEFORE = {"secret_key": OLD}
ADDED = {"secret_key": OLD, "previous_secret_keys": [NEW]}
SWAPPED = {"secret_key": NEW, "previous_secret_keys": [OLD]}
DROPPED = {"secret_key": NEW}
STEPS = (BEFORE, ADDED, SWAPPED, DROPPED)
TOGETHER = {"adding": (BEFORE, ADDED), "swapping": (ADDED, SWAPPED), "dropping": (SWAPPED, DROPPED)}


@asynccontextmanager
async def serving(url: URL, directory: Path, *steps: dict[str, Any]) -> AsyncIterator[list[httpx.AsyncClient]]:
    async with AsyncExitStack() as stack:
        yield [(await stack.enter_async_context(instance(url, directory, **step)))[1] for step in steps]


@pytest.mark.parametrize("step", TOGETHER.values(), ids=TOGETHER)
async def test_processes_of_adjacent_steps_accept_what_the_others_made(
    database_url: URL, superuser: asyncpg.Connection, tmp_path: Path, step: tuple[dict[str, Any], ...]
) -> None:
    async with serving(database_url, tmp_path, *step) as processes:
        acme = await make_tenant(processes[0])
        for maker in processes:
            session = await begin(maker, acme.user)
            for other in processes:
                assert await status_of(other, session.access) == 200
                session = Session.of(await refresh(other, session.refresh))
        assert "session.reuse_detected" not in await actions_of(superuser, acme.id)


@pytest.mark.parametrize("step", TOGETHER.values(), ids=TOGETHER)
async def test_refreshes_at_once_in_adjacent_steps_get_one_successor(
    database_url: URL, superuser: asyncpg.Connection, tmp_path: Path, step: tuple[dict[str, Any], ...]
) -> None:
    async with serving(database_url, tmp_path, *step) as processes:
        acme = await make_tenant(processes[0])
        for _ in range(5):
            session = await begin(processes[0], acme.user)
            answers = await asyncio.gather(*(refresh(processes[at % 2], session.refresh) for at in range(10)))
            (successor,) = {Session.of(answer).refresh for answer in answers}
            Session.of(await refresh(processes[1], successor))
        assert "session.reuse_detected" not in await actions_of(superuser, acme.id)


async def test_one_session_and_one_key_go_on_through_the_whole_rotation(
    database_url: URL, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    async with serving(database_url, tmp_path, *STEPS) as processes:
        acme = await make_tenant(processes[0])
        key = (await make_key(processes[0], acme.user, ["messages:read"]))["key"]
        sleeping = await begin(processes[0], acme.user)
        session = await begin(processes[0], acme.user)
        for process in processes:
            assert await status_of(process, key) == 200
            following = Session.of(await refresh(process, session.refresh))
            assert await status_of(process, following.access) == 200
            session = following

        dropped = processes[-1]
        assert await status_of(dropped, sleeping.access) == 401, "signed with the key that was dropped"
        woken = Session.of(await refresh(dropped, sleeping.refresh))
        assert await status_of(dropped, woken.access) == 200
        assert Session.of(await refresh(dropped, sleeping.refresh)).refresh == woken.refresh
    assert "session.reuse_detected" not in await actions_of(superuser, acme.id)


async def test_an_answer_lost_before_the_swap_is_given_again_after_it(database_url: URL, tmp_path: Path) -> None:
    async with serving(database_url, tmp_path, ADDED, SWAPPED) as (added, swapped):
        acme = await make_tenant(added)
        session = await begin(added, acme.user)
        lost = Session.of(await refresh(added, session.refresh))
        again = Session.of(await refresh(swapped, session.refresh))
        assert again.refresh == lost.refresh
        Session.of(await refresh(swapped, lost.refresh))


async def test_reuse_is_noticed_by_a_process_of_the_next_step(
    database_url: URL, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    async with serving(database_url, tmp_path, ADDED, SWAPPED) as (added, swapped):
        acme = await make_tenant(added)
        stolen = await begin(added, acme.user)
        newest = Session.of(await refresh(swapped, stolen.refresh))
        await expire_grace(superuser, acme.user.id)
        assert (await refresh(swapped, stolen.refresh)).status_code == 401
        assert await status_of(added, newest.access) == 401
    assert "session.reuse_detected" in await actions_of(superuser, acme.id)


async def test_a_swap_without_the_first_step_refuses_a_repetition_and_ends_no_session(
    database_url: URL, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    async with serving(database_url, tmp_path, BEFORE, SWAPPED) as (before, swapped):
        acme = await make_tenant(before)
        session = await begin(before, acme.user)
        following = Session.of(await refresh(swapped, session.refresh))
        assert (await refresh(before, session.refresh)).status_code == 401
        Session.of(await refresh(before, following.refresh))
    assert "session.reuse_detected" not in await actions_of(superuser, acme.id)


def verifies(secret: str, headers: dict[str, str], content: bytes) -> bool:
    """As a receiver does it that knows one secret (Standard Webhooks)."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + content
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return f"v1,{expected}" in headers["webhook-signature"].split(" ")


async def test_in_between_webhooks_verify_with_the_secret_before_and_after(
    database_url: URL,
    tmp_path: Path,
    receiver: Receiver,  # noqa: F811 - the fixture
) -> None:
    async def deliver(step: dict[str, Any], acme: Tenant | None) -> tuple[Tenant, str]:
        async with instance(database_url, tmp_path, **step, **LOOPBACK) as (app, client):
            acme = acme or await make_tenant(client)
            session, admin = await begin(client, acme.user), await begin(client, acme.admin)
            body = {"content": "x", "background": True, "webhook_url": receiver.url}
            assert (await client.post("/messages", json=body, headers=session.headers)).status_code == 202
            await ended(app)
            before = len(receiver.calls)
            while len(receiver.calls) == before:
                await app.state.container.webhooks.deliver_due()
            answer = await client.get("/admin/webhook-secret", headers=admin.headers)
            return acme, answer.json()["secret"]

    acme, old = await deliver(BEFORE, None)
    _, added = await deliver(ADDED, acme)
    _, swapped = await deliver(SWAPPED, acme)
    _, new = await deliver(DROPPED, acme)

    assert (added, swapped) == (old, new)
    assert old != new
    verified = [[verifies(secret, *call) for secret in (old, new)] for call in receiver.calls]
    assert verified == [[True, False], [True, True], [True, True], [False, True]]
