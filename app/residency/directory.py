"""The directory of several regions: where a tenant lives, and whose an email, a tenant's name and an API key is.

It lives in the first region's database and holds no plaintext: values are hashed with a secret that stands there too,
sealed by the server's key. So that key may be rotated, and every hash stays what it is.
"""

import base64
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from cryptography.fernet import Fernet, InvalidToken
from sqlalchemy import Boolean, Integer, Interval, bindparam, text

from app.core.errors import DatabaseUnavailable
from app.db import rls
from app.db.execution import Row
from app.db.session import Database

Kind = Literal["email", "tenant_name", "api_key"]
Claimed = Literal["free", "own", "taken"]

# Longer than a request may take between claiming a value and storing it.
CLAIM_LIFE = timedelta(seconds=60)
TENANTS_KEPT = 100_000

# By SECURITY DEFINER functions: the runtime role may read and write none of these tables.
SECRET = text("SELECT directory_secret(:sealed)")
RESEAL = text("SELECT directory_reseal(:old, :new)")
TENANT = text("SELECT directory_tenant(:tenant_id)")
FIND = text("SELECT tenant_id, region FROM directory_find(:kind, :hash)")
CLAIM = text(
    "SELECT owner_id AS tenant_id, owner_region AS region, owned_id AS target_id, doubtful"
    " FROM directory_claim(:tenant_id, :region, :kind, :hash, :target_id, :life)"
).bindparams(bindparam("life", type_=Interval))
SETTLE = text("SELECT directory_settle(:kind, :hash, :target_id, :stands)").bindparams(
    bindparam("stands", type_=Boolean)
)
DOUBTFUL = text("SELECT kind, hash, target_id, tenant_id, region FROM directory_doubtful(:most)").bindparams(
    bindparam("most", type_=Integer)
)
FORGET = text("SELECT directory_forget(:tenant_id, :region)")

# What a value's owner has of it, in its own region.
HELD = {
    "email": text("SELECT users.email FROM users WHERE users.tenant_id = :tenant_id AND users.id = :target_id"),
    "tenant_name": text("SELECT tenants.name FROM tenants WHERE tenants.id = :tenant_id AND tenants.id = :target_id"),
    "api_key": text(
        "SELECT api_keys.key_hash FROM api_keys WHERE api_keys.tenant_id = :tenant_id AND api_keys.id = :target_id"
    ),
}
# Whoever stores a claimed value holds it until its transaction ends, and whoever asks waits for that.
LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")


@dataclass(frozen=True, slots=True)
class Claim:
    """What is to be one's own over all regions; `target_id` is the user, tenant or key that has it."""

    kind: Kind
    value: str
    target_id: str


class Directory:
    """`databases`: of each region, the first one's holding the directory. `secret_keys`: the present one first."""

    def __init__(self, databases: Mapping[str, Database], secret_keys: Sequence[str]) -> None:
        self._databases = databases
        self._home = next(iter(databases.values()))
        self._seals = [Fernet(_sealing_key(key)) for key in secret_keys]
        self._secret = b""
        self._known: OrderedDict[str, str] = OrderedDict()

    async def open(self) -> None:
        """Learn the secret, or make it; raises `ValueError` if no key of this process opens it."""
        present, *_ = self._seals
        made = present.encrypt(secrets.token_bytes(32)).decode()
        async with self._home.session(rls.ENTER_NO_TENANT) as connection:
            sealed: str = (await connection.execute(SECRET, {"sealed": made})).scalar_one()
            opened = next((seal for seal in self._seals if _opens(seal, sealed)), None)
            if opened is None:
                raise ValueError("neither it nor PREVIOUS_SECRET_KEYS opens the directory of the regions")
            self._secret = opened.decrypt(sealed)
            if opened is not present:  # the key before may go now
                renewed = present.encrypt(self._secret).decode()
                await connection.execute(RESEAL, {"old": sealed, "new": renewed})

    def hash_of(self, kind: str, value: str) -> str:
        return hmac.new(self._secret, f"{kind}|{value}".encode(), hashlib.sha256).hexdigest()

    # --- where

    def last_heard(self, tenant_id: str) -> str | None:
        """Where the tenant lived when this process last asked."""
        return self._known.get(tenant_id)

    async def region_of(self, tenant_id: str) -> str | None:
        """Where the tenant lives; None: nobody knows it."""
        async with self._home.session(rls.ENTER_NO_TENANT) as connection:
            region: str | None = (await connection.execute(TENANT, {"tenant_id": tenant_id})).scalar_one()
        self.remember(tenant_id, region)
        return region

    async def find(self, kind: Kind, value: str) -> tuple[str, str] | None:
        """The tenant that has the value, and its region."""
        values = {"kind": kind, "hash": self.hash_of(kind, value)}
        async with self._home.session(rls.ENTER_NO_TENANT) as connection:
            found = (await connection.execute(FIND, values)).one_or_none()
        if found is None:
            return None
        self.remember(found.tenant_id, found.region)
        return found.tenant_id, found.region

    def remember(self, tenant_id: str, region: str | None) -> None:
        if region is None:
            self._known.pop(tenant_id, None)
            return
        self._known[tenant_id] = region
        if len(self._known) > TENANTS_KEPT:
            self._known.popitem(last=False)

    def forget(self, tenant_id: str) -> None:
        """Ask again the next time."""
        self._known.pop(tenant_id, None)

    # --- whose

    async def claim(self, tenant_id: str, region: str, claim: Claim) -> Claimed:
        """Whether the value is `free`, and from now on the tenant's to store within `CLAIM_LIFE`, or its own already.

        One that is another's is asked for: what its owner's region has no more, as after a deletion, is free.
        """
        hashed = self.hash_of(claim.kind, claim.value)
        values = {"tenant_id": tenant_id, "region": region, "kind": claim.kind, "hash": hashed}
        for _ in range(2):
            async with self._home.session(rls.ENTER_NO_TENANT) as connection:
                given = {**values, "target_id": claim.target_id, "life": CLAIM_LIFE}
                owner = (await connection.execute(CLAIM, given)).one_or_none()
            if owner is None:
                self.remember(tenant_id, region)
                return "free"
            if not owner.doubtful:
                return "taken"
            if await self._still_held(claim.kind, hashed, owner):
                return "own" if owner.target_id == claim.target_id else "taken"
            await self.settle(claim.kind, hashed, owner.target_id, stands=False)
        return "taken"

    async def settle(self, kind: str, hashed: str, target_id: str, *, stands: bool) -> None:
        """Confirm a claim, or give it up."""
        values = {"kind": kind, "hash": hashed, "target_id": target_id, "stands": stands}
        async with self._home.background(rls.ENTER_NO_TENANT) as connection:
            await connection.execute(SETTLE, values)

    async def forget_tenant(self, tenant_id: str, region: str) -> None:
        """Of a tenant that is no more nothing stays, its claims included; one that has moved lives on elsewhere."""
        self.forget(tenant_id)
        async with self._home.background(rls.ENTER_NO_TENANT) as connection:
            await connection.execute(FORGET, {"tenant_id": tenant_id, "region": region})

    async def settle_doubtful(self, most: int = 100) -> int:
        """Ask the regions about claims that nobody confirmed or gave up in time; how many are settled."""
        async with self._home.background(rls.ENTER_NO_TENANT) as connection:
            doubtful = (await connection.execute(DOUBTFUL, {"most": most})).all()
        settled = 0
        for claim in doubtful:
            try:
                stands = await self._ask(claim.kind, claim.hash, claim)
            except DatabaseUnavailable:
                continue
            await self.settle(claim.kind, claim.hash, claim.target_id, stands=stands)
            settled += 1
        return settled

    async def _still_held(self, kind: str, hashed: str, owner: Row) -> bool:
        try:
            return await self._ask(kind, hashed, owner)
        except DatabaseUnavailable:  # nobody can tell
            return True

    async def _ask(self, kind: str, hashed: str, owner: Row) -> bool:
        """Whether the owner's region has the value, now and with all that is under way."""
        database = self._databases.get(owner.region)
        if database is None:
            return True
        async with database.background(rls.enter_tenant(owner.tenant_id)) as connection:
            await connection.execute(LOCK, {"name": lock_of(kind, hashed)})
            values = {"tenant_id": owner.tenant_id, "target_id": owner.target_id}
            held = (await connection.execute(HELD[kind], values)).scalar_one_or_none()
        return held is not None and self.hash_of(kind, held) == hashed


def lock_of(kind: str, hashed: str) -> str:
    return f"{kind} {hashed}"


def _sealing_key(secret_key: str) -> bytes:
    return base64.urlsafe_b64encode(hashlib.sha256(f"directory|{secret_key}".encode()).digest())


def _opens(seal: Fernet, sealed: str) -> bool:
    try:
        seal.decrypt(sealed)
    except InvalidToken:
        return False
    return True
