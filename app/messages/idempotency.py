"""Idempotency keys: the same key and request make one thing, however often they are sent.

A key is claimed in the transaction that makes the thing, so both are there or neither. What is kept is the thing's id:
a replay answers with the thing as it is, also after the process that made it was killed.
"""

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Interval, bindparam, text

from app.core.errors import IdempotencyKeyReused
from app.core.principal import Principal
from app.db.execution import Connection, Record

KEPT_FOR = timedelta(hours=24)

# An expired key is as good as none. A claim that is not committed yet is waited for.
CLAIM_SQL = """
INSERT INTO idempotency_keys (tenant_id, user_id, key, request_hash, resource_id, expires_at)
VALUES (:tenant_id, :user_id, :key, :request_hash, :resource_id, now() + :kept_for)
ON CONFLICT (tenant_id, user_id, key) DO UPDATE SET
  request_hash = excluded.request_hash, resource_id = excluded.resource_id, expires_at = excluded.expires_at
WHERE idempotency_keys.tenant_id = :tenant_id AND idempotency_keys.expires_at < now()
RETURNING resource_id
"""
CLAIM = text(CLAIM_SQL).bindparams(bindparam("kept_for", type_=Interval))
FIND = text("""
SELECT idempotency_keys.request_hash, idempotency_keys.resource_id FROM idempotency_keys
WHERE idempotency_keys.tenant_id = :tenant_id AND idempotency_keys.user_id = :user_id AND idempotency_keys.key = :key
""")
LOOK = text(f"{FIND.text.rstrip()} AND idempotency_keys.expires_at >= now()")


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """A caller's key, and what tells one request from another: the operation and its input, secrets left out."""

    key: str
    canonical: bytes

    @classmethod
    def of(cls, key: str | None, operation: str, request: dict[str, Any]) -> "IdempotentRequest | None":
        if key is None:
            return None
        return cls(key, json.dumps([operation, request], sort_keys=True).encode())


class MadeRow(Record):
    """What a key made, and from which request."""

    __slots__ = ()

    request_hash: str
    resource_id: str


class IdempotencyKeys:
    """What is kept of a request is a keyed hash: a plain one would let whoever reads it guess short inputs.

    `secret_keys`: the present one first; what was kept under those before it is recognised.
    """

    def __init__(self, secret_keys: Sequence[str]) -> None:
        self._secret_keys = tuple(key.encode() for key in secret_keys)

    def parameters(self, request: IdempotentRequest, principal: Principal, resource_id: str) -> dict[str, Any]:
        """Of the claim, for the thing that is about to be made."""
        kept = {"request_hash": _keyed_hash(self._secret_keys[0], request, principal), "kept_for": KEPT_FOR}
        return {**_owned(request, principal), **kept, "resource_id": resource_id}

    async def claim(
        self, connection: Connection, principal: Principal, request: IdempotentRequest | None, resource_id: str
    ) -> str | None:
        """Claim the key for the thing that is about to be made; the id of what it made before, if it did.

        Raises:
            IdempotencyKeyReused: with another request.
        """
        if request is None:
            return None
        claimed = await connection.execute(CLAIM, self.parameters(request, principal, resource_id))
        return await self.made_before(connection, principal, request) if claimed.one_or_none() is None else None

    async def made_before(self, connection: Connection, principal: Principal, request: IdempotentRequest) -> str:
        """The id of what a key made that could not be claimed; raises `IdempotencyKeyReused`."""
        return self._same(
            (await connection.execute(FIND, _owned(request, principal), MadeRow)).one(), request, principal
        )

    async def look(self, connection: Connection, principal: Principal, request: IdempotentRequest | None) -> str | None:
        """The id of what the key has made, claiming nothing: before work that a replay needs not; else as `claim`."""
        if request is None:
            return None
        found = (await connection.execute(LOOK, _owned(request, principal), MadeRow)).one_or_none()
        return None if found is None else self._same(found, request, principal)

    def _same(self, found: MadeRow, request: IdempotentRequest, principal: Principal) -> str:
        if found.request_hash not in {_keyed_hash(key, request, principal) for key in self._secret_keys}:
            raise IdempotencyKeyReused
        return found.resource_id


def _owned(request: IdempotentRequest, principal: Principal) -> dict[str, str]:
    return {"tenant_id": principal.tenant_id, "user_id": principal.user_id, "key": request.key}


def _keyed_hash(secret_key: bytes, request: IdempotentRequest, principal: Principal) -> str:
    """A replay shows what was made: a key that may not read repeats its own requests, and no other credential's."""
    sender = b"" if "messages:read" in principal.scopes else f"{principal.key_id}:".encode()
    return hmac.digest(secret_key, b"idempotency:" + sender + request.canonical, hashlib.sha256).hex()
