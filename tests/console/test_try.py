"""Try it: what is asked is answered, whatever happens to the connection, and is stopped when it is told to."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Request

from tests.committed.held import FIRST, REST
from tests.committed.server import running
from tests.console.conftest import Visit
from tests.console.deployment import HELD, Deployment
from tests.console.relay import relay
from tests.console.window import PHONE, Window
from tests.helpers import Member, Tenant
from tests.waiting import until

WHOLE = FIRST + REST


@pytest.fixture
def held(service: Deployment) -> asyncio.Event:
    """Set, it lets the model `held` say the rest of its answers."""
    service.held.release = asyncio.Event()
    return service.held.release


@pytest_asyncio.fixture(autouse=True)
async def _nothing_runs_on(service: Deployment) -> AsyncIterator[None]:
    yield
    service.held.release.set()


async def ask(window: Window, text: str, model: str | None = None) -> None:
    if model:
        await window.page.get_by_label("Model").select_option(model)
    await window.page.get_by_label("Your message").fill(text)
    await window.page.keyboard.press("Enter")


async def answer_of(window: Window) -> str:
    return await window.page.locator(".turn").last.locator(".said").last.inner_text()


async def message_of(service: Deployment, member: Member) -> dict:
    async with service.client() as client:
        return (await client.get("/messages", headers=member.headers, params={"limit": 1})).json()[0]


async def test_a_question_is_answered_and_its_conversation_goes_on_after_a_reload(visit: Visit, acme: Tenant) -> None:
    window = await visit(acme.user, "/console/try")
    page = window.page
    await page.get_by_text("Nothing said yet").wait_for()
    await window.shot("try-empty")
    await page.get_by_label("System prompt").fill("Be brief.")
    await page.get_by_label("Temperature").fill("0.5")
    await page.get_by_label("Reasoning effort").select_option("low")
    await ask(window, "What is <b>async</b> Python?")
    await page.get_by_text("tokens in").wait_for()
    assert "What is <b>async</b> Python?" in await answer_of(window)
    assert "$0.00" in await page.locator(".turn").inner_text()
    assert "/console/try?conversation=" in page.url
    await page.get_by_text("Thoughts", exact=True).click()
    await window.usable_by_all()
    await window.shot("try-answered")
    await page.reload()
    await page.locator(".turn").wait_for()
    assert "What is <b>async</b> Python?" in await answer_of(window)
    assert await page.get_by_label("System prompt").input_value() == "Be brief."
    await ask(window, "And what is it not?")
    await page.locator(".turn").nth(1).get_by_text("tokens in").wait_for()
    await page.get_by_role("link", name="New conversation").click()
    await page.get_by_text("Nothing said yet").wait_for()
    await page.go_back()
    await page.locator(".turn").nth(1).wait_for()


async def test_an_answer_from_documents_shows_the_passages_that_it_had(
    visit: Visit, service: Deployment, acme: Tenant
) -> None:
    text = "# Depot\n\nThe depot in Leipzig opens at six in the morning, and closes at ten in the evening."
    async with service.client() as client:
        body = {"name": "depot.md", "collection": "handbook", "text": text}
        made = (await client.post("/documents", json=body, headers=acme.admin.headers)).raise_for_status().json()

        async def is_read() -> bool:
            found = await client.get(f"/documents/{made['id']}", headers=acme.admin.headers)
            return bool(found.json()["status"] == "ready")

        await until(is_read, "the document to be read")
    window = await visit(acme.user, f"/console/documents/{made['id']}")
    page = window.page
    await page.get_by_role("link", name="Ask its collection").click()
    where = page.get_by_label("Collection")
    await where.wait_for()
    assert await where.input_value() == "handbook"
    await ask(window, "When does the depot in Leipzig open?")
    passages = page.locator(".citations li")
    await passages.first.wait_for()
    assert "depot.md" in await passages.first.inner_text()
    assert "opens at six in the morning" in await passages.first.inner_text()
    await page.get_by_text("tokens in").wait_for()
    await window.usable_by_all()
    await window.shot("try-citations")


@pytest.mark.parametrize("how", ["Escape", "Stop"])
async def test_an_answer_is_stopped_and_what_came_of_it_stays(
    visit: Visit, service: Deployment, acme: Tenant, held: asyncio.Event, how: str
) -> None:
    window = await visit(acme.user, "/console/try")
    await ask(window, "Never mind", HELD)
    await window.page.get_by_text(FIRST.strip()).wait_for()
    await window.shot("try-writing")
    if how == "Escape":
        await window.page.keyboard.press("Escape")
    else:
        await window.page.get_by_role("button", name="Stop").click()
    await window.page.get_by_text("stopped").wait_for()
    assert (await answer_of(window)).strip() == FIRST.strip()
    assert (await message_of(service, acme.user))["status"] == "cancelled"
    await window.page.get_by_role("button", name="Send").wait_for()


async def test_an_answer_is_whole_after_its_connection_broke(
    visit: Visit, service: Deployment, acme: Tenant, held: asyncio.Event
) -> None:
    async with relay(service.server.port) as between:
        window = await visit(acme.user, "/console/try", base=between.base)
        window.unreachable_is_expected = True
        await ask(window, "Tell me all", HELD)
        await window.page.get_by_text(FIRST.strip()).wait_for()
        between.cut(0)
        await window.page.get_by_text("The connection broke").wait_for()
        await window.shot("try-broken")
        async with window.page.expect_request(_goes_on) as following:
            between.cut(service.server.port)
        assert (await (await following.value).all_headers())["last-event-id"] == f"1-{len(FIRST)}"
        await window.page.get_by_text("Writing").wait_for()
        assert await answer_of(window) == FIRST
        between.cut(0)
        await window.page.get_by_text("The connection broke").wait_for()
        held.set()
        await until(lambda: _is_whole(service, acme.user), "the answer to be stored")
        between.cut(service.server.port)
        await window.page.get_by_text("tokens in").wait_for()
        assert await answer_of(window) == WHOLE


async def test_an_answer_is_whole_though_its_service_was_replaced_meanwhile(
    visit: Visit, service: Deployment, acme: Tenant, held: asyncio.Event, tmp_path: Path
) -> None:
    """As a rolling restart does it: the old process is told to stop, and new connections lead to the new one."""
    async with running(tmp_path, **service.settings) as old, relay(old.port) as between:
        window = await visit(acme.user, "/console/try", base=between.base)
        window.unreachable_is_expected = True
        await ask(window, "Tell me all", HELD)
        await window.page.get_by_text(FIRST.strip()).wait_for()
        between.cut(service.server.port)
        old.ask_to_stop()
        held.set()
        await window.page.get_by_text("tokens in").wait_for()
        assert await answer_of(window) == WHOLE
        await old.ended()


async def test_an_answer_that_still_runs_is_followed_after_a_reload(
    visit: Visit, acme: Tenant, held: asyncio.Event
) -> None:
    window = await visit(acme.user, "/console/try")
    await ask(window, "Go on", HELD)
    await window.page.get_by_text(FIRST.strip()).wait_for()
    await window.page.reload()
    await window.page.get_by_text(FIRST.strip()).wait_for()
    held.set()
    await window.page.get_by_text("tokens in").wait_for()
    assert await answer_of(window) == WHOLE


async def test_what_is_refused_says_why_and_gives_the_words_back(
    visit: Visit, service: Deployment, acme: Tenant, rival: Tenant
) -> None:
    async with service.client() as client:
        broke = await client.put("/admin/budget", json={"limit_micro_usd": 0}, headers=rival.admin.headers)
        assert broke.status_code == 200
        window = await visit(rival.user, "/console/try", size=PHONE)
        window.expect(402, "/messages")
        await ask(window, "May I?")
        alert = window.page.get_by_role("alert")
        await alert.wait_for()
        assert "budget" in (await alert.inner_text()).lower()
        assert "Request" in await alert.inner_text()
        assert await window.page.get_by_label("Your message").input_value() == "May I?"
        assert await window.page.locator(".turn").count() == 0
        await window.fits()
        await window.shot("try-refused-phone")
        await client.put("/admin/budget", json={"limit_micro_usd": None}, headers=rival.admin.headers)


async def test_what_cannot_be_sent_is_given_back(visit: Visit, service: Deployment, acme: Tenant) -> None:
    async with relay(service.server.port) as between:
        window = await visit(acme.user, "/console/try", base=between.base)
        window.unreachable_is_expected = True
        await window.page.get_by_label("Your message").wait_for()
        between.cut(0)
        await ask(window, "Is anybody there?")
        await window.page.get_by_role("alert").wait_for()
        assert await window.page.get_by_label("Your message").input_value() == "Is anybody there?"


def _goes_on(request: Request) -> bool:
    return request.method == "GET" and request.url.endswith("/stream")


async def _is_whole(service: Deployment, member: Member) -> bool:
    return (await message_of(service, member))["status"] == "completed"
