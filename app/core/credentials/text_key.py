"""What a tenant's texts are sealed with at rest, each for the one place where it stands.

A place is a column of a table, and the row. Tenant, table, column and row are bound to what is sealed: what was copied
to another row, to another column or to another tenant does not open. A row's cells are sealed with a key derived for
that row, so that random nonces never meet, however much a tenant says.

What is sealed is told from what is not by its beginning, so both may stand in one column.
"""

import base64
import binascii
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

    def seal(self, value: str, place: Place, row: str) -> str:
        return MARK + base64.b64encode(self._seal(value.encode(), place, row)).decode("ascii")

    def seal_bytes(self, value: bytes, place: Place, row: str) -> bytes:
        return MARK_BYTES + self._seal(value, place, row)

    def open(self, sealed: str, place: Place, row: str) -> str:
        """Raises `Unopenable`."""
        try:
            data = base64.b64decode(sealed[len(MARK) :], validate=True)
        except (binascii.Error, ValueError):
            raise Unopenable from None
        return self._open(data, place, row).decode()

    def open_bytes(self, sealed: bytes, place: Place, row: str) -> bytes:
        """Raises `Unopenable`."""
        return self._open(sealed[len(MARK_BYTES) :], place, row)

    def digest(self, value: str) -> str:
        """In hex; of equal values it is equal."""
        return blake2b(value.encode(), digest_size=32, key=self._key, person=b"llm-saas digest").hexdigest()

    def _seal(self, value: bytes, place: Place, row: str) -> bytes:
        return seal(self._cipher(place, row), value, self._bound(place, row))

    def _open(self, sealed: bytes, place: Place, row: str) -> bytes:
        return open_sealed(self._cipher(place, row), sealed, self._bound(place, row))

    def _cipher(self, place: Place, row: str) -> AESGCM:
        named = bound(self._tenant_id, place.table, row)
        return AESGCM(blake2b(named, digest_size=KEY_BYTES, key=self._key, person=_PERSON).digest())

    def _bound(self, place: Place, row: str) -> bytes:
        return bound("text", self._tenant_id, place.table, place.column, row)


def is_sealed(value: object) -> bool:
    return (isinstance(value, str) and value.startswith(MARK)) or (
        isinstance(value, bytes) and value.startswith(MARK_BYTES)
    )
