"""The pages People, API keys, Budgets and prices: what is made there works, and users see what users may do."""

import re

import httpx
from playwright.async_api import Locator, Page, expect

from tests.console.conftest import Visit
from tests.console.deployment import ECHO, Deployment
from tests.console.window import DESK, PHONE
from tests.helpers import PASSWORD, Tenant, unique_email


def secret(page: Page, at: int = 0) -> Locator:
    return page.get_by_role("dialog").locator(".secret code").nth(at)


async def test_who_is_invited_joins_by_the_link(visit: Visit, service: Deployment) -> None:
    tenant, email = await service.tenant(), unique_email("guest")
    window = await visit(tenant.admin, "/console/people/invites", size=DESK)
    page = window.page
    await expect(page.get_by_role("heading", name="Nobody is invited")).to_be_visible()
    await page.get_by_role("button", name="Invite", exact=True).first.click()
    await page.get_by_label("Email").fill(email)
    await page.get_by_role("button", name="Make an invite").click()
    link = await secret(page).inner_text()
    await window.usable_by_all()
    await window.shot("people-invited")
    await page.get_by_role("button", name="I have it").click()
    await expect(page.get_by_role("table")).to_contain_text(email)

    guest = await visit(None, link.removeprefix(window.base), size=PHONE)
    await guest.page.get_by_label("Email").fill(email)
    await guest.page.get_by_label("Password").fill(PASSWORD)
    await guest.usable_by_all()
    await guest.fits()
    await guest.page.get_by_role("button", name="Join").click()
    await expect(guest.page.get_by_role("heading", name="Overview")).to_be_visible()
    assert not any(link.partition("#")[2] in asked for asked in guest.requests)


async def test_an_invite_is_withdrawn_and_a_person_changed(visit: Visit, service: Deployment) -> None:
    tenant, email = await service.tenant(), unique_email("late")
    async with service.client() as client:
        made = await client.post("/admin/invites", json={"email": email}, headers=tenant.admin.headers)
        assert made.status_code == 201
    window = await visit(tenant.admin, "/console/people", size=PHONE)
    page = window.page
    await page.get_by_role("tab", name="Invites").click()
    await page.get_by_role("button", name=f"Withdraw the invite of {email}").click()
    await page.get_by_role("button", name="Withdraw it").click()
    await expect(page.get_by_role("heading", name="Nobody is invited")).to_be_visible()
    await page.get_by_role("tab", name="People").click()
    await page.get_by_role("link", name=tenant.user.email).click()
    await page.get_by_role("button", name="Make an admin").click()
    await page.get_by_role("button", name="Change the role").click()
    await expect(page.get_by_role("button", name="Make a user")).to_be_visible()
    await page.get_by_role("button", name="Disable").click()
    await page.get_by_role("dialog").get_by_role("button", name="Disable").click()
    await expect(page.get_by_role("button", name="Let in again")).to_be_visible()
    await page.get_by_role("button", name="Set a limit").first.click()
    await page.get_by_label("Limit in US dollars").fill("twelve")
    await expect(page.get_by_text("An amount in dollars")).to_be_visible()
    await page.get_by_label("Limit in US dollars").fill("12.50")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("of $12.50")).to_be_visible()
    await window.fits()
    await window.usable_by_all()
    await window.shot("person-phone")
    async with service.client() as client:
        budget = await client.get(f"/admin/users/{tenant.user.id}/budget", headers=tenant.admin.headers)
        assert budget.json()["limit_micro_usd"] == 12_500_000

    await page.get_by_role("button", name="Delete", exact=True).click()
    confirm = page.get_by_role("button", name="Delete for good")
    await expect(confirm).to_be_disabled()
    await page.get_by_label("to confirm").fill(tenant.user.email)
    await confirm.click()
    await expect(page.get_by_role("table").get_by_role("link")).to_have_count(1)


async def test_a_user_makes_a_key_rotates_and_revokes_it(visit: Visit, service: Deployment) -> None:
    tenant = await service.tenant()
    window = await visit(tenant.user, "/console/keys", size=DESK, permissions=["clipboard-read", "clipboard-write"])
    page = window.page
    await expect(page.get_by_role("heading", name="There are no API keys yet")).to_be_visible()
    await page.get_by_role("button", name="Create a key").click()
    await page.get_by_label("Name").fill("nightly import")
    await page.get_by_label("messages:read").uncheck()
    await page.get_by_label("Only some").check()
    await page.get_by_label(ECHO).check()
    await window.usable_by_all()
    await page.get_by_role("button", name="Create", exact=True).click()
    first = await secret(page).inner_text()
    await page.get_by_role("button", name="Copy the key").click()
    assert await page.evaluate("navigator.clipboard.readText()") == first
    await window.shot("key-shown-once")
    await page.get_by_role("button", name="I have it").click()
    assert first not in await page.content()

    await page.get_by_role("link", name="nightly import").click()
    await page.get_by_role("button", name="Rotate").click()
    await page.get_by_label("The old one goes on").select_option(label="Not at all: it has leaked")
    await page.get_by_role("dialog").get_by_role("button", name="Rotate").click()
    second = await secret(page).inner_text()
    await page.get_by_role("button", name="I have it").click()
    await expect(page.get_by_role("heading", name="nightly import")).to_be_focused()
    async with service.client() as client:
        assert [await _sends(client, key) for key in (first, second)] == [401, 201]
        await page.get_by_role("button", name="Revoke").click()
        await page.get_by_role("button", name="Revoke it").click()
        await expect(page.get_by_role("heading", name="API keys")).to_be_visible()
        assert await _sends(client, second) == 401


async def test_an_admin_gives_a_new_key_a_budget(visit: Visit, service: Deployment) -> None:
    tenant = await service.tenant()
    window = await visit(tenant.admin, "/console/keys", size=PHONE)
    page = window.page
    await page.get_by_role("button", name="Create a key").click()
    await page.get_by_label("Name").fill("widget")
    await page.get_by_label("It may spend, a month").fill("2")
    await window.fits()
    await page.get_by_role("button", name="Create", exact=True).click()
    await page.get_by_role("button", name="I have it").click()
    await page.get_by_role("link", name="widget").click()
    await expect(page.get_by_role("region", name="This month")).to_contain_text("of $2.00")
    await window.fits()
    await window.shot("key-phone")


async def _sends(client: httpx.AsyncClient, key: str) -> int:
    answer = await client.post("/messages", json={"content": "Hello"}, headers={"Authorization": f"Bearer {key}"})
    return answer.status_code


async def test_a_user_sees_prices_and_neither_people_nor_budgets(visit: Visit, acme: Tenant) -> None:
    window = await visit(acme.user, "/console/budgets", size=PHONE, color_scheme="dark")
    page = window.page
    await expect(page.get_by_role("heading", name="Models and prices")).to_be_visible()
    await expect(page.get_by_role("row", name=re.compile(ECHO))).to_contain_text("$1.00")
    await expect(page.get_by_text("Set a limit")).to_have_count(0)
    await window.fits()
    await window.usable_by_all()
    await page.get_by_role("button", name="Menu").click()
    await expect(page.get_by_role("link", name="People")).to_have_count(0)
    await window.go("/console/people")
    await expect(page.get_by_role("heading", name="This page is not for your role")).to_be_visible()
    assert not any("/admin/" in asked for asked in window.requests)


async def test_an_admin_sets_the_tenants_budgets(visit: Visit, service: Deployment) -> None:
    tenant = await service.tenant()
    window = await visit(tenant.admin, "/console/budgets", size=DESK, color_scheme="dark")
    page = window.page
    week = page.get_by_role("region", name="This week")
    await week.get_by_role("button", name="Set a limit").click()
    await page.get_by_label("Limit in US dollars").fill("0.5")
    await page.get_by_label("Limit in US dollars").press("Enter")
    await expect(week).to_contain_text("of $0.50")
    await expect(week).to_contain_text("within")
    await expect(page.get_by_role("link", name=tenant.user.email)).to_be_visible()
    await window.usable_by_all()
    await window.shot("budgets-dark")
