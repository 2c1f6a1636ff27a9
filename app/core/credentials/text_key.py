"""What a tenant's texts are sealed with at rest, each for the one place where it stands.

A place is a column of a table, and the row. Tenant, table, column and row are bound to what is sealed: what was copied
to another row, to another column or to another tenant does not open. A row's cells are sealed with a key derived for
that row, so that random nonces never meet, however much a tenant says.

What is sealed is told from what is not by its beginning, so both may stand in one column.
"""

from binascii import a2b_base64, b2a_base64
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.core.credentials.envelope import KEY_BYTES, Unopenable, bound, open_sealed, seal

# The migration's functions know it too. No keyboard has its first character.
MARK = "\x1asealed."
MARK_BYTES = MARK.encode()
TEXT_KEY = "text key"
_PERSON = b"llm-saas text"


@dataclass(frozen=True, slots=True)
class Place:
    """A column that holds text: as it is, as JSON, or as bytes."""

    table: str
    column: str
    kind: Literal["text", "json", "bytes"] = "text"


class TextKey:
    """A tenant's own. It lives in memory alone, and shows nobody what it is."""

    __slots__ = ("_key", "_tenant_id")

    def __init__(self, tenant_id: str, key: bytes) -> None:
        self._tenant_id, self._key = tenant_id, key

    def of_row(self, table: str, row: str) -> "RowKey":
        """What seals the texts of a row of the table."""
        named = bound("text", self._tenant_id, table, row)
        return RowKey(named, blake2b(named, digest_size=KEY_BYTES, key=self._key, person=_PERSON).digest())

    def digest(self, value: str) -> str:
        """In hex; of equal values it is equal."""
        return blake2b(value.encode(), digest_size=32, key=self._key, person=b"llm-saas digest").hexdigest()


class RowKey:
    """Of one row. `place` is of its table."""

    __slots__ = ("_cipher", "_named")

    def __init__(self, named: bytes, key: bytes) -> None:
        self._named, self._cipher = named, AESGCM(key)

    def seal(self, value: str, place: Place) -> str:
        return MARK + b2a_base64(seal(self._cipher, value.encode(), self._bound(place)), newline=False).decode("ascii")

    def seal_bytes(self, value: bytes, place: Place) -> bytes:
        return MARK_BYTES + seal(self._cipher, value, self._bound(place))

    def open(self, sealed: str, place: Place) -> str:
        """Raises `Unopenable`."""
        try:
            data = a2b_base64(sealed[len(MARK) :], strict_mode=True)
        except ValueError:
            raise Unopenable from None
        return open_sealed(self._cipher, data, self._bound(place)).decode()

    def open_bytes(self, sealed: bytes, place: Place) -> bytes:
        """Raises `Unopenable`."""
        return open_sealed(self._cipher, sealed[len(MARK_BYTES) :], self._bound(place))

    def _bound(self, place: Place) -> bytes:
        return self._named + bound(place.column)


def is_sealed(value: object) -> bool:
    return (isinstance(value, str) and value.startswith(MARK)) or (
        isinstance(value, bytes) and value.startswith(MARK_BYTES)
    )
