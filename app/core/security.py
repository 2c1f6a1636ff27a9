"""Passwords (bcrypt, off the event loop, bounded) and access tokens (JWT)."""

import asyncio
import base64
import math
import os
import sys
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from jose import jwt
from passlib.context import CryptContext

from app.core.credentials.keys import KeyRing
from app.core.credentials.passwords import normalise_password
from app.core.errors import AuthenticationError
from app.core.ids import is_id, new_id
from app.core.principal import Principal
from app.core.turns import Turns

ISSUER = "llm-saas-backend"
AUDIENCE = "llm-saas-api"
MAX_TOKEN_BYTES = 4096
MAX_WAITING_HASHES = 256
VERIFIED_TOKENS_KEPT = 10_000
PLAIN_BCRYPT_BYTES = 72
# Clocks of the service's machines may differ by this much.
MAX_SKEW_SECONDS = 60
# The library takes numbers in text for times, and knows no skew but one that would prolong `exp`: see `_check_times`.
_OPTIONS = {f"require_{claim}": True for claim in ("exp", "iat", "sub", "aud", "iss", "jti")} | {
    f"verify_{claim}": False for claim in ("exp", "iat", "nbf")
}


class PasswordHasher:
    """bcrypt over SHA-256, so that no password is cut at 72 bytes; plain bcrypt is verified and upgraded.

    The threads are fewer than the cores and of low priority: a flood of logins leaves the event loop its core. Who has
    to wait is served in turn by `share`, the tenant or the client's address: a flood of one's leaves the others theirs.
    """

    def __init__(self, rounds: int) -> None:
        self._context = CryptContext(
            schemes=["bcrypt_sha256", "bcrypt"],
            deprecated=["bcrypt"],
            bcrypt_sha256__rounds=rounds,
            bcrypt__rounds=rounds,
        )
        workers = max(1, (os.cpu_count() or 2) // 2)
        self._threads = ThreadPoolExecutor(
            max_workers=workers, thread_name_prefix="bcrypt", initializer=_lower_thread_priority
        )
        self._turns = Turns(workers, MAX_WAITING_HASHES)
        # Verified when the email is unknown, so that the answer takes as long as a wrong password. No password is known
        # to have it; made by hashing one, it would cost a quarter of a second at each start.
        self._nobody = f"$bcrypt-sha256$v=2,t=2b,r={rounds}${'.' * 22}${'.' * 31}"

    async def hash(self, password: str, share: str = "") -> str:
        hashed: str = await self._run(share, self._context.hash, normalise_password(password))
        return hashed

    async def verify(self, password: str, hashed: str | None, share: str = "") -> tuple[bool, str | None]:
        """Whether the password is right, and a replacement hash where the stored one is outdated."""
        ok, replacement = await self._run(share, self._verify, password, hashed or self._nobody)
        return (ok, replacement) if hashed else (False, None)

    def _verify(self, password: str, hashed: str) -> tuple[bool, str | None]:
        normal = normalise_password(password)
        plain = self._context.identify(hashed) == "bcrypt"
        # The second spelling is for hashes of what was typed, made before passwords were normalised.
        for spelling in (normal,) if normal == password else (normal, password):
            secret = spelling.encode()
            # Plain bcrypt looked at 72 bytes and forgave the rest, where this library raises.
            if not self._context.verify(secret[:PLAIN_BCRYPT_BYTES] if plain else spelling, hashed):
                continue
            outdated = spelling != normal or self._context.needs_update(hashed)
            vouched_for = not plain or len(secret) <= PLAIN_BCRYPT_BYTES
            return True, self._context.hash(normal) if outdated and vouched_for else None
        return False, None

    async def _run(self, share: str, function: Any, *args: str) -> Any:
        await self._turns.take(share)
        work = asyncio.get_running_loop().run_in_executor(self._threads, function, *args)
        # A thread cannot be cancelled: its place is free when it has ended, whoever still waits for it.
        work.add_done_callback(lambda _: self._turns.give_back())
        return await asyncio.shield(work)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _lower_thread_priority() -> None:
    if sys.platform == "linux":  # elsewhere the nice value belongs to the whole process
        thread = threading.get_native_id()
        # Never up again, which nobody may: a whole process may have been given less.
        os.setpriority(os.PRIO_PROCESS, thread, max(10, os.getpriority(os.PRIO_PROCESS, thread)))


class TokenService:
    """Mints and verifies access tokens.

    A verified token is remembered until it expires: its signature cannot change, and whether the session may still
    use it is asked of the database in every transaction.
    """

    def __init__(self, keys: KeyRing, expire_minutes: int) -> None:
        self._keys = keys
        self.expires_in = expire_minutes * 60
        self._verified: OrderedDict[str, tuple[float, Principal]] = OrderedDict()

    def mint(self, principal: Principal) -> str:
        now, key = int(time.time()), self._keys.signing
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "typ": "access",
            "sub": principal.user_id,
            "tenant_id": principal.tenant_id,
            "role": principal.role,
            "ver": principal.token_version,
            "sid": principal.session_id,
            "jti": new_id(),
            "iat": now,
            "exp": now + self.expires_in,
        }
        return str(jwt.encode(claims, key.signer, algorithm=key.algorithm, headers={"kid": key.kid}))

    def verify(self, token: str) -> Principal:
        """The caller that the token names.

        Raises:
            AuthenticationError: for anything that is not a valid, unexpired access token of this service.
        """
        known = self._verified.get(token)
        if known is not None:
            if known[0] > time.time():
                return known[1]
            del self._verified[token]
        if len(token) > MAX_TOKEN_BYTES:
            raise AuthenticationError
        try:
            _check_spelling(token)
            header = jwt.get_unverified_header(token)
            key = self._keys.find(header.get("kid"))
            if key is None or "crit" in header:  # what must be understood is not (RFC 7515, 4.1.11)
                raise AuthenticationError
            claims = jwt.decode(
                token, key.verifier, algorithms=[key.algorithm], audience=AUDIENCE, issuer=ISSUER, options=_OPTIONS
            )
            expires_at = _check_times(claims)
            principal = _principal_of(claims)
        except Exception as error:
            # python-jose raises far more than JWTError on hostile tokens (RecursionError, OverflowError, ...).
            raise AuthenticationError from error
        self._verified[token] = (expires_at, principal)
        if len(self._verified) > VERIFIED_TOKENS_KEPT:
            self._verified.popitem(last=False)
        return principal

    def forget_tenant(self, tenant_id: str) -> None:
        for token in [token for token, (_, caller) in self._verified.items() if caller.tenant_id == tenant_id]:
            del self._verified[token]


def _check_spelling(token: str) -> None:
    """The decoder passes over foreign characters and spare bits: a token would have any number of spellings."""
    for part in token.split("."):
        decoded = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        if base64.urlsafe_b64encode(decoded).rstrip(b"=") != part.encode():
            raise AuthenticationError


def _check_times(claims: dict[str, Any]) -> float:
    """When the token expires, in seconds since 1970."""
    now = time.time()
    times = {name: claims[name] for name in ("exp", "iat", "nbf") if name in claims}
    if any(type(value) not in (int, float) or not math.isfinite(value) for value in times.values()):
        raise AuthenticationError
    if times["exp"] <= now or max(times["iat"], times.get("nbf", 0)) > now + MAX_SKEW_SECONDS:
        raise AuthenticationError
    return float(times["exp"])


def _principal_of(claims: dict[str, Any]) -> Principal:
    version = claims["ver"]
    if claims.get("typ") != "access" or type(version) is not int or not 0 <= version < 2**31:
        raise AuthenticationError
    if claims["role"] not in ("admin", "user") or not all(is_id(claims[name]) for name in ("sub", "tenant_id", "sid")):
        raise AuthenticationError
    return Principal(claims["sub"], claims["tenant_id"], claims["role"], version, claims["sid"])
