"""The two throwaway tenants, furnished: one asks, and whatever is of the other's is unmistakable."""

import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2

from app.core.ids import new_id
from app.verification.callers import KEY_SCOPES
from app.verification.operation import Operation
from app.verification.report import Proof, Report
from app.verification.tenants import ASKING, OTHER, Member, Tenant, ThrowawayTenants
from app.verification.things import THINGS, NotMade, an_email
from app.verification.wire import NotVerified, Wire, said

LETTERS = "bcdfghjklmnpqrtvwxz"
# Enough for a list of them to have a second page.
MADE_TWICE = ("message", "conversation", "document", "user", "api_key", "invite")
# What would be the same for every tenant, or is found in no answer.
UNMARKED = ("model", "provider_key", "doomed_provider_key")
ANONYMOUS = "anonymous"
# Told apart from an answer by nothing that another tenant has a part in.
TOLD = ("content-type", "www-authenticate", "cache-control", "location", "content-disposition")
OFF = 501
NAMED = re.compile(r'"([a-z_]+)":\s*\[?"?[a-z_]*$')
TENANT = re.compile(r'"tenant_id":\s*"([0-9a-f-]{36})"')
ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(slots=True)
class Caller:
    """`member`: whose session it is; None: a key's, or nobody's."""

    kind: str
    headers: dict[str, str]
    member: Member | None = None


@dataclass
class World:
    wire: Wire
    tenants: ThrowawayTenants
    report: Report
    asking: Tenant
    other: Tenant
    rows: list[tuple[Operation, dict[str, Any]]]
    """With what the service's own description says of each."""
    model: str = ""
    mark: str = field(default_factory=lambda: "".join(secrets.choice(LETTERS) for _ in range(16)))
    """Stands in everything that the other writes."""
    theirs: dict[str, str] = field(default_factory=dict)
    marks: set[str] = field(default_factory=set)
    callers: dict[str, Caller] = field(default_factory=dict)
    kept: Proof = field(init=False)

    def __post_init__(self) -> None:
        self.kept = self.report.proof("What a tenant reads may be kept by nobody between")

    async def furnish(self, step: Callable[[str], None], kinds: Iterable[str] = THINGS) -> None:
        """Give the other a thing of each kind, and the asking tenant its callers; raises `NotVerified`."""
        for kind in kinds:
            step(f"the other's {kind.replace('_', ' ')}")
            for _ in range(2 if kind in MADE_TWICE else 1):
                await self._make(kind)
        self.theirs["user"] = self.other.user.id  # who has rows that a leak would show
        for scopes_of, scopes in KEY_SCOPES.items():
            owner = self.asking.admin if "admin" in scopes else self.asking.user
            self.callers[scopes_of] = Caller(scopes_of, await self._key(owner, scopes))
        for kind, member in (("admin", self.asking.admin), ("user", self.asking.user)):
            self.callers[kind] = Caller(kind, {}, member)
        self.callers[ANONYMOUS] = Caller(ANONYMOUS, {})
        self.marks = {self.mark, self.other.name.lower(), self.other.admin.email, self.other.user.email}
        self.marks |= await self._ids_of_the_other() | await self._figures_of_the_other()

    async def _make(self, kind: str) -> None:
        try:
            self.theirs[kind] = await THINGS[kind](self.wire, self.other, self.mark)
        except NotMade as refused:
            if refused.status != OFF:
                raise
            self.report.not_seen(f"{kind.replace('_', ' ')}: this deployment has none ({refused})")

    async def _key(self, owner: Member, scopes: list[str]) -> dict[str, str]:
        body = {"name": "a machine", "scopes": scopes}
        answer = await self.wire.post("/api-keys", json=body, headers=owner.headers)
        if answer.status_code != 201:
            raise NotVerified(f"A throwaway tenant gets no key: {said(answer)}")
        return {"Authorization": f"Bearer {answer.json()['key']}"}

    async def export_of(self, tenant: Tenant) -> list[dict[str, Any]]:
        """All that a tenant owns; raises `NotVerified`."""
        answer = await self.send("get", f"/tenants/{tenant.id}/export", Caller("admin", {}, tenant.admin))
        lines = [json.loads(line) for line in answer.text.splitlines()] if answer.status_code == 200 else []
        if not lines or lines[-1].get("type") != "end":
            raise NotVerified(f"A throwaway tenant's export was cut: {said(answer)}")
        return lines[:-1]

    async def _ids_of_the_other(self) -> set[str]:
        return {
            value.lower()
            for line in await self.export_of(self.other)
            for name, value in line.items()
            if isinstance(value, str) and value and (name == "id" or name.endswith("_id"))
        } - {self.asking.id}

    async def _figures_of_the_other(self) -> set[str]:
        """What its settings alone say: a limit that nobody else has, and how its webhooks are signed."""
        admin, figures = Caller("admin", {}, self.other.admin), set()
        limit = 10**12 + secrets.randbelow(10**12)
        if (await self.send("PUT", "/admin/budget", admin, json={"limit_micro_usd": limit})).is_success:
            figures.add(str(limit))
        secret = await self.send("GET", "/admin/webhook-secret", admin)
        if secret.is_success:
            figures.add(str(secret.json()["secret"]).lower())
        return figures

    # --- asking

    async def send(self, method: str, path: str, caller: Caller, **options: Any) -> httpx2.Response:
        """As a caller, whose session is begun again where it is too old for what is asked."""
        headers = options.pop("headers", {})

        async def ask() -> httpx2.Response:
            own = caller.member.headers if caller.member else caller.headers
            return await self.wire.request(method, path, headers={**own, **headers}, **options)

        answer = await ask()
        if caller.member is not None and (answer.status_code == 401 or "fresh-login-required" in answer.text):
            await self.tenants.renew(caller.member)
            answer = await ask()
        return answer

    async def call(
        self,
        operation: Operation,
        caller: Caller,
        *,
        target: str = "",
        body: dict[str, Any] | None = None,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx2.Response:
        """Call an operation as its row says."""
        content = self.body_of(operation, self.asking) if body is None else body
        self.report.called[operation.name] = self.report.called.get(operation.name, 0) + 1
        return await self.send(
            operation.method.upper(),
            operation.path_to(target),
            caller,
            params={**self._filled_query(operation), **(query or {})},
            headers=headers or {},
            **({} if content is None else {"data" if operation.form else "json": content}),
        )

    async def as_the_other(self, operation: Operation, target: str = "", **query: str) -> httpx2.Response:
        """A read of what is the other's own. Who stands between must not keep it for the next one."""
        answer = await self.call(operation, Caller("admin", {}, self.other.admin), target=target, query=query)
        if answer.is_success:
            self.kept.tried += 1
            kept = answer.headers.get("cache-control", "").lower()
            if "no-store" not in kept and "private" not in kept:
                self.kept.leak(f"{operation.name} is answered with `Cache-Control: {kept}`: a proxy may keep it")
        return answer

    def body_of(self, operation: Operation, tenant: Tenant) -> dict[str, Any] | None:
        """The row's body; an id in it is nobody's."""
        body = operation.filled(lambda kind: self._value(kind, tenant))
        return {**body, "model": self.model} if body and "model" in body else body

    def _value(self, kind: str, tenant: Tenant) -> str:
        values = {
            "email": an_email(),
            "name": f"{tenant.name} {new_id()}",
            "password": tenant.admin.password,
            "new_password": f"{tenant.admin.password}!",
            "tenant": tenant.id,
            "no": "false",
            # To erase another's tenant its name is needed: the worst that somebody can know.
            "tenant_name": self.other.name,
        }
        return values.get(kind, new_id())

    def _filled_query(self, operation: Operation) -> dict[str, str]:
        return {name: self._value(kind.strip("<>"), self.asking) for name, kind in operation.query.items()}

    def those(self, wanted: Callable[[Operation], bool]) -> Iterator[tuple[Operation, dict[str, Any]]]:
        return ((row, described) for row, described in self.rows if wanted(row))

    # --- judging

    def look(self, proof: Proof, answer: httpx2.Response, what: str) -> bool:
        """Count the answer; whether it is one, and has nothing of the other's."""
        proof.tried += 1
        return self._is_clean(proof, answer, what)

    def compare(self, proof: Proof, answer: httpx2.Response, nobodys: httpx2.Response, what: str) -> None:
        """What is another tenant's must be answered to the byte as what nobody has."""
        proof.tried += 1
        clean = self._is_clean(proof, answer, what) and self._is_clean(proof, nobodys, f"{what}, with nobody's")
        if clean and told(answer) != told(nobodys):
            proof.leak(f"{what}: it is answered otherwise than what nobody has")

    def _is_clean(self, proof: Proof, answer: httpx2.Response, what: str) -> bool:
        if answer.status_code >= 500 and answer.status_code != OFF:
            proof.failure(f"{what} was answered with {answer.status_code}")
            return False
        text = f"{answer.headers} {answer.text}".lower()
        found = next((mark for mark in sorted(self.marks) if mark in text), None) or self._stranger_in(text)
        if found is None:
            return True
        # Nothing around it: it may be of somebody who is no throwaway tenant.
        name = NAMED.search(text[: text.index(found)])
        place = f", as `{name[1]}`" if name else ""
        proof.leak(f"{what} was answered with something of another tenant's ({answer.status_code}{place}): {found}")
        return False

    def _stranger_in(self, text: str) -> str | None:
        """A tenant that is neither of the two."""
        return next((tenant for tenant in TENANT.findall(text) if tenant != self.asking.id), None)

    def shows_the_other(self, answer: httpx2.Response) -> bool:
        return answer.status_code < 300 and any(mark in answer.text.lower() for mark in self.marks)


def told(answer: httpx2.Response) -> tuple[int, dict[str, str], str]:
    """All that an answer tells, less its request id, its time and what a proxy says of itself."""
    headers = {name: value for name, value in answer.headers.items() if name in TOLD}
    text = answer.text
    for name in ("x-request-id", "request-id"):
        if given := answer.headers.get(name):
            text = text.replace(given, "")
    return answer.status_code, headers, text


def unlike(theirs: str) -> str:
    """Something of the same form that nobody has."""
    if ID.search(theirs):
        return ID.sub(lambda _: new_id(), theirs)
    return "".join(secrets.choice(LETTERS) for _ in theirs)


async def two_tenants(tenants: ThrowawayTenants) -> tuple[Tenant, Tenant]:
    asking, other = await tenants.make(ASKING), await tenants.make(OTHER)
    for tenant in (asking, other):
        tenant.user = await tenants.add_user(tenant)
    return asking, other
