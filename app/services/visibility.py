"""Whose messages and conversations a caller sees: an admin the tenant's, a user the tenant's or its own.

The tenant decides (`message_visibility`), and the statement itself asks: there is no moment between asking and reading.
"""

from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Select, Table, bindparam, not_, or_, select

from app.core.principal import Principal
from app.models import MessageVisibility, Tenant
from app.services.pagination import newest_first, newest_first_of

tenants = Tenant.__table__

TENANT_WIDE: ColumnElement[bool] = (
    select(tenants.c.message_visibility == MessageVisibility.TENANT.value)
    .where(tenants.c.id == bindparam("tenant_id"))
    .scalar_subquery()
)
VIEWER: BindParameter[str] = bindparam("viewer_id")


def visible(statement: Select[Any], table: Table, *, to_admin: bool) -> Select[Any]:
    """The statement, which finds single rows, with what the caller may not see left out."""
    return statement if to_admin else statement.where(or_(table.c.user_id == VIEWER, TENANT_WIDE))


def visible_list(statement: Select[Any], table: Table, *, to_admin: bool) -> tuple[Select[Any], Select[Any]]:
    """The statement newest first, by offset and by cursor, with what the caller may not see left out.

    For users it is two statements, of which PostgreSQL runs one: an OR would read through the whole tenant for the
    few rows of a user.
    """
    if to_admin:
        return newest_first(statement, table)
    own = statement.where(table.c.user_id == VIEWER, not_(TENANT_WIDE))
    return newest_first_of([statement.where(TENANT_WIDE), own], table)


def viewer(principal: Principal) -> dict[str, str]:
    """The parameters of these statements."""
    return {"tenant_id": principal.tenant_id, "viewer_id": principal.user_id}
