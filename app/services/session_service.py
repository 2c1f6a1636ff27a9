"""Sessions: what a login begins, a refresh token continues, and a logout ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import Interval, String, bindparam, text

from app.core.credentials import opaque_tokens
from app.core.errors import AuthenticationError, FreshLoginRequired, InvalidCredentials, InvalidRefreshToken
from app.core.ids import new_id
from app.core.principal import Origin, Principal
from app.core.security import TokenService
from app.db import rls
from app.db.execution import Connection
from app.db.session import Database, TenantSession
from app.models.rows import UserRow
from app.residency.places import Places
from app.services.audit_service import Actor, record, record_by
from app.services.user_service import SELECT_USER

# Several requests of one client may refresh at once, or again because an answer was lost.
GRACE = timedelta(seconds=10)
SESSIONS_PER_USER = 100

# The lock makes a login take turns with a change of password and with disabling: whichever comes second sees the other,
# so no session outlives them that the old password began.
BEGIN = text("""
INSERT INTO sessions (id, tenant_id, user_id, token_hash, expires_at)
SELECT :id, users.tenant_id, users.id, :token_hash, now() + :life FROM users
WHERE users.tenant_id = :tenant_id AND users.id = :user_id AND users.token_version = :version
  AND users.disabled_at IS NULL FOR SHARE
RETURNING sessions.id
""").bindparams(bindparam("life", type_=Interval), *(bindparam(name, type_=String) for name in ("id", "token_hash")))
# Who logs in for each request leaves no heap behind. A range and no join: see `erase_service`.
END_OLDEST = text("""
WITH newest_to_end AS (
  SELECT s.created_at, s.id FROM sessions s WHERE s.tenant_id = :tenant_id AND s.user_id = :user_id
  ORDER BY s.created_at DESC, s.id DESC OFFSET :kept LIMIT 1
)
DELETE FROM sessions WHERE sessions.tenant_id = :tenant_id AND sessions.user_id = :user_id
  AND (sessions.created_at, sessions.id)
    <= ((SELECT newest_to_end.created_at FROM newest_to_end), (SELECT newest_to_end.id FROM newest_to_end))
""")
# Across tenants, by a SECURITY DEFINER function: the session says whose it is.
LOOKUP = text("SELECT user_id, tenant_id, role, token_version FROM session_lookup(:session_id)")
# Of any number at once, one finds the token live.
ROTATE = text("""
UPDATE sessions SET token_hash = :successor, salt = :salt, previous_hash = sessions.token_hash, rotated_at = now(),
       expires_at = LEAST(now() + :life, sessions.created_at + :longest), updated_at = now()
WHERE sessions.tenant_id = :tenant_id AND sessions.id = :id AND sessions.token_hash = :presented
RETURNING sessions.expires_at - now() AS life
""").bindparams(bindparam("life", type_=Interval), bindparam("longest", type_=Interval))
JUST_ROTATED = text("""
SELECT sessions.token_hash, sessions.salt, sessions.expires_at - now() AS life FROM sessions
WHERE sessions.tenant_id = :tenant_id AND sessions.id = :id AND sessions.previous_hash = :presented
  AND sessions.rotated_at > now() - :grace
""").bindparams(bindparam("grace", type_=Interval))
IS_FRESH = text("""
SELECT sessions.created_at > now() - :fresh FROM sessions
WHERE sessions.tenant_id = :tenant_id AND sessions.id = :id
""").bindparams(bindparam("fresh", type_=Interval))
END = text("DELETE FROM sessions WHERE sessions.tenant_id = :tenant_id AND sessions.id = :id RETURNING sessions.id")
END_ALL = text("DELETE FROM sessions WHERE sessions.tenant_id = :tenant_id AND sessions.user_id = :user_id")
logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Granted:
    """An access token with its user, and the refresh token for the next; both lives in seconds."""

    access_token: str
    expires_in: int
    refresh_token: str
    refresh_expires_in: int
    user: UserRow


@dataclass(frozen=True, slots=True)
class SessionLives:
    """How long a session lasts without a refresh, and with however many; and how long a password is just given."""

    refreshed: timedelta
    longest: timedelta
    fresh: timedelta


class SessionService:
    """`secret_keys`: the present one, and those before it.

    `life` is how long a session lasts without a refresh, `longest` how long with however many, and `fresh` how long a
    password counts as just given.
    """

    def __init__(
        self,
        places: Places,
        tokens: TokenService,
        secret_keys: Sequence[str],
        lives: SessionLives,
    ) -> None:
        self._places = places
        self._tokens = tokens
        self._secret_keys = secret_keys
        self._life = min(lives.refreshed, lives.longest)
        self._longest = lives.longest
        self._fresh = lives.fresh

    async def begin(self, connection: Connection, user: Principal) -> Granted:
        """Begin a session of a user who has just proved who it is, in the present transaction.

        Raises:
            InvalidCredentials: what proved it was changed meanwhile, or the user is gone.
        """
        session_id = new_id()
        owner = {"tenant_id": user.tenant_id, "user_id": user.user_id}
        token = opaque_tokens.new_refresh_token(session_id, self._secret_keys[0])
        values = {**owner, "id": session_id, "token_hash": opaque_tokens.digest(token), "life": self._life}
        if (await connection.execute(BEGIN, {**values, "version": user.token_version})).one_or_none() is None:
            raise InvalidCredentials
        await connection.execute(END_OLDEST, {**owner, "kept": SESSIONS_PER_USER})
        return await self._grant(connection, _in_session(user, session_id), token, self._life)

    async def refresh(self, refresh_token: str, origin: Origin) -> Granted:
        """The next access and refresh token.

        A token serves once. Whoever sends it again within the grace gets the same successor; later, somebody else has
        it too, and the session ends for both. One that was never ours ends nothing: knowing a session's id is no right.

        Raises:
            InvalidRefreshToken: there is no such session (any more), or the token was used before.
        """
        session_id = opaque_tokens.session_of(refresh_token)
        if not session_id:
            raise InvalidRefreshToken
        database = (await self._places.of_session(session_id)).database
        principal = await self._owner_of(database, session_id)
        try:
            async with database.session(rls.enter_as(principal), principal.tenant_id) as connection:
                rotated = await self._rotate(connection, principal, refresh_token)
                if rotated is not None:
                    if rotated[1] <= timedelta():  # longer ago than a session may last by now
                        raise InvalidRefreshToken
                    return await self._grant(connection, principal, *rotated)
                if opaque_tokens.was_ours(refresh_token, self._secret_keys):
                    await self._end_reused(connection, principal, origin)
        except AuthenticationError:
            raise InvalidRefreshToken from None
        raise InvalidRefreshToken

    async def require_fresh(self, db: TenantSession) -> None:
        """Raise `FreshLoginRequired` unless the caller's session began, with the password, a short while ago."""
        values = {"tenant_id": db.principal.tenant_id, "id": db.principal.session_id, "fresh": self._fresh}
        async with db.begin() as connection:
            fresh = (await connection.execute(IS_FRESH, values)).scalar_one_or_none()
        if fresh is None:  # ended since the transaction began
            raise AuthenticationError
        if not fresh:
            raise FreshLoginRequired

    async def end(self, db: TenantSession, *, everywhere: bool) -> None:
        """End the caller's session, or all of its user's."""
        values = {"tenant_id": db.principal.tenant_id, "id": db.principal.session_id, "user_id": db.principal.user_id}
        async with db.begin() as connection:
            await connection.execute(END_ALL if everywhere else END, values)
            await record_by(db, connection, "session.ended", db.principal.session_id, everywhere=everywhere)

    async def _end_reused(self, connection: Connection, principal: Principal, origin: Origin) -> None:
        key = {"tenant_id": principal.tenant_id, "id": principal.session_id}
        if (await connection.execute(END, key)).one_or_none() is None:
            return  # ended a moment ago, which is why the token was not found live
        await record(connection, Actor.of(principal, origin), "session.reuse_detected", principal.session_id)
        logger.warning("refresh_token_reused", tenant_id=principal.tenant_id, user_id=principal.user_id)

    async def _owner_of(self, database: Database, session_id: str) -> Principal:
        async with database.session(rls.ENTER_NO_TENANT) as connection:
            found = (await connection.execute(LOOKUP, {"session_id": session_id})).one_or_none()
        if found is None:
            raise InvalidRefreshToken
        return Principal(found.user_id, found.tenant_id, found.role, found.token_version, session_id)

    async def _rotate(
        self, connection: Connection, principal: Principal, refresh_token: str
    ) -> tuple[str, timedelta] | None:
        """The successor of a token that is live, or was until a moment ago, and its life; None: it is neither."""
        salt = opaque_tokens.new_salt()
        successor = opaque_tokens.successors(refresh_token, salt, self._secret_keys)[0]
        key = {"tenant_id": principal.tenant_id, "id": principal.session_id}
        key["presented"] = opaque_tokens.digest(refresh_token)
        values = {**key, "successor": opaque_tokens.digest(successor), "salt": salt}
        lives = {"life": self._life, "longest": self._longest}
        if (rotated := (await connection.execute(ROTATE, {**values, **lives})).one_or_none()) is not None:
            return successor, rotated.life
        current = (await connection.execute(JUST_ROTATED, {**key, "grace": GRACE})).one_or_none()
        if current is None:
            return None
        for token in opaque_tokens.successors(refresh_token, current.salt or "", self._secret_keys):
            if opaque_tokens.digest(token) == current.token_hash:
                return token, current.life
        raise InvalidRefreshToken  # derived by a process with a key that this one lacks: no reuse

    async def _grant(
        self, connection: Connection, principal: Principal, refresh_token: str, life: timedelta
    ) -> Granted:
        identity = {"tenant_id": principal.tenant_id, "id": principal.user_id}
        user = (await connection.execute(SELECT_USER, identity, UserRow)).one_or_none()
        if user is None:  # deleted since the transaction began
            raise AuthenticationError
        access_token = self._tokens.mint(principal)
        return Granted(access_token, self._tokens.expires_in, refresh_token, round(life.total_seconds()), user)


def _in_session(user: Principal, session_id: str) -> Principal:
    return Principal(user.user_id, user.tenant_id, user.role, user.token_version, session_id)
