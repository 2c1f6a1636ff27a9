"""Under which name an answer is kept, and with which key it is sealed.

Both follow from the server's key, the tenant and the tenant's epoch: who has Redis alone can neither read what was
answered nor try out what was asked; a tenant that renews its epoch, or is gone, leaves nothing that anybody can find
or read.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from app.core.items import Message
from app.llm.base import Call

KEY_PREFIX = "llm-saas:cache"
# Of what follows: with another form of it, or of what is kept, nothing that was kept before is found.
VERSION = 2


@dataclass(frozen=True, slots=True)
class Name:
    """`seal` is a key for AES-256."""

    name: str
    seal: bytes


def shareable(call: Call) -> bool:
    """Whether the answer may be one that was kept: of words alone, with no tool to be called. Only words are kept."""
    words = all(isinstance(item, Message) and isinstance(item.content, str) for item in call.items)
    return words and not call.options.tools


class Names:
    """`secret_keys`: the present one first; what was kept under those before it is still found.

    `parameters`: by model, whatever else an answer depends on than its call.
    """

    def __init__(self, secret_keys: Sequence[str], parameters: Mapping[str, Any]) -> None:
        self._secret_keys = tuple(key.encode() for key in secret_keys)
        self._parameters = dict(parameters)

    def of(self, tenant_id: str, epoch: str, sharer: str, call: Call) -> list[Name]:
        """One for each secret key. `sharer`: who alone may have the answer; "": the tenant's users."""
        said = [[type(item).__name__, asdict(item)] for item in call.items]
        asked = [VERSION, self._parameters.get(call.model), sharer, said, call.model, asdict(call.options)]
        canonical = json.dumps(asked, sort_keys=True, separators=(",", ":")).encode()
        return [_name(key, tenant_id, epoch, canonical) for key in self._secret_keys]


def prefix_of(tenant_id: str) -> str:
    """With which all names of a tenant begin."""
    return f"{KEY_PREFIX}:{tenant_id}:"


def _name(secret_key: bytes, tenant_id: str, epoch: str, canonical: bytes) -> Name:
    tenant_key = hmac.digest(secret_key, f"cache:{tenant_id}:{epoch}".encode(), hashlib.sha256)
    digest = hmac.digest(tenant_key, b"name:" + canonical, hashlib.sha256).hex()
    return Name(prefix_of(tenant_id) + digest, hmac.digest(tenant_key, b"seal", hashlib.sha256))
