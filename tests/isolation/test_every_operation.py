"""Every operation of the OpenAPI schema, by every kind of caller, with another tenant's ids in every place.

What each gives stands in `app/verification/operations.py`. These tests grow with the routes: a new one without a row
fails here.
"""

import copy
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import AsyncMock

import asyncpg
import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from app.application import create_app
from app.core.ids import new_id
from app.verification.callers import status_for
from app.verification.description import body_fields, described, gaps, kind_in_query
from app.verification.operation import Access, Operation
from app.verification.operations import OPERATIONS
from tests.isolation.callers import CALLERS
from tests.isolation.resources import Service
from tests.isolation.world import MARK, World, make_world

SCHEMA = create_app().openapi()
DESCRIBED = described(SCHEMA)
ROWS = {row.name: row for row in OPERATIONS if (row.method, row.path) in DESCRIBED}
CLOSED = [row for row in ROWS.values() if row.access is not Access.OPEN]
UNDECLARED_FIELDS = ("id", "tenant_id", "user_id", "role", "created_by")
TENANT_HEADERS = ("X-Tenant-ID", "X-Tenant", "X-User-ID", "X-Forwarded-User", "X-Original-URL")


def parametrised(rows: Any) -> Any:
    return pytest.mark.parametrize("operation", rows, ids=lambda row: row.name)


def parameters(place: str) -> list[Any]:
    """Every (operation, name of a parameter) of the schema in this place."""
    return [
        pytest.param(row, parameter["name"], id=f"{row.name} {parameter['name']}")
        for row in ROWS.values()
        for parameter in DESCRIBED[row.method, row.path].get("parameters", [])
        if parameter["in"] == place
    ]


def told(answer: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    """All that an answer tells, less its request id and how long it took."""
    differing = ("x-request-id", "request-id", "openai-processing-ms")
    headers = {name: value for name, value in answer.headers.items() if name not in differing}
    return answer.status_code, headers, answer.content.replace(answer.headers["x-request-id"].encode(), b"")


@pytest_asyncio.fixture(scope="module")
async def world(app: FastAPI, client: httpx.AsyncClient, superuser: asyncpg.Connection) -> AsyncIterator[World]:
    service = Service(app, client, superuser)
    with pytest.MonkeyPatch.context() as patch:
        # Once a minute, between any two calls that are compared, it would add to the log what the calls before did.
        patch.setattr(app.state.container.shared.tally, "flush", AsyncMock())
        yield await make_world(service)
    await service.close()


# --- the table and the schema


def test_every_operation_has_a_row_and_every_row_an_operation() -> None:
    assert not gaps(SCHEMA), "\n".join(gaps(SCHEMA))


def test_a_route_without_a_row_is_named_with_what_to_add() -> None:
    doctored = copy.deepcopy(SCHEMA)
    doctored["paths"]["/secrets/{id}"] = {"get": {"responses": {}}}
    (problem,) = gaps(doctored)
    assert problem.startswith('GET /secrets/{id} has no row: add Operation("get", "/secrets/{id}", ')
    assert "app/verification/operations.py" in problem


def test_a_row_without_a_route_is_named() -> None:
    doctored = copy.deepcopy(SCHEMA)
    del doctored["paths"]["/messages/{id}"]["delete"]
    assert gaps(doctored) == ["DELETE /messages/{id} has a row but no route: remove the row or mend its path"]


def test_a_row_that_does_not_say_what_an_id_names_is_named() -> None:
    nameless = [
        row if row.name != "GET /messages/{id}" else Operation("get", row.path, row.access) for row in OPERATIONS
    ]
    (problem,) = gaps(SCHEMA, nameless)
    assert problem == "GET /messages/{id} takes an id in its path: say with target= what it names"


def test_an_id_in_a_body_that_the_row_lacks_is_named() -> None:
    doctored = copy.deepcopy(SCHEMA)
    doctored["components"]["schemas"]["MessageCreate"]["properties"]["parent_id"] = {"type": "string"}
    (problem,) = gaps(doctored)
    assert problem.startswith("POST /messages takes `parent_id` in its body")


# --- who may call


@pytest.mark.parametrize("kind", CALLERS)
@parametrised(ROWS.values())
async def test_each_kind_of_caller_gets_what_the_table_says(world: World, operation: Operation, kind: str) -> None:
    promised = status_for(kind, operation)
    if kind == "revoked_key":
        # Where only people may call, a key that this process remembers is refused as a key, and nobody is asked.
        assert (await world.service.client.get("/me", headers=world.callers[kind])).status_code == 401
    async with world.untouched_rival():
        answer = await world.call_as(kind, operation, succeeds=promised == operation.ok)

    assert answer.status_code == promised, answer.text
    assert ("www-authenticate" in answer.headers) == (promised == 401)
    if promised >= 400 and operation.is_ours:
        assert answer.headers["content-type"] == "application/problem+json"
    elif promised >= 400:
        of_openai = not operation.path.startswith("/v1/messages")
        assert answer.json()["error"].keys() == {"message", "type"} | ({"param", "code"} if of_openai else set())


# --- another tenant's ids


@pytest.mark.parametrize("kind", ["admin", "user"])
@parametrised([row for row in CLOSED if row.target and not row.named])
async def test_in_the_path_another_tenants_id_is_as_good_as_none(world: World, operation: Operation, kind: str) -> None:
    headers = world.callers[kind]
    async with world.untouched_rival():
        theirs = await world.call(operation, headers, target=world.theirs[operation.target])
        nobodys = await world.call(operation, headers, target=new_id())
        nonsense = await world.call(operation, headers, target="nonsense")

    refused = status_for(kind, operation) == 403 and operation.access is Access.ADMIN
    assert theirs.status_code == (403 if refused else operation.foreign)
    assert told(theirs) == told(nobodys) == told(nonsense)


@parametrised([row for row in CLOSED if row.named])
async def test_a_name_in_the_path_is_the_callers_own(world: World, operation: Operation) -> None:
    async with world.untouched_rival():
        own = await world.call(operation, world.acme.admin.headers, tenant=world.acme)
        nonsense = await world.call(operation, world.acme.admin.headers, target="nonsense")

    assert own.status_code == operation.ok, own.text
    assert nonsense.status_code == 404


@parametrised([row for row in CLOSED if row.ids_in_body])
async def test_in_the_body_another_tenants_id_is_as_good_as_none(world: World, operation: Operation) -> None:
    body = await world.body_of(operation)
    assert body is not None
    for name in operation.ids_in_body:
        kind = str((operation.body or {})[name]).strip("<>")
        async with world.untouched_rival():
            theirs = await world.call(operation, world.acme.admin.headers, body={**body, name: world.theirs[kind]})
            nobodys = await world.call(operation, world.acme.admin.headers, body={**body, name: new_id()})
        assert theirs.status_code == operation.foreign_in_body, name
        assert told(theirs) == told(nobodys)


@parametrised([row for row in ROWS.values() if body_fields(SCHEMA, DESCRIBED[row.method, row.path]) is not None])
async def test_in_the_body_a_field_that_is_not_there_is_refused(world: World, operation: Operation) -> None:
    if not operation.is_ours:
        pytest.skip("it is passed over: see the next test")
    body = await world.body_of(operation) or {}
    declared = body_fields(SCHEMA, DESCRIBED[operation.method, operation.path]) or {}
    for name in UNDECLARED_FIELDS:
        if name in declared:
            continue
        async with world.untouched_rival():
            sent = {**body, name: world.rival.id}
            answer = await world.call(operation, world.acme.admin.headers, body=sent)
        assert answer.status_code == 422, name
        assert answer.json()["errors"][0]["loc"] == ["body", name]


@parametrised([row for row in CLOSED if not row.is_ours and row.body is not None])
async def test_in_the_body_a_field_that_another_protocol_lacks_changes_nothing(
    world: World, operation: Operation
) -> None:
    body = await world.body_of(operation) or {}
    sent = {**body, **dict.fromkeys(UNDECLARED_FIELDS, world.rival.id), "user": world.rival.user.id}
    async with world.untouched_rival():
        answer = await world.call(operation, world.acme.admin.headers, body=sent)
    assert answer.status_code == operation.ok, answer.text


@pytest.mark.parametrize(("operation", "name"), parameters("query"))
async def test_in_the_query_another_tenants_id_shows_nothing(world: World, operation: Operation, name: str) -> None:
    theirs = world.theirs.get(kind_in_query(name), MARK)
    headers = world.acme.admin.headers
    async with world.untouched_rival():
        with_theirs = await world.call(operation, headers, query={name: theirs})
        with_nobodys = await world.call(operation, headers, query={name: new_id()})

    assert with_theirs.status_code in ((200, 409, 422) if operation.is_ours else (200, 400, 404))
    if name.endswith("_id"):
        assert with_theirs.status_code == 200
        assert with_theirs.json() == []
    assert told(with_theirs) == told(with_nobodys)


@parametrised([row for row in CLOSED if row.method == "get"])
async def test_a_tenant_in_the_query_or_a_header_has_no_effect(world: World, operation: Operation) -> None:
    headers = world.acme.admin.headers
    plain = await world.call(operation, headers)
    query = {"tenant_id": world.rival.id, "tenant": world.rival.id, "owner_id": world.rival.user.id}
    in_query = await world.call(operation, headers, query=query)
    in_headers = await world.call(operation, {**headers, **dict.fromkeys(TENANT_HEADERS, world.rival.id)})

    assert plain.status_code == operation.ok
    assert in_query.status_code == in_headers.status_code == operation.ok
    if not operation.differs:
        assert told(plain) == told(in_query) == told(in_headers)


@parametrised([row for row in CLOSED if row.method != "get" and not row.ends])
async def test_a_tenant_in_the_query_or_a_header_moves_no_change_to_it(world: World, operation: Operation) -> None:
    headers = {**world.acme.admin.headers, **dict.fromkeys(TENANT_HEADERS, world.rival.id)}
    async with world.untouched_rival():
        answer = await world.call(operation, headers, query={"tenant_id": world.rival.id}, tenant=world.acme)
    assert answer.status_code == operation.ok, answer.text


@pytest.mark.parametrize(("operation", "name"), parameters("header"))
async def test_in_a_declared_header_another_tenants_id_shows_nothing(
    world: World, operation: Operation, name: str
) -> None:
    async with world.untouched_rival():
        answer = await world.call(
            operation, {**world.acme.admin.headers, name: world.theirs["message"]}, tenant=world.acme
        )
    assert answer.status_code in (operation.ok, 422 if operation.is_ours else 409)


@pytest.mark.parametrize(("operation", "name"), [p for p in parameters("header") if p.values[1] == "Idempotency-Key"])
async def test_another_tenants_idempotency_key_is_free(world: World, operation: Operation, name: str) -> None:
    key = {name: new_id()}
    made = await world.service.client.request(
        operation.method,
        operation.path.format(id=operation.target and await world.fresh(operation.target, world.rival)),
        json=await world.body_of(operation, world.rival),
        headers={**world.rival.admin.headers, **key},
    )
    assert made.status_code == operation.ok, made.text
    world.marks.add(_made(made))

    answer = await world.call(operation, {**world.acme.admin.headers, **key}, tenant=world.acme)

    assert answer.status_code == operation.ok, answer.text
    assert _made(answer) != _made(made)


def _made(answer: httpx.Response) -> str:
    """What a request made, or the first of it."""
    body = answer.json()
    return str(body["id"] if "id" in body else body["data"][0]["id"])


@pytest.mark.parametrize(("operation", "name"), [p for p in parameters("query") if p.values[1] == "cursor"])
async def test_another_tenants_cursor_shows_none_of_its_rows(world: World, operation: Operation, name: str) -> None:
    target = world.theirs.get(operation.target)
    listed = await world.service.client.get(
        operation.path.format(id=target), params={"limit": 1}, headers=world.rival.admin.headers
    )
    cursor = httpx.URL(listed.links["next"]["url"]).params[name]

    answer = await world.call(operation, world.acme.admin.headers, query={name: cursor})

    assert answer.status_code == 200


async def test_the_marks_are_found_where_they_stand(world: World) -> None:
    answer = await world.service.client.get("/messages", headers=world.rival.admin.headers)
    with pytest.raises(AssertionError, match="another tenant's"):
        world.assert_nothing_of_the_rival(answer)
