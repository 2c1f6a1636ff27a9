"""Idempotency keys: the same key and request make one thing, however often they are sent.

A key is claimed in the transaction that makes the thing, so both are there or neither. What is kept is the thing's id:
a replay answers with the thing as it is, also after the process that made it was killed.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Interval, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.errors import IdempotencyKeyReused
from app.core.principal import Principal

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


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """A caller's key, and what tells one request from another: the operation and its input."""

    key: str
    request_hash: str

    @classmethod
    def of(cls, key: str | None, operation: str, request: dict[str, Any]) -> "IdempotentRequest | None":
        if key is None:
            return None
        canonical = json.dumps([operation, request], sort_keys=True).encode()
        return cls(key, hashlib.sha256(canonical).hexdigest())

    def parameters(self, principal: Principal, resource_id: str) -> dict[str, Any]:
        """Of the claim, for the thing that is about to be made."""
        owner = {"tenant_id": principal.tenant_id, "user_id": principal.user_id, "key": self.key}
        return {**owner, "request_hash": self.request_hash, "resource_id": resource_id, "kept_for": KEPT_FOR}


async def claim(
    connection: AsyncConnection, principal: Principal, request: IdempotentRequest | None, resource_id: str
) -> str | None:
    """Claim the key for the thing that is about to be made; the id of what it made before, if it did.

    Raises:
        IdempotencyKeyReused: with another request.
    """
    if request is None:
        return None
    claimed = await connection.execute(CLAIM, request.parameters(principal, resource_id))
    return await made_before(connection, principal, request) if claimed.one_or_none() is None else None


async def made_before(connection: AsyncConnection, principal: Principal, request: IdempotentRequest) -> str:
    """The id of what a key made that could not be claimed; raises `IdempotencyKeyReused`."""
    owner = {"tenant_id": principal.tenant_id, "user_id": principal.user_id, "key": request.key}
    found = (await connection.execute(FIND, owner)).one()
    if found.request_hash != request.request_hash:
        raise IdempotencyKeyReused
    return str(found.resource_id)
