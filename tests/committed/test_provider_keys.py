"""A tenant's own keys at providers: kept sealed, shown to nobody, held to the guard, rotated, gone with the tenant."""

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import URL
from structlog.testing import capture_logs

from app.application import create_app, lifespan
from app.cli import rotate_master_key
from app.core.config import Settings
from app.core.credentials.envelope import MasterKeys
from app.core.errors import ProviderKeyUnusable
from app.core.settings.unusable import UnusableSetting
from app.services import provider_credentials
from tests.api.problems import assert_kind
from tests.committed.models_server import GOOD_KEY, ModelsServer, models_server
from tests.conftest import client_of, make_settings, own_database
from tests.helpers import Tenant, log_in, make_tenant
from tests.llm.loopback import completion, loopback
from tests.sessions import actions_of
from tests.waiting import until
from tests.webhooks.receiver import resolving

database_url, settings, superuser = own_database()
OLD, NEW = secrets.token_hex(32), secrets.token_hex(32)
ASKED_HERE = {"webhook_allowed_networks": ["127.0.0.0/8"]}


@asynccontextmanager
async def process(
    database_url: URL, data_dir: Path, **changes: Any
) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    app = create_app(make_settings(database_url, data_dir, db_pool_size=2, **{"master_key": OLD, **changes}))
    async with lifespan(app), client_of(app) as client:
        yield app, client


async def put(client: httpx.AsyncClient, tenant: Tenant, name: str = "openai", **body: Any) -> httpx.Response:
    test = body.pop("test", True)
    body = {"api_key": GOOD_KEY, **body}
    return await client.put(f"/admin/providers/{name}", params={"test": test}, json=body, headers=tenant.admin.headers)


async def credential_of(app: FastAPI, tenant: Tenant, provider: str = "openai") -> Any:
    return await app.state.container.shared.provider_credentials.of(tenant.id, provider)


@pytest.fixture
async def provider() -> AsyncIterator[ModelsServer]:
    async with models_server() as server:
        yield server


async def test_a_key_is_tested_kept_sealed_and_never_shown_again(
    database_url: URL,
    superuser: asyncpg.Connection,
    tmp_path: Path,
    provider: ModelsServer,
) -> None:
    async with process(database_url, tmp_path, openai_base_url=f"{provider.url}/v1") as (app, client):
        with capture_logs() as logs:
            acme = await make_tenant(client)
            answer = await put(client, acme)
            assert answer.status_code == 200, answer.text
            shown = answer.json()
            assert shown == {
                "provider": "openai",
                "last_four": "WXYZ",
                "base_url": None,
                "set_by": acme.admin.id,
                "set_at": shown["set_at"],
            }
            ((line, headers),) = provider.asked
            assert line == "GET /v1/models HTTP/1.1"
            assert headers["authorization"] == f"Bearer {GOOD_KEY}"

            admin = acme.admin.headers
            answers = [
                answer,
                await client.get("/admin/providers", headers=admin),
                await client.get("/admin/providers/openai", headers=admin),
                await client.get("/admin/audit-log", headers=admin),
                await client.get(f"/tenants/{acme.id}/export", headers=admin),
            ]
            assert answers[1].json() == [shown]
            assert answers[2].json() == shown
            entry = answers[3].json()[0]
            assert entry["action"] == "provider_key.set"
            assert entry["actor_id"] == acme.admin.id
            assert entry["details"] == {"provider": "openai", "base_url": None, "tested": True}
            assert (await credential_of(app, acme)).api_key == GOOD_KEY
            for each in answers:
                assert GOOD_KEY[:-4] not in each.text
                assert "provider_key" not in each.text or each is answers[3] or each is answers[4]
            lines = [json.loads(line) for line in answers[4].text.splitlines() if '"type":"provider_key"' in line]
            assert [line.keys() - {"type", "tenant_id"} for line in lines] == [
                {"provider", "base_url", "last_four", "set_by", "set_at"}
            ]
    tables = [row[0] for row in await superuser.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    for table in tables:
        rows = await superuser.fetch(f"SELECT t::text FROM {table} t")
        text = " ".join(row[0] for row in rows)
        assert GOOD_KEY not in text
        assert GOOD_KEY.encode().hex() not in text
    assert logs
    assert GOOD_KEY not in repr(logs)
    assert GOOD_KEY not in repr(await superuser.fetchval("SELECT sealed FROM provider_keys"))


@pytest.mark.parametrize(
    ("status", "expected", "kind"),
    [("", 422, "provider-key-refused"), ("500 X", 502, "provider-not-reached"), ("404 X", 502, "provider-not-reached")],
)
async def test_what_a_provider_refuses_or_does_not_say_is_not_stored(
    database_url: URL, tmp_path: Path, provider: ModelsServer, status: str, expected: int, kind: str
) -> None:
    provider.status = status
    async with process(database_url, tmp_path, anthropic_base_url=provider.url) as (app, client):
        acme = await make_tenant(client)
        answer = await put(client, acme, "anthropic", api_key="sk-ant-wrong-wrong-wrong")
        assert_kind(answer, expected, kind)
        assert "sk-ant" not in answer.text
        assert provider.asked[0][0] == "GET /v1/models HTTP/1.1"
        assert provider.asked[0][1]["x-api-key"] == "sk-ant-wrong-wrong-wrong"
        assert (await client.get("/admin/providers", headers=acme.admin.headers)).json() == []
        assert await credential_of(app, acme, "anthropic") is None

        assert (await put(client, acme, "anthropic", test=False)).status_code == 200
        assert len(provider.asked) == 1
        assert (await credential_of(app, acme, "anthropic")).api_key == GOOD_KEY


async def test_a_short_key_shows_nothing(database_url: URL, tmp_path: Path) -> None:
    async with process(database_url, tmp_path) as (_, client):
        acme = await make_tenant(client)
        answer = await put(client, acme, api_key="sk-123456789012", test=False)
        assert answer.json()["last_four"] is None


@pytest.mark.parametrize(
    "base_url",
    [
        "http://127.0.0.1:8080/v1",
        "http://169.254.169.254/latest",
        "https://[::1]/v1",
        "https://10.0.0.1/v1",
        "https://user:password@example.com/v1",
        "https://example.com/v1?key=x",
        "ftp://example.com",
        "example.com",
        "https://2130706433/v1",
        "",
    ],
)
async def test_an_address_inside_is_refused_at_saving(database_url: URL, tmp_path: Path, base_url: str) -> None:
    async with process(database_url, tmp_path) as (_, client):
        acme = await make_tenant(client)
        answer = await put(client, acme, base_url=base_url, test=False)
        assert_kind(answer, 422, "invalid-base-url")
        assert answer.json()["errors"][0]["loc"] == ["body", "base_url"]


async def test_a_name_that_leads_inside_is_refused_when_it_is_called(
    database_url: URL, tmp_path: Path, provider: ModelsServer
) -> None:
    port = provider.url.rpartition(":")[2]
    with resolving({"llm.acme.example": [["127.0.0.1"]]}) as resolver:
        async with process(database_url, tmp_path) as (_, client):
            acme = await make_tenant(client)
            answer = await put(client, acme, base_url=f"http://llm.acme.example:{port}/v1")
            assert_kind(answer, 502, "provider-not-reached")
        assert resolver.asked == ["llm.acme.example"]
    assert provider.asked == []


async def test_a_tenants_address_is_asked_in_the_place_of_the_services(
    database_url: URL, tmp_path: Path, provider: ModelsServer
) -> None:
    async with process(database_url, tmp_path, openai_base_url="http://127.0.0.1:9/v1", **ASKED_HERE) as (app, client):
        acme = await make_tenant(client)
        answer = await put(client, acme, base_url=f"{provider.url}/own/v1/")
        assert answer.status_code == 200, answer.text
        assert answer.json()["base_url"] == f"{provider.url}/own/v1"
        assert provider.asked[0][0] == "GET /own/v1/models HTTP/1.1"
        assert (await credential_of(app, acme)).base_url == f"{provider.url}/own/v1"


async def test_a_redirect_is_not_followed(database_url: URL, tmp_path: Path, provider: ModelsServer) -> None:
    provider.status, provider.location = "302 Found", f"{provider.url}/elsewhere"
    async with process(database_url, tmp_path, **ASKED_HERE) as (_, client):
        acme = await make_tenant(client)
        assert_kind(await put(client, acme, base_url=provider.url), 502, "provider-not-reached")
    assert len(provider.asked) == 1


async def test_what_is_no_key_or_no_provider_is_refused(database_url: URL, tmp_path: Path) -> None:
    async with process(database_url, tmp_path) as (_, client):
        acme = await make_tenant(client)
        for key in ("", "sk with space", "sk-\u00e9", "sk\r\nx: y", "x" * 1001):
            answer = await put(client, acme, api_key=key, test=False)
            assert_kind(answer, 422, "invalid-input")
            assert not key or key not in answer.text
        for name in ("mock", "nonsense", "OpenAI"):
            assert_kind(await put(client, acme, name, test=False), 404, "not-found")
        assert_kind(await client.delete("/admin/providers/openai", headers=acme.admin.headers), 404, "not-found")


async def test_without_a_master_key_the_routes_say_so_and_nothing_is_read(
    database_url: URL, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    await superuser.execute("DELETE FROM provider_keys; DELETE FROM tenant_data_keys")
    async with process(database_url, tmp_path, master_key="") as (app, client):
        acme = await make_tenant(client)
        for method, path in (
            ("GET", ""),
            ("GET", "/openai"),
            ("PUT", "/openai"),
            ("DELETE", "/openai"),
        ):
            body = {"json": {"api_key": GOOD_KEY}} if method == "PUT" else {}
            answer = await client.request(method, f"/admin/providers{path}", headers=acme.admin.headers, **body)
            assert_kind(answer, 501, "provider-keys-off")
        app.state.container.shared.provider_credentials._places = None
        assert await credential_of(app, acme) is None


async def test_another_process_uses_a_change_at_once(database_url: URL, tmp_path: Path) -> None:
    async with (
        process(database_url, tmp_path) as (_, client),
        process(database_url, tmp_path) as (other, _other),
    ):
        acme = await make_tenant(client)
        assert await credential_of(other, acme) is None
        await until(lambda: other.state.container.signals._listener is not None, "the other to listen")
        for key in ("sk-first-first-first", "sk-second-second-second"):
            assert (await put(client, acme, api_key=key, test=False)).status_code == 200

            async def uses(expected: str = key) -> bool:
                found = await credential_of(other, acme)
                return found is not None and found.api_key == expected

            await until(uses, "the other process to hear of it")
        await client.delete("/admin/providers/openai", headers=acme.admin.headers)

        async def uses_none() -> bool:
            return await credential_of(other, acme) is None

        await until(uses_none, "the other process to hear that it is gone")


async def test_a_tenants_keys_are_read_once_and_forgotten_in_time(
    database_url: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with process(database_url, tmp_path) as (app, client):
        # What it hears of itself may come at any time.
        app.state.container.signals.providers_changed = lambda _: None
        acme = await make_tenant(client)
        await put(client, acme, test=False)
        credentials = app.state.container.shared.provider_credentials
        reads = 0
        original = credentials._read

        async def counted(*args: Any) -> Any:
            nonlocal reads
            reads += 1
            return await original(*args)

        monkeypatch.setattr(credentials, "_read", counted)
        for _ in range(5):
            assert await credential_of(app, acme) is not None
        assert reads == 1
        now = provider_credentials.monotonic()
        monkeypatch.setattr(provider_credentials, "monotonic", lambda: now + provider_credentials.KNOWN_SECONDS + 1)
        assert await credential_of(app, acme) is not None
        assert reads == 2


async def test_a_row_of_another_tenant_address_or_provider_opens_nothing(
    database_url: URL, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    async with process(database_url, tmp_path) as (app, client):
        acme, rival = await make_tenant(client), await make_tenant(client)
        await put(client, acme, test=False)
        await put(client, rival, api_key="sk-rival-rival-rival", test=False)
        stolen = await superuser.fetchval("SELECT sealed FROM provider_keys WHERE tenant_id = $1", rival.id)
        own = await superuser.fetchval("SELECT sealed FROM provider_keys WHERE tenant_id = $1", acme.id)
        credentials = app.state.container.shared.provider_credentials
        for change, values in (
            ("sealed = $2", [stolen]),
            ("sealed = $2, base_url = 'https://thief.example'", [own]),
        ):
            await superuser.execute(f"UPDATE provider_keys SET {change} WHERE tenant_id = $1", acme.id, *values)
            credentials.forget(acme.id)
            with pytest.raises(ProviderKeyUnusable):
                await credential_of(app, acme)
        await superuser.execute(
            "UPDATE provider_keys SET sealed = $2, base_url = NULL, provider = 'anthropic' WHERE tenant_id = $1",
            acme.id,
            own,
        )
        credentials.forget(acme.id)
        assert await credential_of(app, acme) is None
        with pytest.raises(ProviderKeyUnusable):
            await credential_of(app, acme, "anthropic")


async def test_the_master_key_is_rotated_while_both_serve_and_may_be_repeated(
    database_url: URL, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    both = {"master_key": NEW, "previous_master_keys": [OLD]}
    rotating = make_settings(database_url, tmp_path, **both)
    async with (
        process(database_url, tmp_path, previous_master_keys=[NEW]) as (before, client),
        process(database_url, tmp_path, **both) as (after, newer),
    ):
        tenants = [await make_tenant(client) for _ in range(3)]
        for tenant in tenants:
            await put(client, tenant, api_key=f"sk-{tenant.id}", test=False)
        waiting = await superuser.fetchval(
            "SELECT count(*) FROM tenant_data_keys WHERE master = $1", MasterKeys([OLD]).present
        )
        assert waiting >= 3
        assert (await rotate_master_key(rotating)).startswith(f"{waiting} data keys wrapped anew")
        assert (await rotate_master_key(rotating)).startswith("0 data keys wrapped anew")
        for app in (before, after):
            for tenant in tenants:
                app.state.container.shared.provider_credentials.forget(tenant.id)
                assert (await credential_of(app, tenant)).api_key == f"sk-{tenant.id}"
        late = await make_tenant(newer)
        await put(newer, late, test=False)
        assert (await credential_of(before, late)).api_key == GOOD_KEY
    masters = await superuser.fetch("SELECT DISTINCT master FROM tenant_data_keys")
    assert [row["master"] for row in masters] == [MasterKeys([NEW]).present]
    async with process(database_url, tmp_path, master_key=NEW) as (app, _):
        for tenant in tenants:
            assert (await credential_of(app, tenant)).api_key == f"sk-{tenant.id}"
    await superuser.execute("DELETE FROM provider_keys; DELETE FROM tenant_data_keys")


async def test_what_no_given_key_opens_is_named_and_left(
    database_url: URL, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    async with process(database_url, tmp_path) as (_, client):
        acme, rival = await make_tenant(client), await make_tenant(client)
        for tenant in (acme, rival):
            await put(client, tenant, test=False)
    await superuser.execute("UPDATE tenant_data_keys SET sealed = 'broken' WHERE tenant_id = $1", acme.id)
    given = make_settings(database_url, tmp_path, master_key=NEW, previous_master_keys=[OLD])
    with pytest.raises(UnusableSetting, match=acme.id) as refused:
        await rotate_master_key(given)
    assert rival.id not in str(refused.value)
    assert "1 data keys wrapped anew" in str(refused.value)
    for wrong in ({"master_key": NEW}, {"master_key": ""}, {"master_key": secrets.token_hex(32)}):
        with pytest.raises(UnusableSetting, match="MASTER_KEY"):
            async with process(database_url, tmp_path, **wrong):
                pass
    await superuser.execute("DELETE FROM provider_keys; DELETE FROM tenant_data_keys")


async def test_erasing_a_tenant_takes_what_opens_its_secrets_first(
    database_url: URL, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    async with process(database_url, tmp_path) as (app, client):
        acme = await make_tenant(client)
        await put(client, acme, test=False)
        assert await credential_of(app, acme) is not None
        eraser = app.state.container.eraser
        await superuser.execute("UPDATE tenants SET erasing_at = now() WHERE id = $1", acme.id)

        async def stop(*_: Any) -> int:
            raise InterruptedError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(eraser, "_empty", stop)
            with pytest.raises(InterruptedError):
                await eraser.erase(acme.id)
        count = "SELECT count(*) FROM {} WHERE tenant_id = $1"
        assert await superuser.fetchval(count.format("tenant_data_keys"), acme.id) == 0
        assert await superuser.fetchval(count.format("provider_keys"), acme.id) == 1
        app.state.container.shared.provider_credentials.forget(acme.id)
        with pytest.raises(ProviderKeyUnusable):
            await credential_of(app, acme)
        await eraser.erase(acme.id)
        assert await superuser.fetchval(count.format("provider_keys"), acme.id) == 0


async def test_a_tenants_messages_go_to_its_own_address_with_its_own_key_and_nobody_elses(
    database_url: URL, tmp_path: Path
) -> None:
    async def answer(_: dict[str, Any]) -> Any:
        return completion("Hi")

    service_key = "sk-of-the-service-itself"
    async with loopback(answer) as services, loopback(answer) as own:
        asked = {"llm_provider": "openai", "openai_api_key": service_key, "openai_base_url": services.base_url}
        async with process(database_url, tmp_path, **asked, **ASKED_HERE) as (_, client):
            acme, rival = await make_tenant(client), await make_tenant(client)

            async def sent(tenant: Tenant) -> int:
                headers = tenant.user.headers
                return (await client.post("/messages", json={"content": "Hello"}, headers=headers)).status_code

            assert await sent(acme) == 201
            assert services.requests[-1][0]["authorization"] == f"Bearer {service_key}"
            assert (await put(client, acme, base_url=own.base_url, test=False)).status_code == 200
            assert await sent(acme) == 201
            assert (len(services.requests), len(own.requests)) == (1, 1)
            headers = own.requests[0][0]
            assert headers["authorization"] == f"Bearer {GOOD_KEY}"
            assert service_key not in repr(headers)
            assert await sent(rival) == 201
            assert (await put(client, acme, api_key="sk-at-the-services-address", test=False)).status_code == 200
            assert await sent(acme) == 201
            tokens = [headers["authorization"] for headers, _ in services.requests]
            assert tokens == [f"Bearer {key}" for key in (service_key, service_key, "sk-at-the-services-address")]
            assert (await client.delete("/admin/providers/openai", headers=acme.admin.headers)).status_code == 204
            assert await sent(acme) == 201
            assert services.requests[-1][0]["authorization"] == f"Bearer {service_key}"
            assert len(own.requests) == 1


async def test_a_key_that_cannot_be_opened_fails_messages_and_the_services_is_not_used(
    database_url: URL, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    async def answer(_: dict[str, Any]) -> Any:
        return completion("Hi")

    async with loopback(answer) as services:
        asked = {"llm_provider": "openai", "openai_api_key": "sk-x", "openai_base_url": services.base_url}
        async with process(database_url, tmp_path, **asked) as (app, client):
            acme = await make_tenant(client)
            await put(client, acme, test=False)
            await superuser.execute("UPDATE provider_keys SET sealed = 'broken' WHERE tenant_id = $1", acme.id)
            app.state.container.shared.provider_credentials.forget(acme.id)
            sent = await client.post("/messages", json={"content": "Hello"}, headers=acme.user.headers)
            assert_kind(sent, 503, "provider-key-unusable")
            shown = (await client.get("/messages", headers=acme.user.headers)).json()[0]
            assert (shown["status"], shown["error_code"]) == ("failed", "provider_key_unusable")
    assert services.requests == []


async def test_it_is_the_admins_alone_and_outlives_who_set_it(
    database_url: URL, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    async with process(database_url, tmp_path) as (_, client):
        acme = await make_tenant(client)
        body = {"email": f"second-{acme.id}@acme.com", "password": "correct horse battery", "role": "admin"}
        assert (await client.post("/admin/users", json=body, headers=acme.admin.headers)).status_code == 201
        second = await log_in(client, body["email"])
        await put(client, acme, test=False)
        assert (await client.delete(f"/admin/users/{acme.admin.id}", headers=second.headers)).status_code == 204
        shown = (await client.get("/admin/providers/openai", headers=second.headers)).json()
        assert shown["set_by"] == acme.admin.id
        assert (await client.delete("/admin/providers/openai", headers=second.headers)).status_code == 204
        assert "provider_key.deleted" in await actions_of(superuser, acme.id)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"master_key": "short"}, "MASTER_KEY must be at least 32 bytes"),
        ({"previous_master_keys": [OLD]}, "needs a MASTER_KEY"),
        ({"master_key": OLD, "previous_master_keys": ["short"]}, "PREVIOUS_MASTER_KEYS must be"),
        ({"master_key": "file:/nowhere/at/all"}, "names a file that cannot be read"),
        ({"environment": "production", "master_key": "x" * 40}, "MASTER_KEY is a placeholder"),
    ],
)
def test_a_master_key_that_is_none_is_refused_by_name(given: dict[str, Any], said: str) -> None:
    good = {"secret_key": NEW, "database_url": "postgresql://a@b/c", "environment": "development"}
    with pytest.raises(ValueError, match=said) as refused:
        Settings(_env_file=None, **{**good, **given})
    assert OLD not in str(refused.value)


def test_a_master_key_may_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "master"
    path.write_text(f"{OLD}\n")
    found = Settings(_env_file=None, master_key=f"file:{path}").master_keys()
    assert found is not None
    assert found.present == MasterKeys([OLD]).present
    assert json.dumps(Settings(_env_file=None, master_key=OLD).model_dump(mode="json")).count(OLD) == 0
