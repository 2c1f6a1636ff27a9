"""Hostile tokens of every kind are no tokens."""

import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from jose import JWTError

from app.core.credentials.keys import KeyRing, shared_key
from app.core.errors import AuthenticationError
from app.core.ids import new_id
from app.core.principal import Principal
from app.core.security import TokenService
from tests.api.problems import assert_problem
from tests.conftest import SECRET_KEY

CALLER = Principal(new_id(), new_id(), "admin", 3, new_id())
KEY = shared_key(SECRET_KEY, "HS256")


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def signed(payload: bytes, header: bytes | None = None, key: str = SECRET_KEY, algorithm: str = "sha256") -> str:
    """A token signed by hand, so that nothing stops it from being hostile."""
    unsigned = f"{b64(header or json.dumps({'alg': 'HS256', 'typ': 'JWT', 'kid': KEY.kid}).encode())}.{b64(payload)}"
    return f"{unsigned}.{b64(hmac.digest(key.encode(), unsigned.encode(), algorithm))}"


def header(**more: Any) -> bytes:
    return json.dumps({"alg": "HS256", "typ": "JWT", "kid": KEY.kid, **more}).encode()


def claims(**changes: Any) -> bytes:
    now = int(time.time())
    good = {
        "iss": "llm-saas-backend",
        "aud": "llm-saas-api",
        "typ": "access",
        "sub": CALLER.user_id,
        "tenant_id": CALLER.tenant_id,
        "role": "admin",
        "ver": 3,
        "sid": CALLER.session_id,
        "jti": new_id(),
        "iat": now,
        "exp": now + 60,
        **changes,
    }
    return json.dumps({name: value for name, value in good.items() if value is not ...}).encode()


@pytest.fixture
def tokens() -> TokenService:
    return TokenService(KeyRing(KEY), 60)


def test_a_minted_token_names_its_caller(tokens: TokenService) -> None:
    assert tokens.verify(tokens.mint(CALLER)) == CALLER
    assert tokens.verify(signed(claims())) == CALLER  # so that the ones below fail for their own reason


def test_clocks_may_differ_by_a_minute(tokens: TokenService) -> None:
    soon = int(time.time()) + 50
    assert tokens.verify(signed(claims(iat=soon, nbf=soon, exp=soon + 60))) == CALLER
    assert tokens.verify(signed(claims(iat=time.time() - 0.5, exp=time.time() + 60.5))) == CALLER


def _other_last_character(token: str) -> str:
    """The last of 43 characters has two spare bits: three more characters decode to the same signature."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]


SPELLINGS = {
    "foreign characters": lambda token: f"{token[:-5]}!!{token[-5:]}",
    "white space": lambda token: f"{token[:-5]} {token[-5:]}",
    "line feed": lambda token: token + "\n",
    "padding": lambda token: token + "=",
    "more padding": lambda token: token + "====",
    "padding inside": lambda token: token.replace(".", "=.", 1),
    "spare bits": _other_last_character,
    "a part more": lambda token: token + ".",
    "a part of nothing": lambda token: "." + token,
}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
async def test_a_token_has_one_spelling_and_no_other_is_remembered(
    tokens: TokenService, spell: Callable[[str], str]
) -> None:
    token = signed(claims())
    with pytest.raises(AuthenticationError):
        tokens.verify(spell(token))
    assert not tokens._verified
    assert tokens.verify(token) == CALLER


HOSTILE = {
    "empty": "",
    "dots": "..",
    "not base64": "a.b.c",
    "non-ascii": "ä.ö.ü",
    "5 KB": "x" * 5000,
    "no signature": signed(claims()).rsplit(".", 1)[0] + ".",
    "other key": signed(claims(), key="other" * 10),
    "other hash": signed(claims(), algorithm="sha512"),
    "alg none": b64(b'{"alg":"none"}') + "." + b64(claims()) + ".",
    "alg None": b64(b'{"alg":"None"}') + "." + b64(claims()) + ".",
    "alg RS256": signed(claims(), b'{"alg":"RS256"}'),
    "alg HS512": signed(claims(), b'{"alg":"HS512"}', algorithm="sha512"),
    "alg list": signed(claims(), b'{"alg":["HS256"]}'),
    "alg missing": signed(claims(), b"{}"),
    "header list": signed(claims(), b"[]"),
    "header null": signed(claims(), b"null"),
    "payload list": signed(b"[]"),
    "payload text": signed(b'"x"'),
    "payload not json": signed(b"\xff\xfe"),
    "deep header": signed(claims(), b"[" * 1500 + b"]" * 1500),
    "deep payload": signed(b'{"a":' * 500 + b"1" + b"}" * 500),
    **{f"no {name}": signed(claims(**{name: ...})) for name in ("exp", "iat", "sub", "aud", "iss", "jti", "typ")},
    **{f"no {name}": signed(claims(**{name: ...})) for name in ("tenant_id", "role", "ver")},
    "expired": signed(claims(exp=int(time.time()) - 1)),
    "exp text": signed(claims(exp="tomorrow")),
    "exp NaN": signed(claims(exp=float("nan"))),
    "exp infinite": signed(claims(exp=float("inf"))),
    "exp huge": signed(claims(exp=10**400)),
    "exp null": signed(claims(exp=None)),
    "iat text": signed(claims(iat="now")),
    "not before": signed(claims(nbf=int(time.time()) + 1000)),
    "not before, by text": signed(claims(nbf="0")),
    "exp number as text": signed(claims(exp=str(int(time.time()) + 60))),
    "exp true": signed(claims(exp=True)),
    "iat number as text": signed(claims(iat=str(int(time.time())))),
    "iat null": signed(claims(iat=None)),
    "iat NaN": signed(claims(iat=float("nan"))),
    "iat ahead": signed(claims(iat=int(time.time()) + 1000)),
    "nbf null": signed(claims(nbf=None)),
    "crit": signed(claims(), header(crit=["exp"])),
    "crit unknown": signed(claims(), header(crit=["b64"], b64=False)),
    "crit empty": signed(claims(), header(crit=[])),
    "crit null": signed(claims(), header(crit=None)),
    "other audience": signed(claims(aud="other")),
    "audience object": signed(claims(aud={"x": 1})),
    "other issuer": signed(claims(iss="other")),
    "refresh token": signed(claims(typ="refresh")),
    "sub number": signed(claims(sub=5)),
    "sub no id": signed(claims(sub="'; DROP TABLE users; --")),
    "tenant no id": signed(claims(tenant_id="x' OR '1'='1")),
    "tenant list": signed(claims(tenant_id=[CALLER.tenant_id])),
    "role root": signed(claims(role="root")),
    "role list": signed(claims(role=["admin"])),
    "role object": signed(claims(role={})),
    "ver text": signed(claims(ver="3")),
    "ver true": signed(claims(ver=True)),
    "ver float": signed(claims(ver=3.0)),
    "ver negative": signed(claims(ver=-1)),
    "ver huge": signed(claims(ver=2**31)),
}


@pytest.mark.parametrize("token", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_token_is_refused(tokens: TokenService, client: httpx.AsyncClient, token: str) -> None:
    with pytest.raises(AuthenticationError):
        tokens.verify(token)
    answer = await client.get("/me", headers={"Authorization": f"Bearer {token}".encode()})
    problem = assert_problem(answer, 401)
    assert problem["type"] == "urn:llm-saas:problem:authentication-error"


def test_a_token_is_decoded_once_and_remembered_no_longer_than_it_lives(
    tokens: TokenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = signed(claims())
    assert tokens.verify(token) == CALLER

    def decode(*_: object, **__: object) -> None:
        raise JWTError

    monkeypatch.setattr("app.core.security.jwt.decode", decode)
    assert tokens.verify(token) == CALLER
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(AuthenticationError):
        tokens.verify(token)


async def test_a_valid_token_of_nobody_enters_nothing(client: httpx.AsyncClient, app: FastAPI) -> None:
    token = app.state.container.shared.tokens.mint(CALLER)
    assert_problem(await client.get("/me", headers={"Authorization": f"Bearer {token}"}), 401)
