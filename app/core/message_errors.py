"""What can stand in the way of a message; `app/core/errors.py` has the whole tree."""

from app.core.error_base import AppError, Conflict, NotFound


class PreviousNotFound(NotFound):
    detail = "There is no stored message to go on with by this id."


class MessageRunning(Conflict):
    detail = "The message is still being answered."


class MessageEnded(Conflict):
    detail = "The message has ended."


class ConversationBusy(Conflict):
    detail = "Another message of this conversation is still being answered."


class ToolResultsMissing(Conflict):
    detail = "The model called tools, and waits for the result of each of its calls: they come first, and all of them."


class NotStored(Conflict):
    """`message_id` names what is left: its figures."""

    detail = "Nothing of this message was stored, as its sender or its tenant wants it: it cannot be repeated."

    def __init__(self, message_id: str) -> None:
        super().__init__()
        self.message_id = message_id


class IdempotencyKeyInFlight(Conflict):
    """`message_id` names the message that the first request is waiting for."""

    detail = "The first request with this Idempotency-Key has not ended."

    def __init__(self, message_id: str) -> None:
        super().__init__()
        self.message_id = message_id


class ItemStays(Conflict):
    detail = "This item goes with its response, or a call with its result: neither is deleted alone."


class TextUnreadable(AppError):
    """Its key was destroyed, or what is stored was changed."""

    code = "text_unreadable"
    detail = "This text is stored encrypted, and does not open any more."


class SearchEncrypted(AppError):
    detail = "Texts are stored encrypted here, and no words of them are: `q` finds nothing, and is not supported."
