"""The audit log: what is in it, narrowed down by the address, however long it is."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from sqlalchemy import URL

from app.core.ids import new_id
from tests.conftest import dsn
from tests.console.conftest import Measured, Visit
from tests.console.deployment import Deployment
from tests.console.window import PHONE, Window
from tests.helpers import Tenant

MANY = 100_000
PAGE = 100
# Rows that the table may have in the document, of however many there are.
IN_SIGHT = 80
COUNT_ROWS = "document.querySelectorAll('.table tbody tr:not(.gap)').length"
# To the end of what is there, again and again, as fast as the browser draws; how long the longest step kept it busy.
SCROLL = """async (rows) => {
  let longest = 0, most = 0;
  const look = (list) => { for (const { duration } of list.getEntries()) longest = Math.max(longest, duration); };
  new PerformanceObserver(look).observe({ type: "longtask" });
  const drawn = () => new Promise((resolve) => requestAnimationFrame(resolve));
  while (document.documentElement.scrollHeight < rows * 44) {
    scrollTo(0, document.documentElement.scrollHeight);
    await drawn();
    most = Math.max(most, document.querySelectorAll(".table tbody tr:not(.gap)").length);
  }
  scrollTo(0, rows * 22);
  await drawn();
  await drawn();
  return { longest, most };
}"""


async def test_who_did_what_is_found_by_what_and_by_whom(visit: Visit, service: Deployment) -> None:
    tenant = await service.tenant()
    async with service.client() as client:
        body: dict[str, Any] = {"limit_micro_usd": 5_000_000}
        await client.put("/admin/budget", json=body, headers=tenant.admin.headers)
    window = await visit(tenant.admin, "/console/audit")
    page = window.page
    table = page.get_by_role("table", name="Audit log")
    await table.get_by_text("budget.set").wait_for()
    await table.get_by_text("user.registered").wait_for()
    await window.usable_by_all()
    await window.shot("audit")
    await page.get_by_label("Action").select_option("budget.set")
    await table.get_by_text("user.registered").wait_for(state="detached")
    assert page.url.endswith("/console/audit?action=budget.set")
    await table.get_by_role("link").first.click()
    dialog = page.get_by_role("dialog", name="budget.set")
    await dialog.get_by_text("5000000").wait_for()
    await window.usable_by_all()
    await window.shot("audit-entry")
    await page.reload()
    await dialog.wait_for()
    await page.keyboard.press("Escape")
    await dialog.wait_for(state="detached")
    assert page.url.endswith("/console/audit?action=budget.set")
    await page.get_by_label("Who").select_option(tenant.user.id)
    await page.get_by_text("No entry is like that").wait_for()
    await window.shot("audit-none")
    await page.get_by_role("link", name="Show all").click()
    await table.get_by_text("user.registered").wait_for()
    await window.shot("audit-all")


async def test_a_hundred_thousand_entries_are_paged_through_and_few_are_in_the_document(
    visit: Visit, service: Deployment, measured: Measured
) -> None:
    tenant = await service.tenant()
    await _fill(service.database.url, tenant)
    window = await visit(tenant.admin, "/console/audit")
    await window.page.get_by_role("table", name="Audit log").wait_for()
    pages = 30
    seen = await window.page.evaluate(SCROLL, pages * PAGE)
    measured(
        f"{pages * PAGE} of {MANY} rows scrolled through: at most {seen['most']} in the document, "
        f"the longest task {seen['longest']:.0f} ms"
    )
    assert seen["most"] <= IN_SIGHT
    asked = [request for request in window.requests if "/admin/audit-log" in request]
    assert len(asked) >= pages
    assert not any("skip=" in request for request in asked)
    assert sum("cursor=" in request for request in asked) == len(asked) - 1
    await _walks_by_keyboard(window)


async def test_on_a_phone_it_is_as_wide_as_the_phone(visit: Visit, acme: Tenant) -> None:
    window = await visit(acme.admin, "/console/audit", size=PHONE, color_scheme="dark")
    await window.page.get_by_role("table", name="Audit log").get_by_role("link").first.wait_for()
    await window.fits()
    await window.usable_by_all()
    await window.shot("audit-phone-dark")
    await window.page.get_by_role("table", name="Audit log").get_by_role("link").first.click()
    await window.page.get_by_role("dialog").wait_for()
    await window.fits()
    await window.shot("audit-entry-phone-dark")


async def _walks_by_keyboard(window: Window) -> None:
    page = window.page
    before = await page.evaluate("scrollY")
    links = page.get_by_role("table", name="Audit log").get_by_role("link")
    await links.nth(await links.count() // 2).focus()
    first = await page.evaluate("document.activeElement.href")
    for _ in range(5):
        await page.keyboard.press("ArrowDown")
    assert await page.evaluate("document.activeElement.href") != first
    assert abs(await page.evaluate("scrollY") - before) < 2_000
    await page.keyboard.press("Enter")
    await page.get_by_role("dialog").wait_for()


async def _fill(url: URL, tenant: Tenant) -> None:
    """By the owner's COPY; the trigger that gives an entry its time and tenant is for those who use the service."""
    connection = await asyncpg.connect(dsn(url))
    try:
        await connection.execute("SET session_replication_role = replica")
        columns = ("id", "tenant_id", "action", "actor_type", "actor_id", "target_id", "details", "created_at")
        now = datetime.now(UTC)
        rows = (
            (new_id(), tenant.id, "user.changed", "user", tenant.admin.id, tenant.user.id, f'{{"n": {n}}}',
             now - timedelta(seconds=n // 3))
            for n in range(MANY)
        )  # fmt: skip
        await connection.copy_records_to_table("audit_log", records=rows, columns=columns)
        await connection.execute("ANALYZE audit_log")
    finally:
        await connection.close()
