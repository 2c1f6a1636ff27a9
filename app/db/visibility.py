"""Whose messages and conversations a caller sees: an admin the tenant's, a user the tenant's or its own.

The tenant decides (`message_visibility`); entering reads it in the transaction that then reads the rows, and row-level
security holds it. A statement comes in two forms, so that each has one plan along an index.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, Table, text

from app.core.principal import Principal
from app.db.execution import Connection
from app.db.pagination import only

SHOW_ALL = text("SELECT set_config('app.viewer', '*', true)")
Form = TypeVar("Form")


class Visible(Generic[Form]):
    """A statement for who sees all rows of the tenant, and for who sees its own alone.

    `form` makes of the narrowed select what is executed: locked, or by page.
    """

    def __init__(self, statement: Select[Any], table: Table, form: Callable[[Select[Any]], Form]) -> None:
        self.all = form(statement)
        self.own = form(statement.where(only(table.c.user_id, "viewer_id")))

    def to_viewer(self, connection: Connection) -> Form:
        """The one for the caller whose transaction this is."""
        return self.own if connection.own_alone else self.all


async def show_all(connection: Connection) -> None:
    """Let the rest of the transaction reach all rows of the tenant, for what concerns also those that are not shown."""
    await connection.execute(SHOW_ALL)


def viewer(principal: Principal) -> dict[str, str]:
    """The parameters of these statements."""
    return {"tenant_id": principal.tenant_id, "viewer_id": principal.user_id}
