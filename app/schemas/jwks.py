from pydantic import BaseModel


class KeySet(BaseModel):
    """RFC 7517. Empty with a shared secret (HS256): there is nothing to publish."""

    keys: list[dict[str, str]]
