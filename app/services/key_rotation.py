"""Replacing an API key by one with the same rights, while both work for as long as the change takes."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import Interval, Table, bindparam, text

from app.core.credentials import opaque_tokens
from app.core.errors import NotFound
from app.core.ids import is_id, new_id
from app.db.execution import Connection, Record
from app.db.session import TenantSession
from app.messages.idempotency import KEPT_FOR, IdempotencyKeys, IdempotentRequest
from app.models import ApiKey
from app.models.rows import ApiKeyRow
from app.residency.claims import Claims
from app.residency.directory import Claim
from app.services.api_key_service import NewKey, require_room
from app.services.audit_service import record_by
from app.services.session_service import SessionService

_columns = [column.name for column in cast("Table", ApiKey.__table__).c]
# All that a key is and may is taken over, also what a later version adds; but for these, which are the new one's own.
_NEW = {
    "id": ":new_id",
    "line_id": "COALESCE(api_keys.line_id, api_keys.id)",
    "prefix": ":prefix",
    "key_hash": ":key_hash",
    "last_used_at": "NULL",
    "created_at": "now()",
    "updated_at": "now()",
}
_SHOWN = ", ".join(f"api_keys.{name}" for name in ApiKeyRow.columns())
_OWN = "api_keys.tenant_id = :tenant_id AND api_keys.user_id = :user_id"
_LIVES = "(api_keys.expires_at IS NULL OR api_keys.expires_at > now())"
OLD = text(f"""
SELECT api_keys.key_hash, {_LIVES} AS lives FROM api_keys WHERE {_OWN} AND api_keys.id = :key_id
""")
FOLLOW = text(f"""
INSERT INTO api_keys ({", ".join(_columns)})
SELECT {", ".join(_NEW.get(name, f"api_keys.{name}") for name in _columns)} FROM api_keys
WHERE {_OWN} AND api_keys.id = :key_id AND {_LIVES}
RETURNING {_SHOWN}
""")
END = text(f"""
UPDATE api_keys SET expires_at = LEAST(api_keys.expires_at, now() + :overlap)
WHERE {_OWN} AND api_keys.id = :key_id
""").bindparams(bindparam("overlap", type_=Interval))
# Nobody can send the request again that made its successor: its idempotency key is forgotten by then.
CLEAR = text(f"""
DELETE FROM api_keys
WHERE {_OWN} AND api_keys.expires_at < now() - :kept_for AND COALESCE(api_keys.line_id, api_keys.id) = (
  SELECT COALESCE(k.line_id, k.id) FROM api_keys k WHERE k.tenant_id = :tenant_id AND k.id = :key_id)
""").bindparams(bindparam("kept_for", type_=Interval, value=KEPT_FOR))
MADE = text(f"SELECT {_SHOWN}, api_keys.key_hash FROM api_keys WHERE {_OWN} AND api_keys.id = :key_id")


class OldKeyRow(Record):
    __slots__ = ()

    key_hash: str
    lives: bool


class MadeKeyRow(ApiKeyRow):
    __slots__ = ()

    key_hash: str


class KeyRotation:
    """Of the caller's own keys: who has the secret acts as the key's user."""

    def __init__(
        self,
        db: TenantSession,
        sessions: SessionService,
        claims: Claims,
        keys: IdempotencyKeys,
        secret_keys: Sequence[str],
    ) -> None:
        """`secret_keys`: the present one first."""
        self._db = db
        self._sessions = sessions
        self._claims = claims
        self._keys = keys
        self._secret_keys = secret_keys
        self._own = {"tenant_id": db.principal.tenant_id, "user_id": db.principal.user_id}

    async def rotate(self, key_id: str, overlap: timedelta, request: IdempotentRequest | None) -> NewKey:
        """A key in the place of another, which ends after the overlap, or before if it would have.

        Sent again with its idempotency key it answers the same, the secret included, which is not stored: it follows
        from the server's key, the old key's digest and the idempotency key.

        Raises:
            NotFound: it is no key of the caller's, or has ended.
            FreshLoginRequired, TooManyApiKeys, IdempotencyKeyReused
        """
        await self._sessions.require_fresh(self._db)
        async with self._db.begin() as connection:
            made = await self._keys.look(connection, self._db.principal, request)
            old = await self._old(connection, key_id)
            if made is not None:
                return await self._made(connection, made, old, request)
        if not old.lives:
            raise NotFound
        secret, new_key_id = self._secret(old, request), new_id()
        claim = Claim("api_key", opaque_tokens.digest(secret), new_key_id)
        async with (
            self._claims.hold(self._db.principal.tenant_id, claim) as held,
            self._db.begin() as connection,
        ):
            await held.secure(connection)
            made = await self._keys.claim(connection, self._db.principal, request, new_key_id)
            if made is not None:
                return await self._made(connection, made, old, request)
            row = await self._follow(connection, key_id, claim, secret, overlap)
        return NewKey(row, secret)

    async def _old(self, connection: Connection, key_id: str) -> OldKeyRow:
        found = None
        if is_id(key_id):
            found = (await connection.execute(OLD, {**self._own, "key_id": key_id}, OldKeyRow)).one_or_none()
        if found is None:
            raise NotFound
        return found

    async def _follow(
        self, connection: Connection, key_id: str, claim: Claim, secret: str, overlap: timedelta
    ) -> ApiKeyRow:
        of_old: dict[str, Any] = {**self._own, "key_id": key_id}
        await connection.execute(CLEAR, of_old)
        await require_room(connection, self._db.principal)
        values = {
            "new_id": claim.target_id,
            "prefix": secret[: opaque_tokens.SHOWN_CHARACTERS],
            "key_hash": claim.value,
        }
        row = (await connection.execute(FOLLOW, of_old | values, ApiKeyRow)).one_or_none()
        if row is None:  # it has ended since
            raise NotFound
        await connection.execute(END, of_old | {"overlap": overlap})
        said = {"new_key_id": row.id, "overlap_seconds": round(overlap.total_seconds())}
        await record_by(self._db, connection, "api_key.rotated", key_id, **said)
        return row

    async def _made(
        self, connection: Connection, made: str, old: OldKeyRow, request: IdempotentRequest | None
    ) -> NewKey:
        assert request is not None
        row = (await connection.execute(MADE, {**self._own, "key_id": made}, MadeKeyRow)).one_or_none()
        for secret_key in self._secret_keys:
            secret = opaque_tokens.derived_api_key(secret_key, old.key_hash, request.key)
            if row is not None and opaque_tokens.digest(secret) == row.key_hash:
                return NewKey(row, secret)
        raise NotFound  # revoked since

    def _secret(self, old: OldKeyRow, request: IdempotentRequest | None) -> str:
        if request is None:
            return opaque_tokens.new_api_key()
        return opaque_tokens.derived_api_key(self._secret_keys[0], old.key_hash, request.key)
