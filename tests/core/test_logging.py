"""What stands in the log of a real process, and what must not."""

import json
import logging
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import URL

from app.core.config import Settings
from app.core.ids import new_id
from app.core.logging import configure_logging
from tests.committed.server import ServerProcess, running
from tests.helpers import Tenant, log_in, make_tenant, unique_email

SECRET_PROMPT = "the-prompt-nobody-may-read"
SECRET_PASSWORD = "the-password-nobody-may-read"


@pytest.fixture
async def server(database_url: URL, tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """Every second message fails at the provider."""
    database = database_url.render_as_string(hide_password=False)
    async with running(tmp_path, database_url=database, secret_key=new_id() * 2, llm_mock_fail_every="2") as server:
        yield server


async def lines(server: ServerProcess) -> list[dict[str, Any]]:
    """Every line of the log but the welcome (indented), once the server has stopped; each must be one JSON object."""
    await server.stop()
    return [json.loads(line) for line in server.log.read_text().splitlines() if line and not line.startswith("  ")]


@pytest.fixture
async def raising(superuser: asyncpg.Connection) -> AsyncIterator[None]:
    """The database raises an error that quotes the prompt."""
    await superuser.execute(
        "CREATE FUNCTION quote() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF NEW.content LIKE 'raise %' THEN RAISE 'refused: %', NEW.content; END IF; RETURN NEW; END $$; "
        "CREATE TRIGGER quote BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION quote()"
    )
    yield
    await superuser.execute("DROP TRIGGER quote ON messages; DROP FUNCTION quote()")


async def test_a_request_is_one_line_with_what_operators_ask_for(server: ServerProcess) -> None:
    async with server.client() as client:
        acme = await make_tenant(client)
        headers = {**acme.admin.headers, "X-Request-ID": "from-the-caller"}
        await client.get(f"/tenants/{acme.id}/users?limit=5", headers=headers)

    (line,) = [line for line in await lines(server) if line.get("request_id") == "from-the-caller"]
    assert line.pop("duration_ms") > 0
    assert line.pop("timestamp").endswith("Z")
    assert line.pop("own_request_id") != line["request_id"]
    assert line == {
        "event": "request",
        "level": "info",
        "request_id": "from-the-caller",
        "tenant_id": acme.id,
        "user_id": acme.admin.id,
        "method": "GET",
        "route": "/tenants/{id}/users",
        "status": 200,
        "client": "127.0.0.1",
    }
    assert {"uvicorn.error", None} == {line.get("logger") for line in await lines(server)}


async def test_a_refused_login_is_noted_without_what_was_typed(server: ServerProcess) -> None:
    async with server.client() as client:
        acme, nobody = await make_tenant(client), unique_email()
        for email in (acme.user.email, nobody):
            await client.post("/login", json={"email": email, "password": SECRET_PASSWORD})

    log = await lines(server)
    refused = [line["user_id"] for line in log if line["event"] == "login_refused"]
    assert refused == [acme.user.id, None]
    assert not any(typed in json.dumps(log) for typed in (acme.user.email, nobody, SECRET_PASSWORD))


async def use_secrets(client: httpx.AsyncClient, acme: Tenant) -> str:
    """Send the secrets down every path there is; returns a token."""
    email = unique_email()
    for address in (email, "no address"):
        body = {"email": address, "password": SECRET_PASSWORD, "tenant_id": acme.id}
        await client.post("/register", json=body)
    await client.post("/login", json={"email": email, "password": SECRET_PASSWORD + "!"})
    member = await log_in(client, email, SECRET_PASSWORD)
    statuses = [
        (await client.post("/messages", json={"content": content}, headers=member.headers)).status_code
        for content in (SECRET_PROMPT, SECRET_PROMPT, f"raise {SECRET_PROMPT}")
    ]
    assert statuses == [201, 503, 500]
    await client.post("/messages", json={"content": "x", SECRET_PROMPT: 1}, headers=member.headers)
    await client.get(f"/messages?q={SECRET_PROMPT}&cursor={SECRET_PROMPT}", headers=member.headers)
    await client.get(f"/{SECRET_PROMPT}", headers={"Authorization": f"Bearer {member.token}x"})
    return member.token


@pytest.mark.usefixtures("raising")
async def test_no_password_token_or_prompt_is_in_any_line(server: ServerProcess) -> None:
    async with server.client() as client:
        token = await use_secrets(client, await make_tenant(client))
    await server.stop()

    log = server.log.read_text()
    assert len([line for line in await lines(server) if line["event"] == "request"]) >= 12
    for secret in (SECRET_PROMPT, SECRET_PASSWORD, token, token.split(".")[2]):
        assert secret not in log


@pytest.mark.usefixtures("raising")
async def test_an_unexpected_exception_is_a_problem_and_a_line_with_its_frames(server: ServerProcess) -> None:
    async with server.client() as client:
        acme = await make_tenant(client)
        answer = await client.post("/messages", json={"content": f"raise {SECRET_PROMPT}"}, headers=acme.user.headers)

    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert SECRET_PROMPT not in answer.text
    request_id = answer.json()["request_id"]
    assert request_id == answer.headers["x-request-id"]
    error, request = [line for line in await lines(server) if line.get("request_id") == request_id]
    assert (error["event"], error["level"]) == ("unexpected_error", "error")
    assert error["exception"]["type"] == "RaiseError"
    assert any("message_service.py" in frame for frame in error["exception"]["frames"])
    assert request["status"] == 500


@pytest.mark.usefixtures("app")
def test_exceptions_of_libraries_come_out_without_their_words() -> None:
    handler = logging.getLogger().handlers[0]
    try:
        raise ValueError(SECRET_PROMPT)
    except ValueError as error:
        information = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("x", logging.ERROR, "", 0, "failed", (), information)
    line = json.loads(handler.format(record))
    assert line["exception"]["type"] == "ValueError"
    assert SECRET_PROMPT not in json.dumps(line)


async def test_production_prints_no_welcome_and_says_what_is_open(database_url: URL, tmp_path: Path) -> None:
    database = database_url.render_as_string(hide_password=False)
    settings = {"environment": "production", "database_url": database, "bcrypt_rounds": "12"}
    async with running(tmp_path, secret_key=secrets.token_hex(32), **settings) as server:
        await server.stop()
        text = server.log.read_text()
    found = [json.loads(line) for line in text.splitlines()]
    openings = [line["opening"] for line in found if line["event"] == "open_in_production"]
    assert "Everybody may create a tenant: TENANT_CREATION=open" in openings
    assert "s3cur3P@ssw0rd" not in text


@pytest.mark.parametrize(
    ("level", "expected"), [("DEBUG", logging.INFO), ("INFO", logging.INFO), ("ERROR", logging.ERROR)]
)
def test_libraries_say_nothing_below_info(level: str, expected: int) -> None:
    root = logging.getLogger()
    before = root.level
    try:
        configure_logging(Settings(_env_file=None, log_level=level))
        names = ("httpcore2.connection", "httpcore2.http11", "asyncio", "redis", "sqlalchemy.engine", "any.other")
        assert not any(logging.getLogger(name).isEnabledFor(logging.DEBUG) for name in names)
        assert logging.getLogger("any.other").getEffectiveLevel() == expected
    finally:
        root.setLevel(before)
        configure_logging(Settings(_env_file=None))
