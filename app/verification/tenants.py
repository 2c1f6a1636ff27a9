"""Two throwaway tenants: made by what the deployment allows, and erased whatever happens.

Names, emails and passwords of a deployment's throwaway tenants come from its `SECRET_KEY`. So a later run finds what a
killed one left, and can prove that it made it: it knows its password, which nobody else can.
"""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from app.verification.wire import NotVerified, Wire, said

PURPOSE = "verify-isolation"
ASKING, OTHER = "asking", "other"
SIDES = (ASKING, OTHER)
# What is being erased keeps its name for a while.
SLOTS = range(3)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Of a throwaway tenant's first admin."""

    tenant_name: str
    email: str
    password: str

    @classmethod
    def of(cls, secret_key: str, side: str, slot: int) -> "Credentials":
        def derived(what: str) -> str:
            return hmac.new(secret_key.encode(), f"{PURPOSE} {side} {slot} {what}".encode(), hashlib.sha256).hexdigest()

        tag = derived("name")[:16]
        return cls(f"{PURPOSE} {side} {tag}", f"admin-{tag}@{PURPOSE}.test", derived("password"))


@dataclass(slots=True)
class Member:
    """A user, logged in."""

    id: str
    email: str
    password: str
    tenant_id: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@dataclass(slots=True)
class Tenant:
    id: str
    name: str
    admin: Member
    user: Member = field(init=False)
    """Who is no admin."""


# False: its name is taken.
CreateInDatabase = Callable[[Credentials], Awaitable[bool]]


class ThrowawayTenants:
    """`create` makes one in the database, for who may not by the interface; None: this command cannot either."""

    def __init__(
        self,
        wire: Wire,
        secret_keys: Sequence[str],
        operator_token: str = "",
        create: CreateInDatabase | None = None,
    ) -> None:
        self._wire = wire
        self._secret_keys = secret_keys
        self._operator_token = operator_token
        self._create = create

    async def make(self, side: str) -> Tenant:
        """Raises `NotVerified` where the deployment lets this command make none."""
        for slot in SLOTS:
            credentials = Credentials.of(self._secret_keys[0], side, slot)
            if await self._made(credentials):
                admin = await self.log_in(credentials.email, credentials.password)
                return Tenant(admin.tenant_id, credentials.tenant_name, admin)
        raise NotVerified("Throwaway tenants of former runs are still being erased. Try again in some minutes.")

    async def _made(self, credentials: Credentials) -> bool:
        """False: its name is taken."""
        admin = {"email": credentials.email, "password": credentials.password}
        headers = {"Authorization": f"Bearer {self._operator_token}"} if self._operator_token else {}
        body = {"name": credentials.tenant_name, "admin": admin}
        answer = await self._wire.post("/create-tenant", json=body, headers=headers)
        if answer.status_code in (201, 409):
            return answer.status_code == 201
        if self._create is None:
            raise NotVerified(f"No throwaway tenant can be made: {said(answer)}. Set OPERATOR_TOKEN, or DATABASE_URL.")
        return await self._create(credentials)

    async def log_in(self, email: str, password: str) -> Member:
        """Raises `NotVerified`."""
        if (member := await self._logged_in(email, password)) is None:
            raise NotVerified(f"{self._wire.url}: a throwaway tenant's user cannot log in")
        return member

    async def _logged_in(self, email: str, password: str) -> Member | None:
        answer = await self._wire.post("/login", json={"email": email, "password": password})
        if answer.status_code == 401:
            return None
        if answer.status_code != 200:
            raise NotVerified(f"{self._wire.url} lets nobody log in: {said(answer)}")
        body = answer.json()
        return Member(body["user"]["id"], email, password, body["user"]["tenant_id"], body["access_token"])

    async def renew(self, member: Member) -> None:
        """Log in again."""
        member.token = (await self.log_in(member.email, member.password)).token

    async def add_user(self, tenant: Tenant) -> Member:
        email = tenant.admin.email.replace("admin-", "user-")
        body = {"email": email, "password": tenant.admin.password, "role": "user"}
        answer = await self._wire.post("/admin/users", json=body, headers=tenant.admin.headers)
        if answer.status_code != 201:
            raise NotVerified(f"A throwaway tenant gets no user: {said(answer)}")
        return await self.log_in(email, tenant.admin.password)

    async def erase_all(self) -> int:
        """Erase what this run or a former one made, under whichever of the keys; how many there were."""
        count = 0
        for secret_key in self._secret_keys:
            for side in SIDES:
                for slot in SLOTS:
                    count += await self._erased(Credentials.of(secret_key, side, slot))
        return count

    async def _erased(self, credentials: Credentials) -> bool:
        admin = await self._logged_in(credentials.email, credentials.password)
        if admin is None:
            return False
        path = f"/tenants/{admin.tenant_id}"
        # Whatever it is called by now: who knows the password is whom it was made for.
        name = (await self._wire.get(path, headers=admin.headers)).json().get("name", "")
        answer = await self._wire.delete(path, params={"name": name}, headers=admin.headers)
        if answer.status_code != 204:
            raise NotVerified(f"Throwaway tenant {admin.tenant_id} is left behind: {said(answer)}")
        return True
