"""Signing in and out, and sessions that end, are renewed, or are shared by windows."""

import json
import re

from playwright.async_api import Route

from tests.console.conftest import Visit
from tests.console.deployment import Deployment
from tests.console.pages import settled
from tests.console.relay import relay
from tests.console.window import Window
from tests.helpers import PASSWORD, Tenant, log_in
from tests.waiting import until

WHAT_SCRIPTS_SEE = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"


async def is_at_the_door(window: Window) -> None:
    await window.page.get_by_role("heading", name="Sign in").wait_for()


def renewals(window: Window) -> int:
    return sum(asked.endswith("/refresh") for asked in window.requests)


async def test_who_gives_a_wrong_password_is_told_so_and_stays_outside(visit: Visit, acme: Tenant) -> None:
    window = await visit()
    await is_at_the_door(window)
    await window.usable_by_all()
    await window.shot("sign-in")
    window.expect(401, "/login")
    await window.page.get_by_label("Email").fill(acme.user.email)
    await window.page.get_by_label("Password", exact=True).fill("not the password")
    await window.page.get_by_role("button", name="Sign in").click()
    alert = window.page.get_by_role("alert")
    await alert.wait_for()
    assert re.search(r"Request\s+[0-9a-f-]{36}", await alert.inner_text())
    await window.usable_by_all()
    await window.shot("sign-in-refused")
    await window.page.get_by_label("Password", exact=True).fill(PASSWORD)
    await window.page.keyboard.press("Enter")
    await window.page.get_by_role("navigation").wait_for()


async def test_no_script_sees_a_token_and_a_reload_stays_signed_in(visit: Visit, acme: Tenant) -> None:
    window = await visit(acme.user, "/console/try")
    await settled(window)
    assert "." not in json.dumps(json.loads(await window.page.evaluate(WHAT_SCRIPTS_SEE))[0].get("token", ""))
    seen = await window.page.evaluate(WHAT_SCRIPTS_SEE)
    cookies = await window.context.cookies(window.base + "/refresh")
    [kept] = [cookie for cookie in cookies if cookie["value"] and cookie["httpOnly"]]
    assert kept["secure"]
    assert kept["sameSite"] == "Strict"
    assert kept["value"] not in seen
    assert "eyJ" not in seen
    assert await window.context.cookies(window.base + "/messages") == []
    await window.page.reload()
    await window.page.get_by_label("Your message").wait_for()


async def test_an_access_token_that_is_over_is_renewed_unnoticed(visit: Visit, acme: Tenant) -> None:
    window = await visit(acme.admin)
    await settled(window)
    before = renewals(window)
    await window.page.clock.install()
    await window.page.clock.fast_forward("01:30:00")
    await window.page.get_by_role("link", name="Audit").click()
    await window.page.get_by_role("table", name="Audit log").get_by_text("session.begun").first.wait_for()
    assert renewals(window) == before + 1


async def test_a_token_that_is_refused_is_renewed_and_what_was_asked_is_asked_again(visit: Visit, acme: Tenant) -> None:
    window = await visit(acme.user)
    await settled(window)
    window.expect(401, "/models")
    before = renewals(window)

    refused = []

    async def refuse_once(route: Route) -> None:
        # The route stays: to take it away would disturb the requests that are under way beside this one.
        if refused:
            await route.continue_()
            return
        refused.append(route.request.url)
        problem = {"type": "urn:llm-saas:problem:unauthorized", "status": 401, "detail": "No", "request_id": "r"}
        await route.fulfill(status=401, content_type="application/problem+json", body=json.dumps(problem))

    await window.page.route("**/models", refuse_once)
    await window.page.get_by_role("link", name="Try it").click()
    await window.page.get_by_label("Model").wait_for()
    assert renewals(window) == before + 1


async def test_a_session_that_was_ended_elsewhere_leads_to_the_door_and_back(visit: Visit, service: Deployment) -> None:
    tenant = await service.tenant()
    window = await visit(tenant.user, "/console/try")
    await settled(window)
    async with service.client() as client:
        elsewhere = await log_in(client, tenant.user.email)
        await client.post("/logout", json={"everywhere": True}, headers=elsewhere.headers)
    for path in ("/usage", "/admin", "/messages", "/me", "/tenants", "/budgets", "/models", "/conversations"):
        window.expect(401, path)
    await window.page.get_by_role("link", name="Overview").click()
    await is_at_the_door(window)
    await window.shot("session-over")
    await window.sign_in(tenant.user.email, PASSWORD)
    assert window.page.url.endswith("/console")


async def test_who_signs_out_is_out_in_each_tab(visit: Visit, acme: Tenant) -> None:
    window = await visit(acme.user)
    other = Window(window.context, await window.context.new_page(), window.base)
    await other.go("/console/try")
    await other.page.get_by_label("Your message").wait_for()
    await window.page.get_by_role("button", name="Sign out").click()
    await is_at_the_door(window)
    await is_at_the_door(other)
    await window.page.reload()
    await is_at_the_door(window)
    other.is_quiet()


async def test_what_cannot_be_reached_says_so_and_is_there_again_at_the_next_try(
    visit: Visit, service: Deployment, acme: Tenant
) -> None:
    async with relay(service.server.port) as between:
        window = await visit(acme.admin, "/console/audit", base=between.base)
        table = window.page.get_by_role("table", name="Audit log")
        await table.get_by_text("session.begun").first.wait_for()
        window.unreachable_is_expected = True
        between.cut(0)
        await window.page.get_by_label("Action").select_option("session.begun")
        await window.page.get_by_role("alert").get_by_text("could not be reached").wait_for()
        await window.usable_by_all()
        await window.shot("offline")
        between.cut(service.server.port)
        await window.page.get_by_role("button", name="Try again").click()
        await table.get_by_text("session.begun").first.wait_for()


async def test_a_failure_of_the_service_says_which_request_it_was(
    visit: Visit, service: Deployment, acme: Tenant
) -> None:
    window = await visit(acme.admin, "/console/audit")
    table = window.page.get_by_role("table", name="Audit log")
    await table.get_by_text("session.begun").first.wait_for()
    window.expect(503)
    await service.database.set("ALLOW_CONNECTIONS false")
    try:
        await service.database.end_sessions()
        await window.page.get_by_label("Action").select_option("session.begun")
        alert = window.page.get_by_role("alert")
        await alert.wait_for()
        assert re.search(r"Request\s+[0-9a-f-]{36}", await alert.inner_text())
        await window.shot("database-away")
    finally:
        await service.database.set("ALLOW_CONNECTIONS true")

    async def serves() -> bool:
        async with service.client() as client:
            return (await client.get("/health/ready")).status_code == 200

    await until(serves, "the service to have its database again")
    await window.page.get_by_role("button", name="Try again").click()
    await table.get_by_text("session.begun").first.wait_for()
