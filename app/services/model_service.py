"""The models of a caller: those that its tenant allows and, with an API key, that the key was made for.

What a tenant allows is no trip's errand: a message is made by what this process remembers of it, and storing it says
whether that still holds. Who is refused by what is remembered is only refused once the database has said so too.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from app.core.errors import AuthenticationError, ModelNotFound
from app.db.execution import Connection
from app.db.session import TenantSession
from app.llm.catalogue import Model
from app.llm.policy import ANYTHING, ModelPolicy, usable
from app.services.llm_service import LLMService

TENANTS_KEPT = 10_000
POLICY = text("""
SELECT tenants.allowed_models, tenants.default_model, tenants.message_retention_days = 0
FROM tenants WHERE tenants.id = :tenant_id
""")


class Outdated(Exception):
    """What was remembered of the tenant does not hold any more; now it is known."""


class ModelPolicies:
    """What this process remembers of tenants."""

    def __init__(self) -> None:
        self._tenants: OrderedDict[str, ModelPolicy] = OrderedDict()

    def known(self, tenant_id: str) -> ModelPolicy:
        """Of a tenant that nobody has asked for it allows all: most do."""
        return self._tenants.get(tenant_id, ANYTHING)

    def learn(self, tenant_id: str, stored: Sequence[Any]) -> ModelPolicy:
        """As it stands in the database: what is allowed, the default, and whether nothing is kept."""
        policy = ModelPolicy.of(stored)
        self._tenants[tenant_id] = policy
        self._tenants.move_to_end(tenant_id)
        if len(self._tenants) > TENANTS_KEPT:
            self._tenants.popitem(last=False)
        return policy

    def forget_tenant(self, tenant_id: str) -> None:
        self._tenants.pop(tenant_id, None)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A caller's model, by a policy of its tenant. `asked`: as it is stored; "": nobody named any, and it is ours."""

    model: Model
    policy: ModelPolicy
    asked: str


class ModelService:
    def __init__(self, db: TenantSession, llm: LLMService, policies: ModelPolicies) -> None:
        self._db = db
        self._tenant_id = db.principal.tenant_id
        self._of_key = db.principal.allowed_models
        self._llm = llm
        self._policies = policies

    async def list(self) -> tuple[list[Model], str]:
        """Those that the caller may use, in the order of the settings; and the name of its default, or ""."""
        policy = await self._read()
        models = usable(self._llm.catalogue, policy, self._of_key)
        return models, self._llm.model_for("", policy, self._of_key).name if models else ""

    async def find(self, name: str) -> tuple[Model, bool]:
        """One of them, and whether it is the default; raises `ModelNotFound`."""
        models, default = await self.list()
        for model in models:
            if model.name == name:
                return model, name == default
        raise ModelNotFound

    async def choose(self, name: str, connection: Connection | None = None) -> Chosen:
        """The model of this name; "": the caller's default. Raises `ModelNotFound`. `connection`: one that is open."""
        policy = self._policies.known(self._tenant_id)
        try:
            model = self._llm.model_for(name, policy, self._of_key)
        except ModelNotFound:
            policy = await (self._read() if connection is None else self._read_by(connection))
            model = self._llm.model_for(name, policy, self._of_key)
        ours = not name and model is self._llm.catalogue.default
        return Chosen(model, policy, "" if ours else model.name)

    async def keeps_nothing(self) -> bool:
        """Whether the tenant does, as the database has it: for who is refused by what is remembered."""
        return (await self._read()).keeps_nothing

    def check(self, chosen: Chosen, stored: Sequence[Any]) -> None:
        """To be called before the message is committed; raises `Outdated`: it is to be sent again."""
        if self._policies.learn(self._tenant_id, stored) != chosen.policy:
            raise Outdated

    async def _read(self) -> ModelPolicy:
        async with self._db.begin() as connection:
            return await self._read_by(connection)

    async def _read_by(self, connection: Connection) -> ModelPolicy:
        row = (await connection.execute(POLICY, {"tenant_id": self._tenant_id})).one_or_none()
        if row is None:  # deleted since the transaction began
            raise AuthenticationError
        return self._policies.learn(self._tenant_id, tuple(row))
