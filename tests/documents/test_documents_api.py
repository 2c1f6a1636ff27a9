"""Uploading, listing, reading and deleting documents, over the interface."""

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.core.ids import new_id
from app.db import rls
from app.documents.totals import Quotas
from app.documents.uploads import MOST_OF_A_TENANT, Uploads
from tests.api.problems import assert_problem
from tests.helpers import Member, Tenant, join

NOTE = {"name": "note.md", "text": "# Leases\n\nA machine goes back."}


async def post(client: httpx.AsyncClient, member: Member, **changes: Any) -> httpx.Response:
    headers = {**member.headers, **changes.pop("headers", {})}
    return await client.post("/documents", json={**NOTE, **changes}, headers=headers)


async def test_a_text_is_accepted_and_shown(client: httpx.AsyncClient, acme: Tenant) -> None:
    answer = await post(client, acme.user, collection="handbooks", attributes={"year": 2026, "draft": False})

    assert answer.status_code == 202
    document = answer.json()
    assert answer.headers["location"] == f"/documents/{document['id']}"
    assert document["attributes"] == {"year": 2026, "draft": False}
    assert (document["bytes"], document["media_type"]) == (len(NOTE["text"]), "text/markdown")
    shown = await client.get(answer.headers["location"], headers=acme.admin.headers)
    assert shown.json() == document
    problem = assert_problem(await client.get(f"/documents/{document['id']}/content", headers=acme.user.headers), 409)
    assert "has not been read" in problem["detail"]


async def test_a_file_comes_in_a_form(client: httpx.AsyncClient, acme: Tenant, superuser: asyncpg.Connection) -> None:
    content = bytes(range(256)) * 9000
    answer = await client.post(
        "/documents",
        files={"file": ("C:\\folder\\plan.pdf", content, "application/pdf")},
        data={"collection": "plans", "visibility": "private", "attributes": '{"year": 2026}'},
        headers=acme.user.headers,
    )

    assert answer.status_code == 202, answer.text
    document = answer.json()
    assert (document["name"], document["media_type"], document["bytes"]) == (
        "plan.pdf", "application/pdf", len(content),
    )  # fmt: skip
    assert (document["visibility"], document["attributes"]) == ("private", {"year": 2026})
    original = "SELECT original FROM document_contents WHERE document_id = $1"
    assert await superuser.fetchval(original, document["id"]) == content


@pytest.mark.parametrize(
    ("sent", "place"),
    [
        ({"json": {"name": "a"}}, ["body", "text"]),
        ({"json": {**NOTE, "tenant_id": "another"}}, ["body", "tenant_id"]),
        ({"json": {**NOTE, "text": "a\x00b"}}, ["body", "text"]),
        ({"json": {**NOTE, "attributes": {"a": {"b": 1}}}}, ["body", "attributes"]),
        ({"json": {**NOTE, "visibility": "public"}}, ["body", "visibility"]),
        ({"files": {"another": ("a.txt", b"a")}}, ["body", "file"]),
        ({"files": {"file": ("folder/", b"a")}}, ["body", "name"]),
        ({"files": {"file": ("a.txt", b"a")}, "data": {"attributes": "{"}}, ["body", "attributes"]),
        ({"files": {"file": ("a.txt", b"a")}, "data": {"owner": "me"}}, ["body", "owner"]),
    ],
)
async def test_what_is_not_valid_is_refused_by_its_place(
    client: httpx.AsyncClient, acme: Tenant, sent: dict[str, Any], place: list[str]
) -> None:
    answer = await client.post("/documents", headers=acme.user.headers, **sent)
    problem = assert_problem(answer, 422)
    assert problem["errors"][0]["loc"][: len(place)] == place


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 422),
        (b"\xff{", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"text", "text/plain", 415),
        (b"--x", "multipart/form-data", 400),
        (b"nothing of it", "multipart/form-data; boundary=x", 400),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused(
    client: httpx.AsyncClient, acme: Tenant, content: bytes, kind: str, status: int
) -> None:
    headers = {**acme.user.headers, "Content-Type": kind}
    assert_problem(await client.post("/documents", content=content, headers=headers), status)


async def test_a_file_that_is_too_large_is_refused(client: httpx.AsyncClient, app: FastAPI, acme: Tenant) -> None:
    most = app.state.settings.document_max_bytes
    files = {"file": ("a.txt", b"a" * (most + 1))}
    assert_problem(await client.post("/documents", files=files, headers=acme.user.headers), 413)
    text = {**NOTE, "text": "a" * app.state.settings.max_body_bytes}
    assert_problem(await client.post("/documents", json=text, headers=acme.user.headers), 413)


async def test_the_same_content_under_the_same_name_is_the_document_that_is_there(
    client: httpx.AsyncClient, acme: Tenant
) -> None:
    first = await post(client, acme.user)
    again = await post(client, acme.admin)
    elsewhere = await post(client, acme.user, collection="others")
    changed = await post(client, acme.user, text="# Leases\n\nA machine stays.")
    back = await post(client, acme.user)

    assert (again.status_code, again.json()) == (200, first.json())
    assert {elsewhere.status_code, changed.status_code, back.status_code} == {202}
    assert len({answer.json()["id"] for answer in (first, elsewhere, changed, back)}) == 4


async def test_the_same_at_the_same_moment_is_stored_once(client: httpx.AsyncClient, acme: Tenant) -> None:
    answers = await asyncio.gather(*(post(client, acme.user) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [202]
    assert len({answer.json()["id"] for answer in answers}) == 1


async def test_a_key_makes_one_document(client: httpx.AsyncClient, acme: Tenant) -> None:
    key = {"Idempotency-Key": new_id()}
    first = await post(client, acme.user, headers=key)
    assert (await client.delete(f"/documents/{first.json()['id']}", headers=acme.user.headers)).status_code == 204

    assert_problem(await post(client, acme.user, headers=key), 404)
    assert_problem(await post(client, acme.user, text="Another.", headers=key), 422)


async def test_a_quota_holds_for_those_who_come_at_the_same_moment(
    client: httpx.AsyncClient, app: FastAPI, acme: Tenant, superuser: asyncpg.Connection
) -> None:
    quotas = app.state.container.shared.quotas
    object.__setattr__(app.state.container.shared, "quotas", Quotas(3, 10**9, 100, 100))
    try:
        answers = await asyncio.gather(*(post(client, acme.user, name=new_id()) for _ in range(9)))
        refused = [answer for answer in answers if answer.status_code != 202]
        assert len(refused) == 6
        assert "quota of documents" in assert_problem(refused[0], 409)["detail"]
        object.__setattr__(app.state.container.shared, "quotas", Quotas(100, 100, 100, 100))
        assert "bytes" in assert_problem(await post(client, acme.user, name="more"), 409)["detail"]
    finally:
        object.__setattr__(app.state.container.shared, "quotas", quotas)
    stored = await superuser.fetchrow("SELECT documents, bytes FROM document_totals WHERE tenant_id = $1", acme.id)
    assert tuple(stored) == (3, 3 * len(NOTE["text"]))


async def test_deleting_frees_the_quota_and_leaves_nothing(
    client: httpx.AsyncClient, acme: Tenant, superuser: asyncpg.Connection
) -> None:
    document = (await post(client, acme.user)).json()
    colleague = await join(client, acme.id)
    path = f"/documents/{document['id']}"
    assert_problem(await client.delete(path, headers=colleague.headers), 403)
    assert (await client.delete(path, headers=acme.admin.headers)).status_code == 204

    assert_problem(await client.get(path, headers=acme.user.headers), 404)
    assert_problem(await client.delete(path, headers=acme.user.headers), 404)
    for table in ("documents", "document_contents"):
        assert await superuser.fetchval(f"SELECT count(*) FROM {table} WHERE tenant_id = $1", acme.id) == 0
    stored = await superuser.fetchrow("SELECT documents, bytes FROM document_totals WHERE tenant_id = $1", acme.id)
    assert tuple(stored) == (0, 0)
    log = (await client.get("/admin/audit-log", headers=acme.admin.headers)).json()
    told = {entry["action"]: entry for entry in log if entry["target_id"] == document["id"]}
    assert told["document.created"]["actor_id"] == acme.user.id
    assert told["document.deleted"]["details"] == {"name": "note.md"}


async def test_a_private_document_is_its_uploaders_and_admins(
    client: httpx.AsyncClient, app: FastAPI, acme: Tenant, superuser: asyncpg.Connection
) -> None:
    document = (await post(client, acme.user, visibility="private", collection="mine")).json()
    colleague = await join(client, acme.id)
    seen = {}
    for name, member in (("uploader", acme.user), ("admin", acme.admin), ("colleague", colleague)):
        answer = await client.get(f"/documents/{document['id']}", headers=member.headers)
        listed = (await client.get("/documents", headers=member.headers)).json()
        collections = (await client.get("/collections", headers=member.headers)).json()
        seen[name] = (answer.status_code, len(listed), len(collections))
    assert seen == {"uploader": (200, 1, 1), "admin": (200, 1, 1), "colleague": (404, 0, 0)}
    assert_problem(await client.delete(f"/documents/{document['id']}", headers=colleague.headers), 404)

    theirs = await post(client, colleague, visibility="private", collection="mine")
    assert theirs.status_code == 202, "a private name is the uploader's alone"


@pytest.mark.parametrize("table", ["documents", "document_contents", "document_chunks", "chunk_vectors", "chunk_terms"])
async def test_row_level_security_alone_hides_what_is_private(
    client: httpx.AsyncClient, app: FastAPI, acme: Tenant, superuser: asyncpg.Connection, table: str
) -> None:
    from sqlalchemy import text

    from tests.documents.library import HashEmbedder, publish

    database, counted = app.state.container.database, text(f"SELECT count(*) FROM {table}")
    for visibility in ("private", "tenant"):
        await publish(database, acme.user, "A machine.", embedder=HashEmbedder(), visibility=visibility)

    async def count(member: Member, role: str) -> int:
        entry = rls._ENTERING + f"enter_tenant('{member.tenant_id}', '{member.id}', '{role}', 0)"
        async with database.session(entry) as connection:
            found: int = (await connection.execute(counted)).scalar_one()
            return found

    colleague = await join(client, acme.id)
    assert await count(acme.user, "user") == 2
    assert await count(acme.admin, "admin") == 2
    assert await count(colleague, "user") == 1


async def test_lists_are_narrowed_and_paged(client: httpx.AsyncClient, acme: Tenant) -> None:
    for n in range(5):
        await post(client, acme.user, name=f"{n}.md", collection="odd" if n % 2 else "even")
    names, url = [], "/documents?collection=even&limit=2"
    while url:
        page = await client.get(url, headers=acme.user.headers)
        names += [document["name"] for document in page.json()]
        url = page.links.get("next", {}).get("url", "")
    assert names == ["4.md", "2.md", "0.md"]
    assert (await client.get("/documents?status=ready", headers=acme.user.headers)).json() == []
    collections = (await client.get("/collections", headers=acme.user.headers)).json()
    size = len(NOTE["text"])
    assert collections == [
        {"name": "even", "documents": 3, "chunks": 0, "bytes": 3 * size},
        {"name": "odd", "documents": 2, "chunks": 0, "bytes": 2 * size},
    ]


async def test_a_deleted_user_takes_its_documents_along_and_the_totals_know(
    client: httpx.AsyncClient, acme: Tenant, superuser: asyncpg.Connection
) -> None:
    leaving = await join(client, acme.id)
    for n in range(3):
        await post(client, leaving, name=f"{n}.md")
    await post(client, acme.user)
    assert (await client.delete(f"/admin/users/{leaving.id}", headers=acme.admin.headers)).status_code == 204

    assert len((await client.get("/documents", headers=acme.user.headers)).json()) == 1
    stored = await superuser.fetchrow("SELECT documents, bytes FROM document_totals WHERE tenant_id = $1", acme.id)
    assert tuple(stored) == (1, len(NOTE["text"]))
    assert await superuser.fetchval("SELECT count(*) FROM documents WHERE tenant_id = $1", acme.id) == 1


async def test_a_service_without_an_embedder_says_so(client: httpx.AsyncClient, app: FastAPI, acme: Tenant) -> None:
    ingestion = app.state.container.ingestion
    object.__setattr__(app.state.container, "ingestion", None)
    try:
        answer = await post(client, acme.user)
    finally:
        object.__setattr__(app.state.container, "ingestion", ingestion)
    assert "embedder" in assert_problem(answer, 501)["detail"]


def test_few_files_of_a_tenant_are_in_memory_at_once() -> None:
    from contextlib import ExitStack

    from app.core.errors import Overloaded, TooManyUploads

    uploads = Uploads()
    with ExitStack() as stack:
        for _ in range(MOST_OF_A_TENANT):
            stack.enter_context(uploads.place("one"))
        with pytest.raises(TooManyUploads):
            stack.enter_context(uploads.place("one"))
        for tenant in ("two", "three", "four"):
            for _ in range(MOST_OF_A_TENANT):
                stack.enter_context(uploads.place(tenant))
        with pytest.raises(Overloaded):
            stack.enter_context(uploads.place("five"))
    with uploads.place("one"):
        pass
