"""One message by its id, as far as the caller sees it."""

from sqlalchemy import bindparam, select

from app.core.errors import NotFound, PermissionDenied, TextUnreadable
from app.core.ids import is_id
from app.core.principal import Principal
from app.db.execution import Connection
from app.db.visibility import Visible, viewer
from app.messages.listing import IN_TENANT, WHOLE, messages
from app.models.rows import MessageRow

ONE = Visible(select(*WHOLE).where(IN_TENANT, messages.c.id == bindparam("id")), messages, lambda visible: visible)


async def find(connection: Connection, principal: Principal, message_id: str) -> MessageRow:
    """Raises `NotFound`, the same for another tenant's and for none."""
    if not is_id(message_id):
        raise NotFound
    values = {**viewer(principal), "id": message_id}
    message = (await connection.execute(ONE.to_viewer(connection), values, MessageRow)).one_or_none()
    if message is None:
        raise NotFound
    return message


def readable(message: MessageRow) -> MessageRow:
    """The message, where somebody wants what it says; raises `TextUnreadable`."""
    if message.error_code == TextUnreadable.code:
        raise TextUnreadable
    return message


async def find_to_change(connection: Connection, principal: Principal, message_id: str) -> MessageRow:
    """As `find`; raises `PermissionDenied` for who is neither its author nor an admin."""
    message = await find(connection, principal, message_id)
    if message.user_id != principal.user_id and not principal.is_admin:
        raise PermissionDenied
    return message
