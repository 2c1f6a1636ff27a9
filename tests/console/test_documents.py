"""The page Documents: uploading by drag and by button, following, searching, deleting."""

import re

from playwright.async_api import FilePayload, Route, expect

from tests.console.conftest import Visit
from tests.console.deployment import Deployment
from tests.console.window import DESK, PHONE
from tests.helpers import Tenant, join

TERMS = b"# Terms\n\nA parcel waits at the depot for seven days.\n\n# Damage\n\nWe pay up to 150 euros.\n"
DROP = """([name, text]) => {
  const files = new DataTransfer();
  files.items.add(new File([text], name, { type: 'text/markdown' }));
  const zone = document.querySelector('h1');
  for (const kind of ['dragover', 'drop'])
    zone.dispatchEvent(new DragEvent(kind, { dataTransfer: files, bubbles: true, cancelable: true }));
}"""


def file(name: str, content: bytes) -> FilePayload:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


async def test_files_are_uploaded_followed_found_and_deleted(visit: Visit, acme: Tenant) -> None:
    window = await visit(acme.admin, "/console/documents", size=DESK)
    page = window.page
    await expect(page.get_by_role("heading", name="There are no documents yet")).to_be_visible()
    await page.get_by_label("Into the collection").fill("terms")
    async with page.expect_file_chooser() as chooser:
        await page.get_by_role("button", name="Choose files").click()
    await (await chooser.value).set_files([file("terms.md", TERMS), file("broken.pdf", b"no pdf")])
    uploads = page.get_by_label("Uploads")
    await expect(uploads.get_by_text("Ready: it is found from now on.")).to_be_visible()
    await expect(uploads.get_by_role("alert")).to_contain_text("damaged, or is not of the type")
    await page.evaluate(DROP, ["dropped.md", "# Bells\n\nThe rider rings twice."])
    await expect(uploads.get_by_text("Ready: it is found from now on.")).to_have_count(2)
    await expect(page.get_by_role("table").get_by_role("link")).to_have_text(["dropped.md", "broken.pdf", "terms.md"])
    await window.usable_by_all()
    await window.shot("documents")

    await page.get_by_label("Search in documents").fill("How long does a parcel wait?")
    await page.get_by_label("Search in documents").press("Enter")
    best = page.get_by_label("Passages, the best first").get_by_role("article").first
    await expect(best).to_contain_text("seven days")
    await expect(best.locator(".score span").first).to_have_text(re.compile(r"^0\.\d\d$|^1\.\d\d$"))
    await expect(best.locator(".passage")).to_have_text(re.compile("^… A parcel waits"))
    await window.shot("documents-search")
    await best.get_by_role("link").click()
    await expect(page.locator("mark")).to_contain_text("seven days")
    await expect(page.get_by_role("heading", name="terms.md")).to_be_focused()
    await page.reload()
    await expect(page.locator("mark")).to_contain_text("seven days")

    await page.get_by_role("button", name="Delete").click()
    await page.get_by_role("button", name="Delete for good").click()
    await expect(page.get_by_role("table").get_by_role("link")).to_have_text(["dropped.md", "broken.pdf"])


async def test_an_address_that_somebody_made_up_leads_no_request_elsewhere(visit: Visit, acme: Tenant) -> None:
    window = await visit(acme.admin, "/console/documents", size=DESK)
    asked: list[str] = []
    window.page.on("request", lambda request: asked.append(request.url))
    await window.page.goto(f"{window.page.url}/%252e%252e/messages")
    await expect(window.page.get_by_text("There is no such resource.")).to_be_visible()
    assert not [url for url in asked if url.endswith("/messages") and "/console/" not in url]


async def test_nobody_knows_how_far_a_document_is_that_waits(visit: Visit, acme: Tenant) -> None:
    window = await visit(acme.user, "/console/documents")
    page = window.page

    async def waits(route: Route) -> None:
        answer = await route.fetch()
        await route.fulfill(response=answer, json={**await answer.json(), "status": "queued", "progress": 0})

    await page.route(re.compile(r"/documents(/[0-9a-f-]{36})?$"), waits)
    async with page.expect_file_chooser() as chooser:
        await page.get_by_role("button", name="Choose files").click()
    await (await chooser.value).set_files([file("waits.md", b"# Later")])
    bar = page.get_by_label("Uploads").get_by_role("progressbar", name="Waits to be read")
    await expect(bar).to_have_js_property("position", -1)  # as the browser calls what it does not know


async def test_a_passage_is_marked_behind_characters_of_two_units(
    visit: Visit, service: Deployment, acme: Tenant
) -> None:
    window = await visit(acme.user, "/console/documents")
    page = window.page
    async with page.expect_file_chooser() as chooser:
        await page.get_by_role("button", name="Choose files").click()
    text = "\U0001f6b2" * 40 + "\n\nBrakes are checked on Mondays.\n"
    await (await chooser.value).set_files([file("bells.txt", text.encode())])
    await page.get_by_label("Uploads").get_by_role("link", name="bells.txt").click()
    await expect(page.get_by_label("Text of the document")).to_be_visible()
    await window.go(page.url.removeprefix(window.base) + "?from=42&to=48")
    await expect(page.locator("mark")).to_have_text("Brakes")


async def test_what_is_anothers_is_seen_and_not_deleted(visit: Visit, service: Deployment, rival: Tenant) -> None:
    async with service.client() as client:
        other = await join(client, rival.id)
        body = {"name": "plan.md", "text": "The plan."}
        made = (await client.post("/documents", json=body, headers=rival.user.headers)).json()
    window = await visit(other, f"/console/documents/{made['id']}", size=PHONE, color_scheme="dark")
    await expect(window.page.get_by_role("heading", name="plan.md")).to_be_visible()
    await expect(window.page.get_by_role("button", name="Delete")).to_have_count(0)
    await window.usable_by_all()
    await window.fits()
    await window.shot("document-phone-dark")


async def test_a_document_of_another_tenant_is_a_problem_with_its_request_id(
    visit: Visit, service: Deployment, acme: Tenant, rival: Tenant
) -> None:
    async with service.client() as client:
        body = {"name": "secret.md", "text": "Nobody else's."}
        made = (await client.post("/documents", json=body, headers=rival.user.headers)).json()
    window = await visit(acme.admin)
    window.expect(404, f"/documents/{made['id']}")
    await window.go(f"/console/documents/{made['id']}")
    await expect(window.page.get_by_role("alert")).to_contain_text(re.compile("Request [0-9a-f-]{36}"))
    await expect(window.page.get_by_role("heading", name="Document")).to_be_visible()
