"""The background loops of a process: which there are, and what the others and readiness say when one dies."""

import asyncio
from typing import Any

import pytest

from app.core import supervision
from app.db.listener import Listener
from app.messages import signals
from app.services import erase_service
from app.services.erase_service import TenantEraser
from tests.api.problems import assert_problem
from tests.committed.conftest import Serve
from tests.committed.providers import HeldProvider
from tests.waiting import until, within_patience

OWN = {"leases", "deltas", "notifications", "reader_wakeups", "audit_tally"}


async def dies(self: Listener) -> None:
    raise RuntimeError("unforeseen")


async def test_work_that_any_process_may_take_can_be_left_to_another(serve: Serve) -> None:
    shared = {
        "sweep",
        "expiry",
        "webhooks",
        "erasures",
        "search_index",
        "retention",
        "ingestion",
        "document_removal",
        "reembedding",
    }
    for shared_work, names in ((False, OWN), (True, OWN | shared)):
        async with serve(HeldProvider(), background_work=shared_work) as (_, client):
            ready = await client.get("/health/ready")
            assert ready.json()["background"] == dict.fromkeys(names, "running")


async def test_readers_are_woken_although_the_listener_died_of_what_nobody_foresaw(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Listener, "run", dies)
    monkeypatch.setattr(signals, "LOOK_SECONDS", 0.001)
    woken = asyncio.Event()

    class Reader:
        wake = staticmethod(woken.set)

    async with serve(HeldProvider()) as (app, client):
        reader: Any = Reader()
        await until(lambda: states(app)["notifications"] == "restarting", "the listener's death")
        app.state.container.signals.add("a message", reader)
        await within_patience(woken.wait(), "the slow poll")
        app.state.container.signals.remove("a message", reader)
        ready = await client.get("/health/ready")
        assert ready.status_code == 200
        assert ready.json()["background"] == {**dict.fromkeys(OWN, "running"), "notifications": "restarting"}


async def test_a_process_whose_loop_keeps_dying_is_not_ready(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Listener, "run", dies)
    monkeypatch.setattr(supervision, "DEATHS_TO_FAIL", 1)
    async with serve(HeldProvider()) as (app, client):
        await until(lambda: states(app)["notifications"] == "failing", "the listener's death")
        problem = assert_problem(await client.get("/health/ready"), 503)
        assert (await client.get("/health")).status_code == 200
    assert problem["type"] == "urn:llm-saas:problem:background-work-failing"
    assert "notifications" in problem["detail"]


async def test_readiness_names_a_loop_whose_turns_all_fail_and_serves_on(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuses(self: TenantEraser) -> None:
        raise RuntimeError("what it looks at cannot be read")

    monkeypatch.setattr(TenantEraser, "finish_abandoned", refuses)
    monkeypatch.setattr(erase_service, "LOOK_SECONDS", 0.001)
    async with serve(HeldProvider(), background_work=True) as (app, client):
        await until(lambda: states(app)["erasures"] == "failing", "the turns to fail")
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()["background"]["erasures"]) == (200, "failing")
        assert ready.json()["background"]["sweep"] == "running"


def states(app: Any) -> dict[str, str]:
    found: dict[str, str] = app.state.container.background.states()
    return found
