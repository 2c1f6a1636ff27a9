"""A provider's own count against the ledger, by the provider's own bill: with calls that break off and run again."""

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
from sqlalchemy import URL

from app import cli
from app.application import create_app
from app.commands.reconcile import reconcile
from app.core.config import Settings
from app.core.ids import new_id
from app.services.reconciling.bill import BillLine, UnreadableBill, read_bill
from proofs.upstream import INPUT_PRICE, OUTPUT_PRICE, Upstream
from tests.committed.sse import rest, sending
from tests.conftest import dsn, make_settings
from tests.helpers import make_tenant
from tests.own_database import own_database
from tests.redis_server import REDIS, RedisServer, needs_redis
from tests.serving import listening_to
from tests.waiting import PATIENCE_SECONDS, until

MODEL = "public-name"


class Scripted(Upstream):
    """It does as it is told, and else answers."""

    def __init__(self) -> None:
        super().__init__(0)
        self.next: list[str] = []

    def _kind(self) -> str:
        return self.next.pop(0) if self.next else "answers"


def bounds(url: str) -> dict[str, Any]:
    models = {MODEL: {"provider": "openai", "model": "fake-1", "base_url": url, "api_key": "sk-test"}}
    price = {"input": INPUT_PRICE * 1_000, "output": OUTPUT_PRICE * 1_000}
    return {
        "llm_models": models,
        "llm_prices": {MODEL: price},
        "llm_max_output_tokens": 8,
        "llm_max_retries": 0,
    }


class Deployment:
    def __init__(self, settings: Settings, upstream: Scripted, client: httpx.AsyncClient, bill: Path) -> None:
        self.settings, self.upstream, self.client, self.path = settings, upstream, client, bill
        self.superuser: asyncpg.Connection = None
        self.headers: dict[str, str] = {}

    async def send(self, kind: str = "answers", status: int = 201, **body: Any) -> dict[str, Any]:
        self.upstream.next.append(kind)
        answer = await self.client.post("/messages", json={"content": "Hello", **body}, headers=self.headers)
        assert answer.status_code == status, answer.text
        said: dict[str, Any] = answer.json()
        return said

    async def stream(self, content: str, kind: str = "answers") -> None:
        self.upstream.next.append(kind)
        async with sending(self.client, self.headers, content=content) as events:
            await rest(events)

    async def hang_up(self, content: str) -> None:
        """Once something of it was written; the message goes on, and ends."""
        self.upstream.next.append("answers")
        async with sending(self.client, self.headers, content=content) as events:
            path = f"/messages/{(await anext(events)).data['id']}"
            await anext(events)

        async def completed() -> bool:
            shown = (await self.client.get(path, headers=self.headers)).json()
            return bool(shown["status"] == "completed")

        await until(completed, "the message whose client has gone to end")

    async def cancel(self, content: str) -> None:
        """Once something of it was written."""
        self.upstream.next.append("answers")
        async with sending(self.client, self.headers, content=content) as events:
            message_id = (await anext(events)).data["id"]
            await anext(events)
            assert (await self.client.post(f"/messages/{message_id}/cancel", headers=self.headers)).status_code == 200
            await rest(events)

    async def said(self, bill: str | None = None, **options: Any) -> tuple[str, int]:
        """By the command: what it prints, and its status."""
        self.path.write_text(self.upstream.bill() if bill is None else bill)
        given = {"provider_usage": [str(self.path)], "tenant": [], "except_tenant": [], "since": None, "until": None}
        arguments = argparse.Namespace(**given | options)
        return await asyncio.to_thread(reconcile, arguments, self.settings)


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where answers are kept; nowhere without a server."""
    if REDIS is None:
        yield ""
        return
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server.url
    server.kill()


@pytest_asyncio.fixture
async def deployment(template_url: URL, tmp_path: Path, redis_url: str) -> AsyncIterator[Deployment]:
    upstream = Scripted()
    async with own_database(template_url) as own, upstream.serving() as url:
        settings = make_settings(own.url, tmp_path, redis_url=redis_url, **bounds(url))
        app = create_app(settings)
        async with listening_to(app) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            client.timeout = PATIENCE_SECONDS
            found = Deployment(settings, upstream, client, tmp_path / "bill")
            found.superuser = await asyncpg.connect(dsn(own.url))
            found.headers = (await make_tenant(client)).admin.headers
            yield found
            await found.superuser.close()


async def test_what_a_provider_billed_is_what_the_ledger_and_the_usage_say(deployment: Deployment) -> None:
    """Answers, streams, a client that hangs up, refusals, errors before anything was done, and one that is deleted."""
    admin = deployment.headers
    tenant_id = (await deployment.client.get("/me", headers=admin)).json()["tenant_id"]
    for content in ("One", "Two and three"):
        sent = await deployment.send(content=content)
    await deployment.client.delete(f"/messages/{sent['id']}", headers=admin)
    await deployment.send("refuses", 503, content="Three")
    await deployment.send("breaks", 502, content="Four")
    await deployment.stream("Five")
    await deployment.hang_up("Six")

    said, status = await deployment.said()

    used = (await deployment.client.get("/usage?group_by=day", headers=admin)).json()
    assert status == 0, said
    cost = sum(day["cost_micro_usd"] for day in used)
    assert cost == sum(line.micro_usd for line in deployment.upstream.lines)
    assert f"Equal: 1 days and models, {cost:,} micro-USD in the ledger" in said
    # A micro-dollar on either side is found.
    await deployment.superuser.execute("UPDATE deleted_usage SET cost_micro_usd = cost_micro_usd - 1")
    said, status = await deployment.said()
    assert status == 1
    assert f"micro-USD: {cost:,}.0 on the bill, {cost - 1:,} in the ledger, -1.0" in said
    assert "the tokens are equal: the prices are not" in said
    assert (await deployment.said(tenant=[new_id()]))[1] == 1
    assert (await deployment.said(except_tenant=[tenant_id]))[1] == 1


@needs_redis
async def test_a_kept_answer_is_on_no_bill_and_costs_nothing(deployment: Deployment) -> None:
    admin = deployment.headers
    tenant_id = (await deployment.client.get("/me", headers=admin)).json()["tenant_id"]
    changed = await deployment.client.patch(f"/tenants/{tenant_id}", json={"cache_ttl_seconds": 60}, headers=admin)
    assert changed.status_code == 200, changed.text
    assert [(await deployment.send(content="The same"))["cached"] for _ in range(2)] == [False, True]
    assert len(deployment.upstream.lines) == 1

    said, status = await deployment.said()

    assert status == 0, said


async def test_each_call_that_was_cut_off_is_named_on_both_sides(deployment: Deployment) -> None:
    await deployment.send(content="As it should be")
    await deployment.stream("It breaks", kind="breaks")
    await deployment.cancel("It is cancelled")
    failed = await deployment.send("breaks", 502, content="It fails and runs again")
    listed = (await deployment.client.get("/messages?status=failed", headers=deployment.headers)).json()
    again = next(message for message in listed if message["content"] == "It fails and runs again")
    assert failed["status"] == 502
    deployment.upstream.next = []
    retried = await deployment.client.post(f"/messages/{again['id']}/retry", headers=deployment.headers)
    assert retried.status_code < 300, retried.text

    said, status = await deployment.said()

    assert status == 1
    assert "1 messages (0 micro-USD) ran more than once" not in said  # what a run costs stands beside the reason
    assert "ran more than once" in said
    assert "ended without a count of the provider's" in said
    on_the_bill = [line for line in said.splitlines() if "on the bill alone" in line]
    in_the_ledger = [line for line in said.splitlines() if "in the ledger alone" in line]
    assert [line.split()[5].rstrip(",") for line in on_the_bill] == ["req_2", "req_3"]
    ends = sorted("cancelled" if "cancelled" in line else "failed" for line in in_the_ledger)
    assert ends == ["cancelled", "failed"]


async def test_what_somebody_else_asked_for_is_named_and_other_providers_are_no_matter(deployment: Deployment) -> None:
    await deployment.send()
    await deployment.superuser.execute(
        "INSERT INTO deleted_usage (id, tenant_id, user_id, model, cost_micro_usd)"
        " SELECT gen_random_uuid(), tenant_id, id, 'another-1', 5 FROM users"
    )
    foreign = {"id": "req_9", "at": datetime.now(UTC).isoformat(), "model": "fake-1", "input_tokens": 7}
    said, status = await deployment.said(deployment.upstream.bill() + json.dumps(foreign))
    assert status == 1
    assert "on the bill alone: req_9, 7 in, None out, None micro-USD" in said
    assert "Not on this bill on any day, and not compared:" in said
    assert "another-1: 10 micro-USD" in said
    said, status = await deployment.said()
    assert status == 0, said


def page(*results: dict[str, Any], **bucket: Any) -> str:
    return json.dumps({"object": "page", "data": [{**bucket, "results": list(results)}], "has_more": False})


DAY = date(2026, 11, 26)
CLAUDE = {
    "uncached_input_tokens": 100,
    "cache_creation": {"ephemeral_1h_input_tokens": 20, "ephemeral_5m_input_tokens": 3},
    "cache_read_input_tokens": 1000,
    "output_tokens": 50,
    "model": "claude-x-20260101",
}
CLAUDE_COLUMNS = (
    "usage_date_utc",
    "model_version",
    "usage_input_tokens_no_cache",
    "usage_input_tokens_cache_write_5m",
    "usage_input_tokens_cache_write_1h",
    "usage_input_tokens_cache_read",
    "usage_output_tokens",
)
BEGINS = int(datetime(2026, 11, 26, tzinfo=UTC).timestamp())
OPENAI = {
    "input_tokens": 1000,
    "output_tokens": 50,
    "input_cached_tokens": 800,
    "num_model_requests": 5,
    "model": "m",
}
FORMS = {
    "OpenAI's usage": (page(OPENAI, start_time=BEGINS, end_time=BEGINS + 86400), BillLine(DAY, "m", 5, 1000, 800, 50)),
    "OpenAI's costs": (
        page({"amount": {"value": 0.1234567, "currency": "usd"}, "line_item": "m, cached input"}, start_time=BEGINS),
        BillLine(DAY, "m", micro_usd=Decimal("123456.7")),
    ),
    "OpenAI's costs in words": (
        page({"amount": {"value": "0.5", "currency": "usd"}, "line_item": "m"}, start_time=BEGINS),
        BillLine(DAY, "m", micro_usd=Decimal(500_000)),
    ),
    "OpenAI's CSV": (
        """\
start_time,start_time_iso,num_model_requests,model,input_tokens,output_tokens,input_cached_tokens
1795651200,2026-11-26T00:00:00+00:00,5,m,1000,50,800
""",
        BillLine(DAY, "m", 5, 1000, 800, 50),
    ),
    "Anthropic's usage": (
        page(CLAUDE, starting_at="2026-11-26T00:00:00Z", ending_at="2026-11-27T00:00:00Z"),
        BillLine(DAY, "claude-x-20260101", None, 1123, 1000, 50),
    ),
    "Anthropic's costs": (
        page({"currency": "USD", "amount": "123.45", "model": "claude-x"}, starting_at="2026-11-26T00:00:00Z"),
        BillLine(DAY, "claude-x", micro_usd=Decimal(1_234_500)),
    ),
    "Anthropic's CSV": (
        f"{','.join(CLAUDE_COLUMNS)}\n2026-11-26,claude-x,100,3,20,1000,50\n",
        BillLine(DAY, "claude-x", None, 1123, 1000, 50),
    ),
    "a plain line": (
        '{"at": "2026-11-27T01:30:00+02:00", "id": "r1", "model": "m", "output_tokens": 5, "cost_usd": 0.000001}',
        BillLine(DAY, "m", output_tokens=5, micro_usd=Decimal(1), request_id="r1"),
    ),
    "plain CSV": ("\ufeffday,model,cost_micro_usd\n2026-11-26,m,17\n", BillLine(DAY, "m", micro_usd=Decimal(17))),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_bill_is_understood_in_each_form_that_providers_have(form: str) -> None:
    text, expected = FORMS[form]
    assert read_bill(text) == [expected]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no line"),
        ("day,model\n2026-11-26,m\n", "row 1: it says neither tokens nor a cost"),
        ("day,model,input_tokens\n2026-11-26,m,-1\n", "row 1: a count"),
        ("day,model,input_tokens\n2026-11-26,m,1.5\n", "row 1: a count"),
        ("day,model,input_tokens\n2026-11-26,m,1e999999999\n", "row 1: a number is none"),
        ("day,model,cost_usd\n2026-11-26,m,NaN\n", "row 1: a number is none"),
        ("day,model,cost_usd\n2026-11-26,m,1e-999999999\n", "row 1: a number is none"),
        ("day,model,input_tokens\nyesterday,m,1\n", "row 1: its day is none"),
        ("day,model,input_tokens\n2026-11-26,,1\n", "row 1: it names no model"),
        ('{"day": "2026-11-26", "model": "m", "input_tokens": 1}\n{"day"', "no JSON from line 2 on"),
        ("[" * 100_000, "no JSON"),
        ("[1]", "something else than objects"),
        (page({"model": "m", "input_tokens": 1}, start_time=1).replace("false", "true"), "there are more"),
        (page({"amount": {"value": 1, "currency": "eur"}, "line_item": "m"}, start_time=1), "not USD"),
        (page({"amount": {"value": 1, "currency": "usd"}, "line_item": None}, start_time=1), "group the report"),
        ('{"data": [1]}', "something else than buckets"),
    ],
)
def test_a_bill_that_is_not_understood_as_a_whole_is_not_compared(text: str, reason: str) -> None:
    with pytest.raises(UnreadableBill, match=reason):
        read_bill(text)


def test_the_command_tells_what_it_could_not_read_from_what_differs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: Settings
) -> None:
    (tmp_path / "bill").write_bytes(b"\xff")
    monkeypatch.setattr(cli, "get_settings", lambda: settings)
    for name in ("bill", "nothing"):
        monkeypatch.setattr("sys.argv", ["cli", "reconcile", "--provider-usage", str(tmp_path / name)])
        assert cli.main() == 2
        assert name in capsys.readouterr().err
