"""Credentials that are random and stored as SHA-256: API keys, refresh tokens, invites.

They hold 256 random bits, so a plain fast hash is enough: there is nothing to guess. The prefix tells secret scanners
and people what they found.
"""

import base64
import hashlib
import hmac
import re
import secrets
import string
import zlib
from collections.abc import Iterable

from app.core.ids import is_id

API_KEY_PREFIX = "llms_"
SHOWN_CHARACTERS = 12
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_CHARACTERS = 43  # log62(2**256)
_CHECKSUM_CHARACTERS = 6
_API_KEY = re.compile(rf"{API_KEY_PREFIX}[0-9A-Za-z]{{{_RANDOM_CHARACTERS + _CHECKSUM_CHARACTERS}}}")
_SECRET_BYTES, _TAG_BYTES = 32, 16
_REFRESH_TOKEN = re.compile(r"llmr_([0-9a-f]{32})_([0-9A-Za-z_-]{64})")


def digest(credential: str) -> str:
    """What is stored of a credential."""
    return hashlib.sha256(credential.encode()).hexdigest()


def new_api_key() -> str:
    body = API_KEY_PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARACTERS))
    return body + _checksum(body)


def derived_api_key(secret_key: str, *of: str) -> str:
    """The same key for the same: for whoever sends again a request whose answer was lost."""
    message = b"api-key:" + "\0".join(of).encode()
    number, characters = int.from_bytes(hmac.digest(secret_key.encode(), message, hashlib.sha256), "big"), ""
    for _ in range(_RANDOM_CHARACTERS):
        number, digit = divmod(number, len(_ALPHABET))
        characters = _ALPHABET[digit] + characters
    body = API_KEY_PREFIX + characters
    return body + _checksum(body)


def is_api_key(text: str) -> bool:
    """Whether the form and the checksum are right: a mistyped or made-up key costs no look-up."""
    return _API_KEY.fullmatch(text) is not None and _checksum(text[:-_CHECKSUM_CHARACTERS]) == text[-6:]


def new_invite_token() -> str:
    return f"llmi_{secrets.token_urlsafe(32)}"


def new_refresh_token(session_id: str, key: str) -> str:
    """The first of a session."""
    return _refresh_token(session_id, secrets.token_bytes(_SECRET_BYTES), key)


def new_salt() -> str:
    """For one rotation."""
    return secrets.token_hex(_SECRET_BYTES)


def successors(refresh_token: str, salt: str, keys: Iterable[str]) -> list[str]:
    """What follows a refresh token, one for each server key, the present one first.

    Derived and not random: whoever sends the same token at the same time, or again because the answer was lost, gets
    the same successor, although only its hash is stored. The salt is stored until the next rotation: a token of the
    past and the keys are not enough to go on from it.
    """
    session_id = session_of(refresh_token)
    message = f"refresh:{salt}:{refresh_token}".encode()
    return [_refresh_token(session_id, hmac.digest(key.encode(), message, hashlib.sha256), key) for key in keys]


def was_ours(refresh_token: str, keys: Iterable[str]) -> bool:
    """Whether one of the keys made it: a used one tells of a theft, a made-up one of nothing."""
    found = _REFRESH_TOKEN.fullmatch(refresh_token)
    if found is None:
        return False
    secret = base64.urlsafe_b64decode(found[2])
    tags = [_tag(session_of(refresh_token), secret[:_SECRET_BYTES], key) for key in keys]
    return any(hmac.compare_digest(secret[_SECRET_BYTES:], tag) for tag in tags)


def session_of(refresh_token: str) -> str:
    """The session that a refresh token names; "" if it is none."""
    found = _REFRESH_TOKEN.fullmatch(refresh_token)
    if found is None:
        return ""
    digits = found[1]
    session_id = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
    return session_id if is_id(session_id) else ""


def _refresh_token(session_id: str, secret: bytes, key: str) -> str:
    encoded = base64.urlsafe_b64encode(secret + _tag(session_id, secret, key)).decode()
    return f"llmr_{session_id.replace('-', '')}_{encoded}"


def _tag(session_id: str, secret: bytes, key: str) -> bytes:
    return hmac.digest(key.encode(), b"refresh-tag:" + session_id.encode() + secret, hashlib.sha256)[:_TAG_BYTES]


def _checksum(body: str) -> str:
    number, characters = zlib.crc32(body.encode()), ""
    for _ in range(_CHECKSUM_CHARACTERS):
        number, digit = divmod(number, len(_ALPHABET))
        characters = _ALPHABET[digit] + characters
    return characters
