"""An email is one, however it is typed, on every route that takes one."""

import argparse
from collections.abc import Awaitable, Callable

import httpx
import pytest

from app import cli
from app.core.config import Settings
from app.core.credentials.emails import login_name, normalise_email
from app.core.ids import new_id
from tests.api.problems import assert_problem
from tests.api.test_joining import invite, register
from tests.helpers import PASSWORD, Tenant

ASCII, UNICODE = "xn--bcher-kva.example", "bücher.example"

# Each way in: it makes an account of the email.
Maker = Callable[[httpx.AsyncClient, Tenant, str], Awaitable[int]]


async def by_registering(client: httpx.AsyncClient, tenant: Tenant, email: str) -> int:
    return (await register(client, tenant, email)).status_code


async def by_an_admin(client: httpx.AsyncClient, tenant: Tenant, email: str) -> int:
    body = {"email": email, "password": PASSWORD}
    return (await client.post("/admin/users", json=body, headers=tenant.admin.headers)).status_code


async def by_an_invite(client: httpx.AsyncClient, tenant: Tenant, email: str) -> int:
    made = await invite(client, tenant.admin, email)
    return (await register(client, tenant, email, made["token"])).status_code


async def with_a_tenant(client: httpx.AsyncClient, _: Tenant, email: str) -> int:
    body = {"name": new_id(), "admin": {"email": email, "password": PASSWORD}}
    return (await client.post("/create-tenant", json=body)).status_code


MAKERS: list[Maker] = [by_registering, by_an_admin, by_an_invite, with_a_tenant]


async def logins(client: httpx.AsyncClient, email: str, password: str = PASSWORD) -> list[int]:
    by_json = await client.post("/login", json={"email": email, "password": password})
    by_form = await client.post("/token", data={"username": email, "password": password})
    return [by_json.status_code, by_form.status_code]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("made", "other"), [(ASCII, UNICODE), (UNICODE, ASCII)], ids=["ascii", "unicode"])
async def test_what_registered_logs_in_by_either_form_of_its_domain(
    client: httpx.AsyncClient, acme: Tenant, make: Maker, made: str, other: str
) -> None:
    name = new_id()
    assert await make(client, acme, f"{name}@{made}") == 201
    for domain in (made, other, made.upper(), other.upper()):
        assert await logins(client, f" {name.upper()}@{domain}") == [200, 200], domain
    assert await by_registering(client, acme, f"{name}@{other}") == 409


@pytest.mark.parametrize(
    ("one", "another"), [("faß.example", "fass.example"), ("βόλος.example", "βόλοσ.example")], ids=["ß", "ς"]
)
async def test_domains_that_the_dns_tells_apart_are_apart(
    client: httpx.AsyncClient, acme: Tenant, one: str, another: str
) -> None:
    name = new_id()
    invited = await invite(client, acme.admin, f"{name}@{one}")
    assert invited["email"] == f"{name}@{one}"
    assert await by_registering(client, acme, f"{name}@{another}") == 201
    assert await logins(client, f"{name}@{one}") == [401, 400]
    body = {"email": f"{name}@{one}", "password": f"{PASSWORD}!"}
    assert (await client.post("/admin/users", json=body, headers=acme.admin.headers)).json()["email"] == body["email"]
    assert await logins(client, f"{name}@{one}", f"{PASSWORD}!") == [200, 200]
    assert await logins(client, f"{name}@{another}", f"{PASSWORD}!") == [401, 400]


async def test_the_local_part_is_folded(client: httpx.AsyncClient, acme: Tenant) -> None:
    name = new_id()
    assert await by_registering(client, acme, f"Straße.{name}@acme.com") == 201
    assert await logins(client, f"STRASSE.{name}@ACME.com") == [200, 200]


async def test_on_the_command_line_too(client: httpx.AsyncClient, settings: Settings, acme: Tenant) -> None:
    arguments = argparse.Namespace(email=f"{new_id()}@{ASCII.upper()}", tenant_id=acme.id, new_tenant=None)
    assert UNICODE in await cli.create_admin(arguments, PASSWORD, settings)
    assert await logins(client, arguments.email) == [200, 200]


@pytest.mark.parametrize("domain", ["corp.local", "acme.test"])
async def test_domains_of_directories_and_of_development_are_taken(
    client: httpx.AsyncClient, acme: Tenant, domain: str
) -> None:
    email = f"{new_id()}@{domain}"
    assert await by_registering(client, acme, email) == 201
    assert await logins(client, email) == [200, 200]


@pytest.mark.parametrize("domain", ["foo.invalid", "foo.onion", "x.localhost"])
async def test_a_reserved_domain_is_refused_with_the_reason(
    client: httpx.AsyncClient, acme: Tenant, domain: str
) -> None:
    problem = assert_problem(await register(client, acme, f"a@{domain}"), 422)
    assert problem["errors"][0]["msg"] == "The domain of the email address is reserved: nobody has mail there"


@pytest.mark.parametrize("email", ["", "x", "a@", "@b.com", "a\uff20b@c.com", "a@b@c.com", "a b@c.com", "\x00"])
def test_what_is_no_address_has_a_spelling_to_be_counted_by(email: str) -> None:
    with pytest.raises(ValueError, match="not an email address"):
        normalise_email(email)
    assert login_name(f" {email.upper()} ") == login_name(email)
