"""Everything without a mouse: signing in, going from page to page, and dialogs, which keep the focus inside."""

from tests.console.conftest import Visit
from tests.console.pages import settled
from tests.console.window import Window
from tests.helpers import PASSWORD, Tenant

FOCUSED = "(document.activeElement.getAttribute('aria-label') || document.activeElement.innerText || '').trim()"
IN_SIGHT = """() => { const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
  return outlineStyle !== "none" && parseFloat(outlineWidth) > 0; }"""
# The browser's own controls come between a dialog's last part and its first; the page has no focus then.
INSIDE = "document.activeElement === document.body || document.activeElement.closest('dialog') !== null"
# More than any page has of them.
MANY = 60


async def tab_to(window: Window, name: str) -> None:
    """By the Tab key alone; whatever is passed shows that it has the focus."""
    passed = []
    for _ in range(MANY):
        await window.page.keyboard.press("Tab")
        focused = await window.page.evaluate(FOCUSED)
        passed.append(focused)
        assert await window.page.evaluate(IN_SIGHT), f"{focused!r} does not show that it has the focus"
        if focused == name:
            return
    raise AssertionError(f"{name} is not reached: {passed}")


async def test_signing_in_going_elsewhere_and_closing_a_dialog(visit: Visit, acme: Tenant) -> None:
    window = await visit()
    page = window.page
    await page.get_by_label("Email").wait_for()
    await page.keyboard.press("Tab")
    if not await page.get_by_label("Email").evaluate("(field) => field === document.activeElement"):
        await page.get_by_label("Email").focus()
    await page.keyboard.type(acme.admin.email)
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await page.get_by_role("navigation").wait_for()
    await settled(window)
    await tab_to(window, "Audit")
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="Audit").wait_for()
    assert await page.evaluate(FOCUSED) == "Audit"  # the page's heading: it is read out, and the next Tab goes on there
    table = page.get_by_role("table", name="Audit log")
    await table.get_by_role("link").first.focus()
    await page.keyboard.press("ArrowDown")
    row = await page.evaluate("document.activeElement.href")
    await page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    await dialog.wait_for()
    for _ in range(8):
        await page.keyboard.press("Tab")
        inside = await page.evaluate(
            "document.activeElement === document.body || !!document.activeElement.closest('dialog')"
        )
        assert inside
    await page.keyboard.press("Escape")
    await dialog.wait_for(state="detached")
    assert await page.evaluate("document.activeElement.href") == row


async def test_the_first_tab_leads_past_the_navigation(visit: Visit, acme: Tenant) -> None:
    window = await visit(acme.user)
    await settled(window)
    await window.page.evaluate("document.activeElement.blur()")
    await tab_to(window, "Skip to the content")
    await window.page.keyboard.press("Enter")
    assert await window.page.evaluate("document.activeElement.id") == "main"
