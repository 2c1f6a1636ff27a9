"""Replacing a webhook secret: receivers have a day to take the new one over, and who knew the old one is then out."""

import base64
import hashlib
import hmac
from collections.abc import Iterator

import asyncpg
import httpx

from tests.api.problems import assert_problem
from tests.committed.conftest import Serve
from tests.committed.providers import HeldProvider
from tests.committed.test_webhooks import LOOPBACK, Receiver, ended, receiver  # noqa: F401 - a fixture
from tests.helpers import Tenant, make_tenant


def verifying(call: tuple[dict[str, str], bytes], secrets: list[str]) -> Iterator[bool]:
    """Whether each secret verifies one of the call's signatures."""
    headers, content = call
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + content
    given = headers["webhook-signature"].split(" ")
    for secret in secrets:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        yield f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}" in given


async def secret_of(client: httpx.AsyncClient, tenant: Tenant, method: str = "GET") -> str:
    answer = await client.request(method, "/admin/webhook-secret", headers=tenant.admin.headers)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["secret"])


async def test_the_old_secret_signs_beside_the_new_one_for_a_day_and_not_after_a_second_change(
    serve: Serve,
    receiver: Receiver,  # noqa: F811
    superuser: asyncpg.Connection,
) -> None:
    provider = HeldProvider()
    provider.release.set()
    async with serve(provider, **LOOPBACK) as (app, client):
        acme, rival = await make_tenant(client), await make_tenant(client)
        others = await secret_of(client, rival)

        async def call() -> tuple[dict[str, str], bytes]:
            before = len(receiver.calls)
            body = {"content": "x", "background": True, "webhook_url": receiver.url}
            assert (await client.post("/messages", json=body, headers=acme.user.headers)).status_code == 202
            await ended(app)
            while len(receiver.calls) == before:
                await app.state.container.webhooks.deliver_due()
            return receiver.calls[-1]

        first = await secret_of(client, acme)
        assert list(verifying(await call(), [first, others])) == [True, False]
        second = await secret_of(client, acme, "POST")
        assert await secret_of(client, acme) == second
        assert list(verifying(await call(), [first, second])) == [True, True]

        await superuser.execute(
            "UPDATE tenants SET webhook_secret_changed_at = now() - interval '25 hours' WHERE id = $1", acme.id
        )
        assert list(verifying(await call(), [first, second])) == [False, True]
        third, fourth = await secret_of(client, acme, "POST"), await secret_of(client, acme, "POST")
        assert list(verifying(await call(), [first, second, third, fourth])) == [False, False, True, True]
        assert await secret_of(client, rival) == others
        assert_problem(await client.post("/admin/webhook-secret", headers=acme.user.headers), 403)
