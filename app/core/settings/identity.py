"""Keys, tokens and sessions, and who may create a tenant."""

import secrets
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from app.core.credentials.keys import Key, KeyRing, asymmetric_key, make_private_key, shared_key, shared_keys
from app.core.credentials.secret_key import load_or_create
from app.core.settings.base import CommaSeparated
from app.core.settings.process import ProcessSettings
from app.core.settings.weak import MIN_SECRET_KEY_BYTES, refuse_weak


class IdentitySettings(ProcessSettings):
    secret_key: SecretStr = SecretStr("")
    previous_secret_keys: CommaSeparated[SecretStr] = []
    jwt_algorithm: Literal["HS256", "HS384", "HS512", "RS256", "ES256"] = "HS256"
    jwt_private_key: SecretStr = SecretStr("")
    jwt_previous_keys: CommaSeparated[SecretStr] = []
    access_token_expire_minutes: Annotated[int, Field(ge=1, le=60 * 24 * 30)] = 60
    refresh_token_expire_days: Annotated[int, Field(ge=1, le=3650)] = 30
    session_expire_days: Annotated[int, Field(ge=1, le=3650)] = 90
    fresh_login_minutes: Annotated[int, Field(ge=1, le=60 * 24 * 365)] = 15
    tenant_creation: Literal["open", "operator"] = "open"
    operator_token: SecretStr = SecretStr("")
    default_registration: Literal["open", "invite", "closed"] = "open"
    tenant_budget_ceiling_micro_usd: Annotated[int | None, Field(ge=0, le=2**53 - 1)] = None
    bcrypt_rounds: Annotated[int, Field(ge=4, le=18)] = 12

    @model_validator(mode="after")
    def _keys_are_usable(self) -> Self:
        given = self.jwt_private_key.get_secret_value()
        if not given and self.jwt_algorithm in ("RS256", "ES256") and self.in_production:
            raise ValueError(f"JWT_PRIVATE_KEY is required with JWT_ALGORITHM={self.jwt_algorithm} in production")
        if given:
            key = _read_key("JWT_PRIVATE_KEY", self.jwt_private_key)
            if key.signer is None or key.algorithm != self.jwt_algorithm:
                raise ValueError(f"JWT_PRIVATE_KEY is not a private key for JWT_ALGORITHM={self.jwt_algorithm}")
        for previous in self.jwt_previous_keys:
            _read_key("JWT_PREVIOUS_KEYS", previous)
        if self.tenant_creation == "operator" and len(self.operator_token.get_secret_value()) < MIN_SECRET_KEY_BYTES:
            raise ValueError(f"TENANT_CREATION=operator needs an OPERATOR_TOKEN of {MIN_SECRET_KEY_BYTES} characters")
        return self

    @model_validator(mode="after")
    def _keys_are_fit_for_production(self) -> Self:
        if not self.in_production:
            return self
        if self.bcrypt_rounds < 12:
            raise ValueError("BCRYPT_ROUNDS must be at least 12 in production")
        refuse_weak("SECRET_KEY", self.secret_key)
        for key in self.previous_secret_keys:
            refuse_weak("PREVIOUS_SECRET_KEYS", key)
        return self

    def secret_keys(self) -> list[str]:
        """`SECRET_KEY` and those before it; an empty one in development is made once and kept in `DATA_DIR`."""
        present = self.secret_key.get_secret_value() or load_or_create(
            self.data_dir / "secret_key", lambda: secrets.token_hex(32)
        )
        return [present, *(key.get_secret_value() for key in self.previous_secret_keys)]

    def key_ring(self) -> KeyRing:
        """What signs and verifies access tokens."""
        present, *previous = self.secret_keys()
        accepted = [*shared_keys(previous), *(_read_key("JWT_PREVIOUS_KEYS", key) for key in self.jwt_previous_keys)]
        if self.jwt_algorithm.startswith("HS"):
            return KeyRing(shared_key(present, self.jwt_algorithm), accepted)
        if self.jwt_private_key.get_secret_value():
            return KeyRing(_read_key("JWT_PRIVATE_KEY", self.jwt_private_key), accepted)
        path = self.data_dir / f"jwt_private_key_{self.jwt_algorithm.lower()}.pem"
        made = load_or_create(path, lambda: make_private_key(self.jwt_algorithm))
        return KeyRing(asymmetric_key(made), accepted)


def _read_key(name: str, value: SecretStr) -> Key:
    """A key from its PEM (line ends may be written \\n), or from the file that the value names."""
    text = value.get_secret_value().replace("\\n", "\n")
    try:
        return asymmetric_key(text if "-----BEGIN" in text else Path(text).read_text())
    except (OSError, TypeError, ValueError):
        # The cause would quote the key or its path.
        raise ValueError(f"{name} must hold RSA (2048 bits or more) or P-256 keys as PEM, or paths of such") from None
