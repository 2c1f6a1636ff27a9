"""The cookie that keeps a session: what it goes to, whose it may be, and where there is none."""

import re

from playwright.async_api import Browser

from app.api.session_cookie import NAME
from tests.conftest import execute
from tests.console.conftest import Visit
from tests.console.deployment import Deployment
from tests.console.window import Window
from tests.helpers import PASSWORD, Tenant, join
from tests.waiting import until

SIGN_IN = re.compile("^Sign in$")


async def is_at_the_door(window: Window) -> None:
    await window.page.get_by_role("heading", name=SIGN_IN).wait_for()


async def test_a_deep_link_survives_signing_in_and_a_reload_and_no_script_sees_the_session(
    visit: Visit, acme: Tenant
) -> None:
    window = await visit(acme.admin, "/console/messages?status=failed")
    await window.page.get_by_role("heading", name="Messages").wait_for()
    assert window.page.url.endswith("/console/messages?status=failed")
    await window.page.reload()
    await window.page.get_by_role("heading", name="Messages").wait_for()
    [cookie] = await window.context.cookies([f"{window.base}/refresh"])
    assert (cookie["name"], cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (NAME, True, True, "Strict")
    assert await window.context.cookies([f"{window.base}/messages"]) == [], "it goes to one path alone"
    seen = await window.page.evaluate("JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}])")
    assert cookie["value"] not in seen
    assert "eyJ" not in seen, "no access token is kept either"


async def test_without_a_session_nothing_is_asked_for_one(visit: Visit) -> None:
    window = await visit(None)
    await is_at_the_door(window)
    assert not [request for request in window.requests if "/refresh" in request]
    await window.usable_by_all()


async def test_signing_out_everywhere_ends_other_browsers_too(visit: Visit, service: Deployment, acme: Tenant) -> None:
    async with service.client() as client:
        member = await join(client, acme.id)
    here, there = await visit(member, "/console/settings"), await visit(member, "/console/messages")
    await here.page.get_by_role("button", name="Sign out everywhere").click()
    await here.page.get_by_role("dialog").get_by_role("button", name="Sign out everywhere").click()
    await is_at_the_door(here)
    there.expect(401, "/messages")
    await there.page.reload()
    await is_at_the_door(there)
    assert await there.page.get_by_text("Your session is over.").count() == 1


async def test_a_cookie_that_was_planted_signs_nobody_in_as_another(
    visit: Visit, browser: Browser, service: Deployment, acme: Tenant, rival: Tenant
) -> None:
    """A host beside this one could plant it: the page goes on with the account it was left with, or with none."""
    theirs = await visit(rival.user)
    [cookie] = await theirs.context.cookies([f"{theirs.base}/refresh"])
    fresh = await visit(None)
    await fresh.context.add_cookies([cookie])
    await fresh.page.reload()
    await is_at_the_door(fresh)
    victim = await visit(acme.user)
    await victim.context.clear_cookies()
    await victim.context.add_cookies([cookie])
    await victim.page.reload()
    await is_at_the_door(victim)
    assert await victim.page.get_by_text("Another account").count() == 1


async def test_by_plain_http_the_page_says_why_there_is_no_signing_in(visit: Visit, service: Deployment) -> None:
    # Chromium has no other address here than this machine's, which it trusts; what the page asks it, it is told.
    window = await visit(None)
    await window.page.add_init_script("Object.defineProperty(window, 'isSecureContext', {value: false})")
    await window.page.reload()
    await window.page.get_by_role("heading", name="Open the console by https").wait_for()
    assert await window.page.get_by_label("Password").count() == 0


async def test_what_needs_a_fresh_password_asks_for_it_and_goes_on(
    visit: Visit, service: Deployment, acme: Tenant
) -> None:
    window = await visit(acme.admin, "/console/settings")
    await window.page.get_by_label("Name", exact=True).wait_for()
    aged = f"UPDATE sessions SET created_at = created_at - interval '1 hour' WHERE user_id = '{acme.admin.id}'"
    await execute(service.database.url, aged)
    window.expect(403, f"/tenants/{acme.id}")
    await window.page.get_by_label("Whose messages users see").select_option("own")
    await window.page.get_by_role("button", name="Save").click()
    dialog = window.page.get_by_role("dialog", name="Your password, again")
    await dialog.get_by_label("Password", exact=True).fill(PASSWORD)
    await window.usable_by_all()
    await dialog.get_by_role("button", name="Go on").click()
    await window.page.get_by_text("The settings are saved").wait_for()
    await window.page.reload()
    assert await window.page.get_by_label("Whose messages users see").input_value() == "own"
    await window.page.get_by_label("Whose messages users see").select_option("tenant")
    await window.page.get_by_role("button", name="Save").click()
    await window.page.get_by_text("The settings are saved").wait_for()


async def test_a_page_that_is_closed_while_it_renews_loses_nothing(
    visit: Visit, service: Deployment, acme: Tenant
) -> None:
    async with service.client() as client:
        member = await join(client, acme.id)
    window = await visit(member)
    of_member = f"WHERE user_id = '{member.id}'"
    begun = await window.context.cookies([f"{window.base}/refresh"])
    tab = await window.context.new_page()
    async with tab.expect_request("**/refresh"):
        await tab.goto(f"{window.base}/console", wait_until="commit")
    await tab.close()

    async def renewed() -> bool:
        cookies = await window.context.cookies([f"{window.base}/refresh"])
        return cookies[0]["value"] != before

    before = begun[0]["value"]
    await until(renewed, "the cookie to be replaced")
    # Later than the time in which the token before it may come again.
    await execute(service.database.url, f"UPDATE sessions SET rotated_at = rotated_at - interval '1 hour' {of_member}")
    await window.page.reload()
    await window.page.get_by_role("navigation").wait_for()
