"""Pages: how deep `skip` goes, and cursors that nobody handed out."""

import base64

import httpx
import pytest

from app.core.ids import new_id
from tests.api.problems import assert_problem
from tests.helpers import Tenant

LISTS = ["/messages", "/conversations", "/api-keys", "/admin/audit-log", "/admin/invites", "/tenants/{id}/users"]


def cursor(moment: str, row_id: str) -> str:
    return base64.urlsafe_b64encode(f"{moment}|{row_id}".encode()).decode().rstrip("=")


@pytest.mark.parametrize("path", LISTS)
async def test_skip_has_a_largest_value_and_beyond_it_the_answer_names_the_way(
    client: httpx.AsyncClient, acme: Tenant, path: str
) -> None:
    path = path.format(id=acme.id)
    deepest = await client.get(f"{path}?skip=10000", headers=acme.admin.headers)
    assert (deepest.status_code, deepest.json()) == (200, [])

    problem = assert_problem(await client.get(f"{path}?skip=10001", headers=acme.admin.headers), 422)
    assert problem["errors"][0]["loc"] == ["query", "skip"]
    assert "`Link`" in problem["errors"][0]["msg"]


async def test_the_largest_skip_is_documented(client: httpx.AsyncClient) -> None:
    parameters = (await client.get("/openapi.json")).json()["paths"]["/messages"]["get"]["parameters"]
    assert next(item["schema"]["maximum"] for item in parameters if item["name"] == "skip") == 10_000


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "moment",
    [
        "0001-01-01T00:00:00+14:00",
        "0001-01-01T00:00:00+00:00",
        "9999-12-31T23:59:59-14:00",
        "9999-12-31T23:59:59.999999+00:00",
        "2026-11-26T00:00:00+00:00:00.000001",
        "2026-11-26T00:00:00+23:59",
    ],
)
async def test_a_cursor_at_the_end_of_the_calendar_is_a_page_or_refused(
    client: httpx.AsyncClient, acme: Tenant, path: str, moment: str
) -> None:
    path = path.format(id=acme.id)
    answer = await client.get(f"{path}?cursor={cursor(moment, new_id())}", headers=acme.admin.headers)
    if answer.status_code != 200:
        assert_problem(answer, 422)
