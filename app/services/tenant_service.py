"""Tenants: creation, alone or with a first admin."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, bindparam
from sqlalchemy.dialects.postgresql import insert

from app.core.errors import TenantNameTaken
from app.core.ids import new_id
from app.core.security import PasswordHasher
from app.db import rls
from app.db.session import Database
from app.models import Tenant, UserRole
from app.services.user_service import insert_user

tenants = Tenant.__table__

INSERT_TENANT = (
    insert(Tenant)
    .values(id=bindparam("id"), name=bindparam("name"))
    .on_conflict_do_nothing(index_elements=["name"])
    .returning(tenants.c.id, tenants.c.name, tenants.c.created_at)
)


@dataclass(frozen=True, slots=True)
class FirstAdmin:
    email: str
    password: str


class TenantService:
    def __init__(self, database: Database, passwords: PasswordHasher) -> None:
        self._database = database
        self._passwords = passwords

    async def create(self, name: str, admin: FirstAdmin | None = None) -> tuple[Row[Any], Row[Any] | None]:
        """The tenant and its first admin, both stored or neither.

        Raises:
            TenantNameTaken, EmailTaken
        """
        tenant_id = new_id()
        hashed = await self._passwords.hash(admin.password) if admin else ""
        async with self._database.session(rls.enter_tenant(tenant_id)) as connection:
            tenant = (await connection.execute(INSERT_TENANT, {"id": tenant_id, "name": name})).one_or_none()
            if tenant is None:
                raise TenantNameTaken
            if admin is None:
                return tenant, None
            return tenant, await insert_user(connection, tenant_id, admin.email, hashed, UserRole.ADMIN)
