"""A page of long texts is bounded by its bytes."""

import httpx
import pytest

from app.db.pagination import PAGE_BYTES
from tests.helpers import Tenant

TEXT = "\U0001f4a1" * 40_000  # 160,000 bytes
ROWS = 12
FIELDS = {"/conversations": "system_prompt", "/messages": "content"}


async def pages(client: httpx.AsyncClient, tenant: Tenant, path: str) -> list[list[str]]:
    """The ids of each page, from the newest to the last."""
    found, url = [], path
    while url:
        answer = await client.get(url, headers=tenant.user.headers)
        assert len(answer.content) < PAGE_BYTES + 2 * len(TEXT.encode()) + 50_000
        found.append([row["id"] for row in answer.json()])
        url = answer.links["next"]["url"] if "next" in answer.links else ""
    return found


@pytest.mark.parametrize("path", FIELDS)
async def test_a_page_ends_at_a_megabyte_and_the_next_goes_on(
    client: httpx.AsyncClient, acme: Tenant, path: str
) -> None:
    made = []
    for number in range(ROWS):
        body = {FIELDS[path]: TEXT if number else "x"}
        made.append((await client.post(path, json=body, headers=acme.user.headers)).json()["id"])
    for query in ("?limit=100", "?limit=5", "?skip=0&limit=100", f"?user_id={acme.user.id}&limit=100"):
        listed = await pages(client, acme, path + query)
        assert [row for page in listed for row in page] == made[::-1], query
        assert len(listed) >= 2
    if path == "/messages":
        # A page of the search may be empty where it goes on.
        found = await pages(client, acme, f"{path}?q=mock&limit=100")
        assert [row for page in found for row in page] == made[::-1]
    exactly = await pages(client, acme, f"{path}?skip={ROWS - 1}&limit=1")
    assert exactly == [[made[0]]]
