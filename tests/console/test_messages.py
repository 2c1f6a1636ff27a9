"""The overview, messages as they happen, and settings, in a browser against the live service."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.committed.held import FIRST, REST
from tests.conftest import execute
from tests.console.conftest import Visit
from tests.console.deployment import HELD, OPERATOR_TOKEN, Deployment
from tests.console.window import PHONE
from tests.helpers import PASSWORD, Tenant, send, unique_email
from tests.waiting import until

# More than a page, by far; how far a list goes on is the same for any length.
MANY = 5_000


@pytest.fixture
def held(service: Deployment) -> asyncio.Event:
    """Set, it lets the model `held` say the rest of its answers."""
    service.held.release = asyncio.Event()
    return service.held.release


@pytest_asyncio.fixture(autouse=True)
async def _nothing_runs_on(service: Deployment) -> AsyncIterator[None]:
    yield
    service.held.release.set()


async def begin(service: Deployment, tenant: Tenant, text: str) -> str:
    """A message that is being answered until `held` lets it."""
    async with service.client() as client:
        body = {"content": text, "model": HELD, "background": True}
        answer = await client.post("/messages", json=body, headers=tenant.user.headers)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])


async def test_a_month_is_summed_up_and_nothing_moves(visit: Visit, service: Deployment) -> None:
    tenant = await service.tenant()
    async with service.client() as client:
        for number in range(3):
            await send(client, tenant.user, f"Question {number}")
    for size in (PHONE, (1600, 1000)):
        window = await visit(tenant.admin, size=size)
        await window.page.locator(".plot canvas").nth(1).wait_for()
        await window.page.get_by_role("cell", name=tenant.user.email).wait_for()
        await window.page.get_by_text("mock-echo").first.wait_for()
        await window.page.reload()
        await window.page.get_by_role("cell", name=tenant.user.email).wait_for()
        await window.page.locator(".plot canvas").nth(1).wait_for()
        assert await window.shifts() == []
        await window.fits()
        await window.usable_by_all()
        await window.shot(f"overview-{size[0]}")


async def test_a_user_sees_its_own_month(visit: Visit, service: Deployment) -> None:
    tenant = await service.tenant()
    async with service.client() as client:
        for member in (tenant.user, tenant.user, tenant.admin):
            await send(client, member, "A question")
    window = await visit(tenant.user)
    await window.page.locator("dl.figures > div", has_text="Messages").get_by_text("2", exact=True).wait_for()
    await window.page.locator(".plot canvas").nth(1).wait_for()
    assert not [request for request in window.requests if "/usage" in request or "/admin" in request]
    assert await window.shifts() == []


async def test_a_message_is_followed_cancelled_retried_and_deleted(
    visit: Visit, service: Deployment, held: asyncio.Event
) -> None:
    tenant = await service.tenant()
    window = await visit(tenant.user, "/console/messages")
    await window.page.get_by_role("heading", name="No messages yet").wait_for()
    await begin(service, tenant, "How long is a piece of string?")
    row = window.page.get_by_role("row", name="How long is a piece of string?")
    await row.get_by_text("running").wait_for()

    await row.get_by_role("link").press("Enter")
    await window.page.get_by_text(FIRST.strip()).wait_for()
    await window.page.get_by_role("button", name="Cancel").click()
    await window.page.get_by_text("It was cancelled; what came until then is kept.").wait_for()
    await window.page.get_by_role("button", name="Retry").click()
    await window.page.get_by_text("Writing").wait_for()
    held.set()
    await window.page.get_by_text(FIRST + REST).wait_for()
    await window.page.get_by_text("The model came to its end.").wait_for()
    await window.usable_by_all()
    await window.shot("message")

    await window.page.get_by_role("button", name="Delete").click()
    dialog = window.page.get_by_role("dialog")
    await dialog.press("Escape")
    await dialog.wait_for(state="detached")
    assert await window.page.evaluate("document.activeElement.innerText") == "Delete", "the focus is where it was"
    await window.page.get_by_role("button", name="Delete").click()
    await dialog.get_by_role("button", name="Delete").click()
    await window.page.get_by_role("heading", name="No messages yet").wait_for()


async def test_messages_are_found_by_words_state_and_sender(visit: Visit, service: Deployment) -> None:
    tenant = await service.tenant()
    async with service.client() as client:
        await send(client, tenant.user, "The owl flies at night")
        await send(client, tenant.admin, "The lark sings at dawn")
    window = await visit(tenant.admin, "/console/messages")
    owl, lark = (window.page.get_by_role("row", name=name) for name in ("The owl", "The lark"))
    await owl.wait_for()
    await window.page.get_by_label("Search").fill("owl")
    await lark.wait_for(state="detached")
    assert await owl.count() == 1
    assert window.page.url.endswith("?q=owl")
    await window.page.get_by_label("Search").fill("")
    await lark.wait_for()
    await window.page.get_by_label("Sent by").select_option(label=tenant.admin.email)
    await owl.wait_for(state="detached")
    await window.page.get_by_label("State").select_option("failed")
    await window.page.get_by_role("heading", name="No message fits").wait_for()
    await window.page.get_by_role("button", name="Show all messages").click()
    await owl.wait_for()
    await window.usable_by_all()


async def test_thousands_of_messages_are_paged_through_and_few_are_in_the_document(
    visit: Visit, service: Deployment
) -> None:
    tenant = await service.tenant()
    await execute(
        service.database.url,
        "INSERT INTO messages (id, tenant_id, user_id, content, response, status, model, created_at)"
        f" SELECT gen_random_uuid(), '{tenant.id}', '{tenant.user.id}', 'Message ' || n, 'Answer', 'completed', 'm',"
        f" now() - n * interval '1 second' FROM generate_series(1, {MANY}) AS n",
    )
    window = await visit(tenant.admin, "/console/messages", size=PHONE)
    await window.page.get_by_role("row", name="Message 1", exact=False).first.wait_for()
    last = """() => { scrollTo(0, document.body.scrollHeight);
        const rows = [...document.querySelectorAll("tbody tr[aria-rowindex]")];
        return Number(rows.at(-1).getAttribute("aria-rowindex")); }"""

    async def far_down() -> bool:
        return int(await window.page.evaluate(last)) > 1000

    await until(far_down, "a thousand rows to have been scrolled through")
    rows = await window.page.locator("tbody tr").count()
    assert rows < 80
    await window.fits()
    await window.page.evaluate("scrollTo(0, 0)")
    await window.page.get_by_role("link", name="Message 1", exact=True).wait_for()


async def test_settings_are_saved_exported_and_erased(visit: Visit, service: Deployment, tmp_path: Path) -> None:
    tenant = await service.tenant()
    window = await visit(tenant.admin, "/console/settings")
    window.expect(501, "/admin/providers")
    await window.page.get_by_label("Who may register").select_option("closed")
    await window.page.get_by_label("Delete messages after (days)").fill("30")
    await window.page.get_by_role("button", name="Save").click()
    dialog = window.page.get_by_role("dialog")
    confirm = dialog.get_by_role("button", name="Save and delete")
    assert await confirm.is_disabled()
    await dialog.get_by_label("Type").fill(tenant.name)
    await confirm.click()
    await window.page.get_by_text("The settings are saved").wait_for()
    await window.usable_by_all()
    await window.fits()
    await window.shot("settings")
    async with service.client() as client:
        stored = (await client.get(f"/tenants/{tenant.id}", headers=tenant.admin.headers)).json()
    assert (stored["registration"], stored["message_retention_days"]) == ("closed", 30)

    async with window.page.expect_download() as download:
        await window.page.get_by_role("button", name="Download").click()
    saved = tmp_path / "export.ndjson"
    await (await download.value).save_as(saved)
    lines = [json.loads(line) for line in saved.read_text().splitlines()]
    assert lines[-1]["type"] == "end"

    await window.page.get_by_role("button", name="Erase").click()
    await dialog.get_by_label("Type").fill(tenant.name)
    await dialog.get_by_role("button", name="Erase it for good").click()
    await window.page.get_by_text(f"{tenant.name} was erased").wait_for()
    await window.page.reload()
    await window.page.get_by_role("heading", name="Sign in").wait_for()


async def test_an_operator_creates_a_tenant_and_enters_it(visit: Visit, service: Deployment) -> None:
    window = await visit(None)
    await window.page.get_by_role("link", name="create a tenant").click()
    window.expect(401, "/create-tenant")
    email = unique_email("first")
    await window.page.get_by_label("Name", exact=True).fill(f"Founded by {email}")
    await window.page.get_by_label("Email of the first admin").fill(email)
    await window.page.get_by_label("Password", exact=True).fill(PASSWORD)
    await window.page.get_by_role("button", name="Create", exact=True).click()
    await window.page.get_by_text("Only the operator of this service creates tenants").wait_for()
    await window.page.get_by_label("Operator token").fill(OPERATOR_TOKEN)
    await window.page.get_by_role("button", name="Use it").click()
    await window.page.get_by_role("button", name="Create", exact=True).click()
    await window.usable_by_all()
    await window.page.get_by_role("button", name="Sign in as its admin").click()
    await window.page.get_by_role("heading", name="Overview").wait_for()
    seen = await window.page.evaluate("JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}])")
    assert OPERATOR_TOKEN not in seen
