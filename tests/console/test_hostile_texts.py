"""What an attacker wrote is shown as text: nothing of it runs, becomes a part of the page, or breaks its width."""

import re

import pytest
import pytest_asyncio

from tests.console.conftest import Visit
from tests.console.deployment import Deployment
from tests.console.hostile import INJECTED, LONG, MARK, TEXT, Hostile, hostile_tenant
from tests.console.pages import PAGES, settled
from tests.console.window import DESK, PHONE, Window
from tests.helpers import Tenant

# Where each kind of thing has a page of its own, and what is asked for in the address.
DEEPER = (
    "messages/{message}", "messages/{call}", "messages?q={text}", "messages?user_id={text}", "audit?action={text}",
    "try?conversation={conversation}", "documents/{document}", "keys/{key}", "people/{user}", "audit?entry={entry}",
    "{text}",
)  # fmt: skip


# Where a button opens one.
DIALOGS = (
    ("keys", "Create a key"), ("keys/{key}", "Rotate"), ("keys/{key}", "Revoke"), ("people", "Invite"),
    ("people", "Add with a password"), ("people/{user}", "Delete"), ("budgets", "Set a limit"),
    ("settings", "Set a key"), ("settings", "Erase"), ("documents/{document}", "Delete"),
    ("messages/{message}", "Delete"),
)  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def hostile(service: Deployment) -> Hostile:
    return await hostile_tenant(service)


def named(hostile: Hostile) -> dict[str, str]:
    return {**hostile.ids, "user": hostile.tenant.user.id, "text": TEXT}


def places(hostile: Hostile) -> list[str]:
    return [*(page.path for page in PAGES), *(place.format(**named(hostile)) for place in DEEPER)]


async def is_harmless(window: Window, place: str) -> None:
    assert await window.page.evaluate("window.ran") is None, place
    assert await window.page.locator(INJECTED).count() == 0, place
    await window.fits()


@pytest.mark.parametrize("size", [DESK, PHONE])
async def test_it_is_text_on_every_page(visit: Visit, hostile: Hostile, size: tuple[int, int]) -> None:
    window = await visit(hostile.tenant.admin, size=size)
    window.expect(404)
    window.expect(422)
    shown = 0
    for place in places(hostile):
        await window.go(f"/console/{place}")
        await settled(window)
        await is_harmless(window, place)
        shown += (await window.page.inner_text("main")).count(MARK)
        name = "".join(letter if letter.isalnum() else "-" for letter in place[:30])
        await window.shot(f"hostile/{size[0]}-{name}")
    # What is not shown at all proves nothing.
    assert shown > len(places(hostile))


async def test_it_is_text_in_dialogs_which_close_by_escape(visit: Visit, hostile: Hostile) -> None:
    window = await visit(hostile.tenant.admin, size=PHONE, color_scheme="dark")
    for number, (place, button) in enumerate(DIALOGS):
        await window.go(f"/console/{place.format(**named(hostile))}")
        await settled(window)
        opener = window.page.locator("main").get_by_role("button", name=re.compile(f"^{button}")).first
        await opener.click()
        dialog = window.page.get_by_role("dialog")
        await dialog.wait_for()
        await is_harmless(window, place)
        await window.usable_by_all()
        await window.shot(f"dialogs/{number}")
        await window.page.keyboard.press("Escape")
        await dialog.wait_for(state="detached")
        assert await opener.evaluate("(button) => button === document.activeElement"), place


async def test_what_a_model_says_is_text_while_it_is_said(visit: Visit, acme: Tenant) -> None:
    window = await visit(acme.user, "/console/try")
    await window.page.get_by_label("Your message").fill(f"{TEXT} {LONG}")
    await window.page.keyboard.press("Enter")
    await window.page.get_by_text("tokens in").wait_for()
    await is_harmless(window, "try")


async def test_nothing_of_a_tenant_is_seen_by_the_admin_of_another(
    visit: Visit, hostile: Hostile, rival: Tenant
) -> None:
    window = await visit(rival.admin)
    window.expect(404)
    for place in places(hostile):
        if TEXT[:10] in place:
            continue  # it would show what it was asked for
        await window.go(f"/console/{place}")
        await settled(window)
        text = await window.page.inner_text("body")
        assert MARK not in text, place
        assert hostile.tenant.id not in text, place
