"""Secrets of tenants, sealed with a key of each tenant's own, which a master key wraps. No database holds the master.

make    a new data key for a tenant, and what is stored of it
open    the data key again, from what is stored, with whichever master key wrapped it
seal    a secret under the data key, for one purpose

What a tenant's texts are sealed with is another key of its own, wrapped as this one (`text_key.py`).

AES-256-GCM throughout. Tenant and purpose are bound to what is sealed and not stored with it: what was copied to
another tenant's row, or to another place in its own, does not open. Whoever deletes a data key has deleted all that it
sealed.
"""

import base64
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES, NONCE_BYTES = 32, 12
# The first byte of what is sealed: how.
AES_256_GCM = b"\x01"
DATA_KEY = "data key"


class Unopenable(Exception):
    """It was sealed with another key or for something else, or was changed since."""


class UnknownMasterKey(Unopenable):
    """It was wrapped by a master key that this process was not given."""


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A data key as it is stored. `master` says which master key wrapped it, and nothing about it."""

    master: str
    sealed: bytes


class DataKey:
    """A tenant's own. It lives in memory alone, and shows nobody what it is."""

    __slots__ = ("_cipher", "_tenant_id")

    def __init__(self, tenant_id: str, key: bytes) -> None:
        self._tenant_id = tenant_id
        self._cipher = AESGCM(key)

    def seal(self, secret: bytes, *purpose: str) -> bytes:
        """`purpose`: what it is, and all that must stay as it is beside it."""
        return seal(self._cipher, secret, bound("secret", self._tenant_id, *purpose))

    def open(self, sealed: bytes, *purpose: str) -> bytes:
        """The secret; raises `Unopenable` unless it was sealed by this key for the same purpose."""
        return open_sealed(self._cipher, sealed, bound("secret", self._tenant_id, *purpose))


class MasterKeys:
    """The first secret is the present one; what an older one wrapped is still opened."""

    def __init__(self, secrets: Sequence[str]) -> None:
        keys = [_derived(secret) for secret in secrets]
        names = [_name(key) for key in keys]
        self.present = names[0]
        """The name of the master key that wraps."""
        self._ciphers = {name: AESGCM(key) for name, key in zip(names, keys, strict=True)}

    def __contains__(self, name: str) -> bool:
        return name in self._ciphers

    def make(self, tenant_id: str) -> tuple[DataKey, WrappedKey]:
        key = os.urandom(KEY_BYTES)
        return DataKey(tenant_id, key), self.wrap(tenant_id, key)

    def open(self, tenant_id: str, wrapped: WrappedKey) -> DataKey:
        """Raises `Unopenable`."""
        return DataKey(tenant_id, self.unwrap(tenant_id, wrapped))

    def rewrap(self, tenant_id: str, wrapped: WrappedKey, kind: str = DATA_KEY) -> WrappedKey:
        """The same key under the present master key; raises `Unopenable`."""
        return self.wrap(tenant_id, self.unwrap(tenant_id, wrapped, kind), kind)

    def wrap(self, tenant_id: str, key: bytes, kind: str = DATA_KEY) -> WrappedKey:
        """`kind`: what the key is for; it opens as nothing else."""
        return WrappedKey(self.present, seal(self._ciphers[self.present], key, bound(kind, tenant_id)))

    def unwrap(self, tenant_id: str, wrapped: WrappedKey, kind: str = DATA_KEY) -> bytes:
        """Raises `Unopenable`."""
        cipher = self._ciphers.get(wrapped.master)
        if cipher is None:
            raise UnknownMasterKey
        return open_sealed(cipher, wrapped.sealed, bound(kind, tenant_id))


def _derived(secret: str) -> bytes:
    """Of any length, and used for nothing else."""
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=b"llm-saas master key").derive(secret.encode())


def _name(key: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(b"master key|" + key).digest()[:12]).decode()


def bound(*parts: str) -> bytes:
    """Each with its length before it: no two lists of parts are the same bytes."""
    encoded = [part.encode() for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


def seal(cipher: AESGCM, secret: bytes, purpose: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return AES_256_GCM + nonce + cipher.encrypt(nonce, secret, AES_256_GCM + purpose)


def open_sealed(cipher: AESGCM, sealed: bytes, purpose: bytes) -> bytes:
    """Raises `Unopenable`."""
    kind, nonce, rest = sealed[:1], sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
    if kind != AES_256_GCM or len(nonce) != NONCE_BYTES:
        raise Unopenable
    try:
        return cipher.decrypt(nonce, rest, AES_256_GCM + purpose)
    except InvalidTag:
        raise Unopenable from None
