"""RS256 and ES256: published keys verify, and no trick makes another key do."""

import base64
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from jose import jwt

from app.core.credentials.keys import Key, KeyRing, asymmetric_key, make_private_key, shared_key, shared_keys
from app.core.errors import AuthenticationError
from app.core.security import TokenService
from tests.conftest import SECRET_KEY
from tests.core.test_tokens import CALLER, b64
from tests.core.test_tokens import claims as encoded_claims

PEMS = {algorithm: make_private_key(algorithm) for algorithm in ("RS256", "ES256")}
KEYS = {algorithm: asymmetric_key(pem) for algorithm, pem in PEMS.items()}
PRIVATE_PARTS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def number(text: str) -> int:
    return int.from_bytes(unb64(text))


def public_pem(pem: str) -> str:
    public = serialization.load_pem_private_key(pem.encode(), None).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return public.public_bytes(serialization.Encoding.PEM, form).decode()


def verify_with(jwk: dict[str, str], token: str) -> None:
    """As another service does it, with the published fields alone; raises if the signature is wrong."""
    signed, _, signature = token.rpartition(".")
    raw = unb64(signature)
    if jwk["kty"] == "RSA":
        key = rsa.RSAPublicNumbers(number(jwk["e"]), number(jwk["n"])).public_key()
        key.verify(raw, signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return
    curve = ec.EllipticCurvePublicNumbers(number(jwk["x"]), number(jwk["y"]), ec.SECP256R1())
    signature_der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    curve.public_key().verify(signature_der, signed.encode(), ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize("algorithm", PEMS)
def test_a_published_key_verifies_what_its_private_key_signed(algorithm: str) -> None:
    ring = KeyRing(KEYS[algorithm], [KEYS["ES256" if algorithm == "RS256" else "RS256"]])
    token = TokenService(ring, 60).mint(CALLER)
    header = json.loads(unb64(token.split(".")[0]))

    (published,) = [jwk for jwk in ring.jwks() if jwk["kid"] == header["kid"]]

    assert (header["alg"], published["alg"], published["use"]) == (algorithm, algorithm, "sig")
    verify_with(published, token)
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the library raises
        verify_with(published, token[:-6] + "AAAAAA")
    assert TokenService(ring, 60).verify(token) == CALLER


def test_published_keys_have_no_private_parts_and_secrets_are_not_published() -> None:
    ring = KeyRing(KEYS["RS256"], [KEYS["ES256"], *shared_keys([SECRET_KEY])])
    assert {jwk["kid"] for jwk in ring.jwks()} == {KEYS["RS256"].kid, KEYS["ES256"].kid}
    for jwk in ring.jwks():
        assert not jwk.keys() & PRIVATE_PARTS
        assert jwk.keys() <= {"kty", "n", "e", "crv", "x", "y", "kid", "use", "alg"}
    assert KeyRing(shared_key(SECRET_KEY, "HS256"), shared_keys(["x" * 40])).jwks() == []


def test_a_kid_is_the_same_from_private_and_public_key_and_tells_nothing_of_a_secret() -> None:
    for pem in PEMS.values():
        verifying = asymmetric_key(public_pem(pem))
        assert verifying.kid == asymmetric_key(pem).kid
        assert verifying.signer is None
    kids = {shared_key(SECRET_KEY, algorithm).kid for algorithm in ("HS256", "HS384", "HS512")}
    assert len(kids) == 3
    assert not any(kid in SECRET_KEY or SECRET_KEY[:8] in kid for kid in kids)


def claims() -> dict[str, Any]:
    good: dict[str, Any] = json.loads(encoded_claims())
    return good


def token_with(header: dict[str, Any], secret: bytes | None, digest: str = "sha256") -> str:
    unsigned = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims()).encode())}"
    return f"{unsigned}.{b64(hmac.digest(secret, unsigned.encode(), digest)) if secret is not None else ''}"


def signed_by(key: Key, kid: object) -> str:
    headers = {} if kid is None else {"kid": kid}
    return str(jwt.encode(claims(), key.signer, algorithm=key.algorithm, headers=headers))


def signed_raw(header: dict[str, Any]) -> str:
    unsigned = token_with(header, None)[:-1]
    return f"{unsigned}.{b64(KEYS['RS256'].signer.sign(unsigned.encode()))}"


def confusions() -> dict[str, str]:
    tokens = {}
    ours = KEYS["RS256"].kid
    stranger = asymmetric_key(make_private_key("RS256"))
    for algorithm, pem in PEMS.items():
        kid, public = KEYS[algorithm].kid, public_pem(pem)
        for form, secret in {
            "PEM": public.encode(),
            "stripped PEM": public.strip().encode(),
            "JWK": json.dumps(KEYS[algorithm].public).encode(),
            "kid": kid.encode(),
            "nothing": b"",
        }.items():
            tokens[f"HS256 with the {algorithm} key's {form}"] = token_with({"alg": "HS256", "kid": kid}, secret)
        for none in ("none", "None", "NONE", "", None, [algorithm], {"alg": algorithm}):
            tokens[f"alg {none} for {algorithm}"] = token_with({"alg": none, "kid": kid}, None)
        tokens[f"{algorithm} unsigned"] = token_with({"alg": algorithm, "kid": kid}, None)
    tokens["HS256 with the secret under the RSA kid"] = token_with({"alg": "HS256", "kid": ours}, SECRET_KEY.encode())
    tokens["a stranger's key under our kid"] = signed_by(stranger, ours)
    tokens["a stranger's key under its own kid"] = signed_by(stranger, stranger.kid)
    tokens["a stranger's key in the header"] = str(
        jwt.encode(claims(), stranger.signer, "RS256", headers={"kid": stranger.kid, "jwk": stranger.public})
    )
    tokens["our signature under another alg"] = signed_raw({"alg": "ES256", "typ": "JWT", "kid": ours})
    tokens["the kid of another of our keys"] = signed_by(KEYS["RS256"], KEYS["ES256"].kid)
    tokens["the RSA alg with the EC key"] = token_with({"alg": "RS256", "kid": KEYS["ES256"].kid}, b"x")
    kids = [None, "", ours[:-1], ours + " ", ours.swapcase(), f"../{ours}", "/dev/null", "' OR '1'='1", "\x00"]
    for at, kid in enumerate(kids):
        tokens[f"kid trick {at}"] = signed_by(KEYS["RS256"], kid)
    for at, kid in enumerate((5, True, [ours], {"kid": ours}, 1.5)):
        # Signed for real: only the kid is no text.
        tokens[f"kid that is no text {at}"] = signed_raw({"alg": "RS256", "typ": "JWT", "kid": kid})
    return tokens


TOKENS = confusions()


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
def test_no_other_key_or_algorithm_passes_for_ours(token: str) -> None:
    tokens = TokenService(KeyRing(KEYS["RS256"], [KEYS["ES256"]]), 60)
    with pytest.raises(AuthenticationError):
        tokens.verify(token)


def test_the_tokens_above_are_wrong_for_their_own_reason() -> None:
    tokens = TokenService(KeyRing(KEYS["RS256"], [KEYS["ES256"]]), 60)
    for key in KEYS.values():
        assert tokens.verify(signed_by(key, key.kid)) == CALLER
    assert tokens.verify(signed_raw({"alg": "RS256", "typ": "JWT", "kid": KEYS["RS256"].kid})) == CALLER
    accepts_secret = TokenService(KeyRing(KEYS["RS256"], shared_keys([SECRET_KEY])), 60)
    right = token_with({"alg": "HS512", "kid": shared_key(SECRET_KEY, "HS512").kid}, SECRET_KEY.encode(), "sha512")
    assert accepts_secret.verify(right) == CALLER
    with pytest.raises(AuthenticationError):
        tokens.verify(right)
