"""Passwords: which are taken, in which spelling, and that a failed login tells nothing about accounts."""

import sys
import unicodedata
from collections.abc import Callable
from typing import Any

import asyncpg
import bcrypt
import httpx
import pytest
from passlib.hash import bcrypt_sha256

from app import cli
from app.core.config import Settings
from app.core.ids import new_id
from app.core.security import PasswordHasher
from tests.api.problems import assert_problem
from tests.helpers import PASSWORD, Tenant, log_in, unique_email

REFUSED = {
    "password_too_common": ["password", "12345678", "PassWord1", "qwertyuiop", "ｐａｓｓｗｏｒｄ", "TRUSTNO1"],
    "password_too_short": ["e\u0301" * 7],  # fourteen code points, seven characters
    "string_too_short": ["h4rd2gs", "ü" * 7, "😀" * 7, ""],
    "password_too_long": ["😀" * 1025, "ü" * 2049, "x" * 4095 + "ü"],
    "string_too_long": ["x" * 4097],
}
TAKEN = ["ü" * 8, "😀" * 8, "😀" * 1024, "x" * 4096, "        ", "s3cur3P@ssw0rd", "adminP@ss!", PASSWORD]
Make = Callable[[str, Tenant], tuple[str, list[str], dict[str, Any]]]


def of_a_tenant(password: str, _: Tenant) -> tuple[str, list[str], dict[str, Any]]:
    admin = {"email": unique_email(), "password": password}
    return "/create-tenant", ["body", "admin", "password"], {"name": f"Tenant {new_id()}", "admin": admin}


def registered(password: str, acme: Tenant) -> tuple[str, list[str], dict[str, Any]]:
    body = {"email": unique_email(), "password": password, "tenant_id": acme.id}
    return "/register", ["body", "password"], body


def made_by_an_admin(password: str, _: Tenant) -> tuple[str, list[str], dict[str, Any]]:
    return "/admin/users", ["body", "password"], {"email": unique_email(), "password": password}


everywhere = pytest.mark.parametrize("make", [of_a_tenant, registered, made_by_an_admin])


@everywhere
@pytest.mark.parametrize(("kind", "password"), [(kind, each) for kind, many in REFUSED.items() for each in many])
async def test_a_bad_password_is_refused_and_the_field_named(
    client: httpx.AsyncClient, acme: Tenant, make: Make, kind: str, password: str
) -> None:
    path, field, body = make(password, acme)
    answer = await client.post(path, json=body, headers=acme.admin.headers)
    [error] = assert_problem(answer, 422)["errors"]  # type: ignore[attr-defined]
    assert (error["loc"], error["type"]) == (field, kind)
    if password not in ("", "password"):  # which the message says too
        assert password not in answer.text


@everywhere
@pytest.mark.parametrize("password", TAKEN, ids=lambda password: password[:12])
async def test_any_other_password_is_taken_and_logs_in(
    client: httpx.AsyncClient, acme: Tenant, make: Make, password: str
) -> None:
    path, _, body = make(password, acme)
    answer = await client.post(path, json=body, headers=acme.admin.headers)
    assert answer.status_code == 201, answer.text
    await log_in(client, body.get("admin", body)["email"], password)


@pytest.mark.parametrize("typed", ["NFC", "NFD"])
async def test_a_password_is_the_same_however_its_accents_are_typed(
    client: httpx.AsyncClient, acme: Tenant, typed: Any
) -> None:
    password = "crème brûlée à la carte"
    _, _, body = registered(unicodedata.normalize(typed, password), acme)
    assert (await client.post("/register", json=body)).status_code == 201
    for form in ("NFC", "NFD"):
        await log_in(client, body["email"], unicodedata.normalize(form, password))  # type: ignore[arg-type]
    lookalike = await client.post("/login", json={"email": body["email"], "password": password.replace("l", "ｌ")})
    assert_problem(lookalike, 401)


async def hash_of(superuser: asyncpg.Connection, user_id: str) -> str:
    hashed: str = await superuser.fetchval("SELECT hashed_password FROM users WHERE id = $1", user_id)
    return hashed


async def test_a_hash_of_the_password_as_typed_still_logs_in_and_is_renewed(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    typed = unicodedata.normalize("NFD", "crème brûlée")
    old = bcrypt_sha256.using(rounds=4).hash(typed)
    await superuser.execute("UPDATE users SET hashed_password = $1 WHERE id = $2", old, acme.user.id)

    await log_in(client, acme.user.email, typed)

    assert await hash_of(superuser, acme.user.id) != old
    await log_in(client, acme.user.email, unicodedata.normalize("NFC", typed))


async def test_a_plain_bcrypt_hash_vouches_for_72_bytes_and_is_kept_for_a_longer_password(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, acme: Tenant
) -> None:
    password = "long enough to be cut: " + "x" * 100
    old = bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).decode()
    await superuser.execute("UPDATE users SET hashed_password = $1 WHERE id = $2", old, acme.user.id)

    wrong = await client.post("/login", json={"email": acme.user.email, "password": "y" * 100})
    assert_problem(wrong, 401)
    await log_in(client, acme.user.email, password)
    assert await hash_of(superuser, acme.user.id) == old


@pytest.mark.parametrize("password", ["x" * 4097, "😀" * 1025])
async def test_a_login_with_too_long_a_password_is_refused_unhashed(
    client: httpx.AsyncClient, acme: Tenant, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PasswordHasher, "_verify", None)
    assert_problem(await client.post("/login", json={"email": acme.user.email, "password": password}), 422)
    form = {"username": acme.user.email, "password": password}
    assert (await client.post("/token", data=form)).status_code == 400


@pytest.fixture
def normalised(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was normalised, in order."""
    seen: list[str] = []
    normalize = unicodedata.normalize

    def record(form: Any, text: str) -> str:
        seen.append(text)
        return normalize(form, text)

    monkeypatch.setattr(unicodedata, "normalize", record)
    return seen


@pytest.fixture
def hashed_at(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The cost of each hash that was computed, whatever for: `$2b$04$` takes 2 to the 4th rounds."""
    seen: list[bytes] = []
    hashpw = bcrypt.hashpw

    def record(secret: bytes, salt: bytes) -> bytes:
        seen.append(salt[:7])
        return hashpw(secret, salt)

    monkeypatch.setattr(bcrypt, "hashpw", record)
    return seen


async def test_an_email_that_takes_long_to_normalise_is_not_normalised(
    client: httpx.AsyncClient, normalised: list[str]
) -> None:
    marks = "a" + "\u0301\u0316" * 600  # escaped as a form it is as large as a body may be here
    assert (await client.post("/token", data={"username": marks, "password": PASSWORD})).status_code == 400
    assert max(map(len, normalised), default=0) < len(marks)


@pytest.mark.parametrize("password", ["wrong password", "wrong passwo\u0308rd"], ids=["plain", "decomposed"])
async def test_an_unknown_email_costs_the_same_hashes_as_a_wrong_password(
    client: httpx.AsyncClient, acme: Tenant, password: str, normalised: list[str], hashed_at: list[bytes]
) -> None:
    work = []
    for email in (acme.user.email, unique_email("nobody")):
        normalised.clear()
        hashed_at.clear()
        assert_problem(await client.post("/login", json={"email": email, "password": password}), 401)
        work.append((normalised.count(password), [*hashed_at]))
    assert work == [(1, [b"$2b$04$"] * (1 if password.isascii() else 2))] * 2


async def test_whatever_is_wrong_with_a_login_the_bytes_are_the_same(client: httpx.AsyncClient, acme: Tenant) -> None:
    answers: dict[str, set[tuple[object, ...]]] = {"/login": set(), "/token": set()}
    for email in (acme.user.email, unique_email(), "no address", "x"):
        for path, form in (("/login", False), ("/token", True)):
            body = {"username" if form else "email": email, "password": "wrong password"}
            sent = {"data": body} if form else {"json": body}
            answer = await client.post(path, headers={"X-Request-ID": "same"}, **sent)  # type: ignore[arg-type]
            answers[path].add((answer.status_code, answer.content, *sorted(answer.headers.items())))
    assert [len(seen) for seen in answers.values()] == [1, 1]
    assert [status for seen in answers.values() for status, *_ in seen] == [401, 400]


def test_the_command_line_says_what_is_wrong_with_a_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], settings: Settings
) -> None:
    monkeypatch.setattr(sys, "argv", ["cli", "create-admin", "--email", "ops@acme.com", "--new-tenant", "Acme Two"])
    monkeypatch.setattr(cli, "get_settings", lambda: settings)
    monkeypatch.setattr(cli.getpass, "getpass", lambda: "Password1")
    assert cli.main() == 2
    assert capsys.readouterr().err == "password: This password is among the most common ones: choose another\n"
