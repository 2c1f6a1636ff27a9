"""The documented procedure after a leak of SECRET_KEY, walked as the thief who has it."""

import argparse
import secrets
from pathlib import Path

import pytest
from sqlalchemy import URL

from app import cli
from app.core.credentials import opaque_tokens
from app.core.credentials.keys import KeyRing, shared_key
from app.core.errors import PermissionDenied
from app.core.principal import Principal
from app.core.security import TokenService
from tests.api.test_api_keys import make_key
from tests.conftest import make_settings
from tests.helpers import log_in, make_tenant
from tests.own_database import own_database
from tests.sessions import Session, begin, instance, refresh, status_of

LEAKED, NEW = secrets.token_hex(32), secrets.token_hex(32)


def forged(session: Session) -> str:
    """An admin's token for a session that the thief knows of."""
    user, session_id = session.body["user"], opaque_tokens.session_of(session.refresh)
    tokens = TokenService(KeyRing(shared_key(LEAKED, "HS256")), 60)
    return tokens.mint(Principal(user["id"], user["tenant_id"], "admin", 0, session_id))


async def test_the_documented_procedure_shuts_the_thief_out(template_url: URL, tmp_path: Path) -> None:
    async with own_database(template_url) as own:
        async with instance(own.url, tmp_path, secret_key=LEAKED) as (_, service):
            acme = await make_tenant(service)
            seen = await begin(service, acme.admin)
            live = Session.of(await refresh(service, seen.refresh))
            made_up = opaque_tokens.new_refresh_token(opaque_tokens.session_of(seen.refresh), LEAKED)
            derived = opaque_tokens.successors(seen.refresh, "", [LEAKED])
            stolen = [made_up, *derived, *(opaque_tokens.successors(seen.refresh, opaque_tokens.new_salt(), [LEAKED]))]
            token = forged(seen)
            assert await status_of(service, token) == 200, "as long as the key is in use"
            key = (await make_key(service, acme.admin, ["messages:read"]))["key"]

        settings = make_settings(own.url, tmp_path, secret_key=NEW)
        arguments = argparse.Namespace(api_keys=True)
        assert await cli.end_all_sessions(arguments, settings) == "All sessions and API keys have ended"

        async with instance(own.url, tmp_path, secret_key=NEW) as (_, service):
            for credential in (token, live.access, acme.admin.token, key):
                assert await status_of(service, credential) == 401
            for refresh_token in (*stolen, seen.refresh, live.refresh):
                assert (await refresh(service, refresh_token)).status_code == 401
            again = await log_in(service, acme.admin.email)
            assert await status_of(service, again.token) == 200


async def test_with_the_key_and_a_token_of_the_past_nobody_gets_at_the_live_one(
    database_url: URL, tmp_path: Path
) -> None:
    """Before anybody knows of the leak, and where the procedure's second step was left out."""
    for after in ({"secret_key": LEAKED}, {"secret_key": NEW}):
        async with instance(database_url, tmp_path, secret_key=LEAKED) as (_, service):
            acme = await make_tenant(service)
            seen = await begin(service, acme.admin)
            live = Session.of(await refresh(service, seen.refresh))
        async with instance(database_url, tmp_path, **after) as (_, service):
            for salt in ("", opaque_tokens.new_salt()):
                guess = opaque_tokens.successors(seen.refresh, salt, [LEAKED])[0]
                assert guess != live.refresh
                assert (await refresh(service, guess)).status_code == 401


async def test_keys_are_kept_unless_asked_for(template_url: URL, tmp_path: Path) -> None:
    async with own_database(template_url) as own, instance(own.url, tmp_path) as (_, service):
        acme = await make_tenant(service)
        key = (await make_key(service, acme.user, ["messages:read"]))["key"]
        settings = make_settings(own.url, tmp_path)
        await cli.end_all_sessions(argparse.Namespace(api_keys=False), settings)
        assert await status_of(service, acme.user.token) == 401
        assert await status_of(service, key) == 200


async def test_the_runtimes_login_may_not(template_url: URL, tmp_path: Path) -> None:
    async with own_database(template_url) as own:
        name = f"runtime_{secrets.token_hex(4)}"
        await own.admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'runtime' IN ROLE llm_saas_app")
        try:
            settings = make_settings(own.url.set(username=name, password="runtime"), tmp_path)
            with pytest.raises(PermissionDenied):
                await cli.end_all_sessions(argparse.Namespace(api_keys=False), settings)
        finally:
            await own.admin.execute(f"DROP ROLE {name}")
