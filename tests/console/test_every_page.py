"""Each page, as each kind of person, at each width and in each scheme: usable, and as its address says."""

import pytest

from tests.console.conftest import Measured, Visit
from tests.console.deployment import OPERATOR_TOKEN
from tests.console.pages import PAGES, settled
from tests.console.window import DESK, PHONE, Window
from tests.helpers import PASSWORD, Tenant, unique_email

LOOKS = {"light": DESK, "dark": PHONE}


async def looks_well(window: Window, name: str) -> None:
    await window.fits()
    await window.usable_by_all()
    await window.shot(name)


async def offered(window: Window) -> set[str]:
    links = await window.page.get_by_role("navigation").get_by_role("listitem").all_inner_texts()
    return {link.strip() for link in links}


@pytest.mark.parametrize("scheme", LOOKS)
@pytest.mark.parametrize("role", ["admin", "user"])
async def test_every_page_is_usable_as_an_admin_and_as_a_user(
    visit: Visit, acme: Tenant, role: str, scheme: str
) -> None:
    member = acme.admin if role == "admin" else acme.user
    window = await visit(member, size=LOOKS[scheme], color_scheme=scheme)
    for page in PAGES:
        await window.go(f"/console/{page.path}")
        await settled(window)
        await looks_well(window, f"pages/{page.path or 'overview'}-{role}-{scheme}")


async def test_a_user_is_offered_no_page_of_admins_and_told_so_where_it_goes_to_one(visit: Visit, acme: Tenant) -> None:
    user, admin = await visit(acme.user), await visit(acme.admin)
    for_user, for_admin = await offered(user), await offered(admin)
    assert for_user < for_admin
    for title in for_admin - for_user:
        [path] = [page.path for page in PAGES if page.title == title]
        await user.go(f"/console/{path}")
        await user.page.get_by_role("heading", name="This page is not for your role").wait_for()


async def test_pages_are_gone_to_and_back_from_and_loaded_again(visit: Visit, acme: Tenant) -> None:
    window = await visit(acme.admin)
    await settled(window)
    page = window.page
    loaded = sum("GET" in asked and asked.endswith("/console") for asked in window.requests)
    links = page.get_by_role("navigation").get_by_role("listitem").get_by_role("link")
    seen = []
    for number in range(await links.count()):
        title = (await links.nth(number).inner_text()).strip()
        await links.nth(number).click()
        await page.wait_for_function("title => document.title.startsWith(title)", arg=title)
        await settled(window)
        seen.append((title, page.url))
    assert sum("GET" in asked and asked.endswith("/console") for asked in window.requests) == loaded
    for title, url in reversed(seen[:-1]):
        await page.go_back()
        await page.wait_for_function("title => document.title.startsWith(title)", arg=title)
        assert page.url == url
    for title, url in seen[1:]:
        await page.go_forward()
        await page.wait_for_function("title => document.title.startsWith(title)", arg=title)
        assert page.url == url
    await page.reload()
    await settled(window)
    assert (await page.title()).startswith(seen[-1][0])


async def test_an_operator_gives_a_token_and_makes_a_tenant(visit: Visit) -> None:
    window = await visit(None, "/console/tenants")
    await settled(window)
    await looks_well(window, "pages/tenants-nobody")
    page = window.page
    email = unique_email("first")
    await page.get_by_label("Name").fill("A new one")
    await page.get_by_label("Email of the first admin").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    window.expect(401, "/create-tenant")
    await page.get_by_role("button", name="Create").click()
    await page.get_by_role("alert").get_by_text("operator").wait_for()
    await window.shot("pages/tenants-refused")
    await page.get_by_label("Operator token").fill(OPERATOR_TOKEN)
    await page.get_by_role("button", name="Use it").click()
    await page.get_by_text("One is in use").wait_for()
    await page.get_by_role("button", name="Create").click()
    await page.get_by_role("button", name="Sign in as its admin").wait_for()
    await looks_well(window, "pages/tenants-made")
    await page.get_by_role("button", name="Sign in as its admin").click()
    await page.get_by_role("banner").get_by_text(email).wait_for()
    await settled(window)
    kept = await page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert OPERATOR_TOKEN not in kept


async def test_first_paint_is_measured_and_charts_do_not_move_what_was_painted(
    visit: Visit, acme: Tenant, measured: Measured
) -> None:
    window = await visit(acme.admin)
    await settled(window)
    cold = await window.first_paint()
    await window.page.reload()
    await settled(window)
    warm = await window.first_paint()
    await window.page.locator(".chart canvas").first.wait_for()
    assert await window.shifts() == []
    sent = await window.page.evaluate(
        "performance.getEntriesByType('resource').filter((one) => one.name.includes('/console/static/')).length"
    )
    measured(f"first contentful paint: {cold:.0f} ms at the first visit, {warm:.0f} ms at the next ({sent} files)")
