"""The keys that sign access tokens: the present one, and those before it, which are still accepted.

A token names its key by `kid`, and a key belongs to one algorithm: nothing in a token chooses how it is verified.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jose import jwk

HMAC_ALGORITHMS = ("HS256", "HS384", "HS512")
MIN_RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class Key:
    """`public` is the key as a JWK (RFC 7517) where it may be known; None for a shared secret."""

    kid: str
    algorithm: str
    signer: Any
    verifier: Any
    public: dict[str, str] | None = None


class KeyRing:
    """Signs with the first key and verifies with all of them."""

    def __init__(self, signing: Key, accepted: Iterable[Key] = ()) -> None:
        self.signing = signing
        self._by_kid = {key.kid: key for key in (*accepted, signing)}

    def find(self, kid: object) -> Key | None:
        return self._by_kid.get(kid) if isinstance(kid, str) else None

    def jwks(self) -> list[dict[str, str]]:
        """The public keys."""
        return [key.public for key in self._by_kid.values() if key.public]


def shared_key(secret: str, algorithm: str) -> Key:
    key = jwk.construct(secret, algorithm)
    return Key(_kid(f"{algorithm}|{secret}".encode()), algorithm, key, key)


def shared_keys(secrets: Iterable[str]) -> Iterator[Key]:
    """With every algorithm, since they may have signed with another one than the present."""
    return (shared_key(secret, algorithm) for secret in secrets for algorithm in HMAC_ALGORITHMS)


def asymmetric_key(pem: str) -> Key:
    """An RSA (RS256) or P-256 (ES256) key, private or, to verify alone, public.

    Raises:
        ValueError: it is neither, or too weak.
    """
    private, public = _load(pem.encode())
    if isinstance(public, rsa.RSAPublicKey) and public.key_size >= MIN_RSA_BITS:
        algorithm = "RS256"
    elif isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, ec.SECP256R1):
        algorithm = "ES256"
    else:
        raise ValueError(f"neither an RSA key of at least {MIN_RSA_BITS} bits nor a P-256 key")
    encoded = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    verifier = jwk.construct(_pem_of(public), algorithm)
    # Loaded once: encoding with a PEM costs 40 ms a call.
    signer = jwk.construct(pem, algorithm) if private else None
    kid = _kid(encoded)
    fields = {name: _text(value) for name, value in verifier.to_dict().items()}
    return Key(kid, algorithm, signer, verifier, {**fields, "kid": kid, "use": "sig", "alg": algorithm})


def make_private_key(algorithm: str) -> str:
    """A new private key for a development machine, as PEM."""
    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    if algorithm == "RS256":
        private = rsa.generate_private_key(public_exponent=65537, key_size=MIN_RSA_BITS)
    else:
        private = ec.generate_private_key(ec.SECP256R1())
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _load(pem: bytes) -> tuple[bool, Any]:
    """Whether it is a private key, and the public one."""
    if b"PRIVATE" in pem:
        return True, serialization.load_pem_private_key(pem, password=None).public_key()
    return False, serialization.load_pem_public_key(pem)


def _pem_of(public: Any) -> str:
    encoded: bytes = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded.decode()


def _kid(material: bytes) -> str:
    """Says which key it is and nothing about it."""
    return base64.urlsafe_b64encode(hashlib.sha256(b"kid|" + material).digest()[:12]).decode()


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
