"""What is kept of an answer: sealed, so that Redis holds no text, and bound to its name and its tenant."""

import json
import os
import zlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.cache.names import Name
from app.core.completion import Completion, FinishReason
from app.core.items import Message

MAX_BYTES = 256 * 1024
"""Of an answer that is kept, before it is compressed."""
COMPRESSED_FROM_BYTES = 1024
_NONCE_BYTES = 12
_PLAIN, _COMPRESSED = b"\x00", b"\x01"


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer, and when it was given, in seconds since 1970."""

    tenant_id: str
    text: str
    model: str
    made_at: float

    def completion(self) -> Completion:
        """As an answer that nobody is paid for: no model read or wrote anything for it."""
        return Completion(self.text, self.model, 0, 0, 0, FinishReason.STOP, cached=True)


def entry_of(tenant_id: str, completion: Completion, now: float) -> Entry | None:
    """None of what nobody else shall get: an answer that did not end by itself, is more than text, or is too long."""
    if completion.finish_reason != FinishReason.STOP or not completion.text:
        return None
    if any(not isinstance(item, Message) for item in completion.output):
        return None
    entry = Entry(tenant_id, completion.text, completion.model, now)
    return entry if len(_written(entry)) <= MAX_BYTES else None


def seal(entry: Entry, name: Name) -> bytes:
    written = _written(entry)
    body = _PLAIN + written if len(written) < COMPRESSED_FROM_BYTES else _COMPRESSED + zlib.compress(written, 1)
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(name.seal).encrypt(nonce, body, name.name.encode())


def unseal(sealed: bytes, name: Name, tenant_id: str) -> Entry | None:
    """None for what was not sealed under this name, for this tenant."""
    try:
        body = AESGCM(name.seal).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.name.encode())
    except (InvalidTag, ValueError):
        return None
    written = zlib.decompress(body[1:]) if body[:1] == _COMPRESSED else body[1:]
    entry = Entry(*json.loads(written))
    return entry if entry.tenant_id == tenant_id else None


def _written(entry: Entry) -> bytes:
    # A provider's text may end with half a character.
    values = [entry.tenant_id, entry.text, entry.model, entry.made_at]
    return json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogatepass")
