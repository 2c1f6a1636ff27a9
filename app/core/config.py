"""Settings from the environment or `.env`, checked once at start-up."""

import secrets
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, IPvAnyNetwork, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.core.credentials.keys import Key, KeyRing, asymmetric_key, make_private_key, shared_key, shared_keys
from app.core.credentials.secret_key import load_or_create
from app.core.rate_limits.policy import one_limit
from app.core.settings.database_url import checked_url, with_password
from app.core.settings.hosts import canonical_pattern, checked_origin

MIN_SECRET_KEY_BYTES = 32
SHARE_OF_LEASE = 0.9
"""What is left of a message's lease is for storing its end."""
PLACEHOLDERS = ("change", "replace", "secret", "your-", "example", "placeholder", "<")


RateLimit = Annotated[str, AfterValidator(lambda notation: one_limit(notation) and notation)]
ProviderName = Literal["mock", "openai", "anthropic", "ollama"]


class Price(BaseModel, frozen=True, extra="forbid"):
    """Millionths of a US dollar for a million tokens. `cached`: input from the provider's cache; None: as `input`."""

    input: Annotated[int, Field(ge=0)]
    output: Annotated[int, Field(ge=0)]
    cached: Annotated[int | None, Field(ge=0)] = None


# Make-believe, so that budgets can be tried without a key.
MOCK_PRICES = {"mock-echo": Price(input=1_000_000, output=2_000_000)}


class Settings(BaseSettings):
    """Every knob of the service; `.env.example` and docs/settings.md list the same names."""

    # What is refused may be a key: a traceback must not quote it.
    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    environment: Literal["development", "production"] = "development"
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    data_dir: Path = Path(".data")
    background_work: bool = True

    database_url: str = ""
    database_password: SecretStr = SecretStr("")
    migration_database_url: str = ""
    migration_database_password: SecretStr = SecretStr("")
    db_pool_size: Annotated[int, Field(ge=1, le=1000)] = 10
    db_max_overflow: Annotated[int, Field(ge=0, le=1000)] = 0
    db_connections_per_tenant: Annotated[int, Field(ge=0, le=2000)] = 0
    db_statement_timeout_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 5.0
    db_statement_cache_size: Annotated[int, Field(ge=0)] = 100

    secret_key: SecretStr = SecretStr("")
    previous_secret_keys: Annotated[list[SecretStr], NoDecode] = []
    jwt_algorithm: Literal["HS256", "HS384", "HS512", "RS256", "ES256"] = "HS256"
    jwt_private_key: SecretStr = SecretStr("")
    jwt_previous_keys: Annotated[list[SecretStr], NoDecode] = []
    access_token_expire_minutes: Annotated[int, Field(ge=1, le=60 * 24 * 30)] = 60
    refresh_token_expire_days: Annotated[int, Field(ge=1, le=3650)] = 30
    session_expire_days: Annotated[int, Field(ge=1, le=3650)] = 90
    fresh_login_minutes: Annotated[int, Field(ge=1, le=60 * 24 * 365)] = 15
    tenant_creation: Literal["open", "operator"] = "open"
    operator_token: SecretStr = SecretStr("")
    default_registration: Literal["open", "invite", "closed"] = "open"
    tenant_budget_ceiling_micro_usd: Annotated[int | None, Field(ge=0, le=2**53 - 1)] = None
    bcrypt_rounds: Annotated[int, Field(ge=4, le=18)] = 12

    llm_provider: ProviderName = "mock"
    llm_model: str = ""
    llm_fallbacks: Annotated[list[str], NoDecode] = []
    llm_timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    llm_token_timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0
    llm_max_retries: Annotated[int, Field(ge=0, le=10)] = 2
    llm_breaker_failures: Annotated[int, Field(ge=0)] = 5
    llm_breaker_seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0
    llm_max_output_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    llm_context_tokens: Annotated[int, Field(ge=1, le=10_000_000)] = 8192
    llm_max_running_per_tenant: Annotated[int, Field(ge=1)] = 1000
    llm_prices: dict[str, Price] = MOCK_PRICES
    llm_mock_latency_seconds: Annotated[float, Field(ge=0, le=3600)] = 0.0
    llm_mock_fail_every: Annotated[int, Field(ge=0)] = 0
    message_lease_seconds: Annotated[float, Field(gt=0, le=86400)] = 240.0
    openai_api_key: SecretStr = SecretStr("")
    openai_base_url: str = ""
    anthropic_api_key: SecretStr = SecretStr("")
    anthropic_base_url: str = ""
    ollama_base_url: str = "http://127.0.0.1:11434"
    stream_heartbeat_seconds: Annotated[float, Field(gt=0, le=300)] = 15.0
    stream_max_per_user: Annotated[int, Field(ge=1)] = 50
    webhook_allowed_networks: Annotated[list[IPvAnyNetwork], NoDecode] = []

    trusted_proxies: Annotated[list[IPvAnyNetwork], NoDecode] = []
    rate_limit_enabled: bool = True
    rate_limit_tenant: RateLimit = "6000/minute"
    rate_limit_user: RateLimit = "1200/minute"
    rate_limit_key: RateLimit = "1200/minute"
    rate_limit_address: RateLimit = "60/minute"
    rate_limit_login: RateLimit = "10/minute"
    rate_limit_account: RateLimit = "100/minute"
    redis_url: str = ""

    max_body_bytes: Annotated[int, Field(ge=1024)] = 1024 * 1024
    keep_alive_seconds: Annotated[float, Field(gt=0, le=3600)] = 75.0
    docs_enabled: bool = True
    trusted_hosts: Annotated[list[str], NoDecode] = []
    cors_origins: Annotated[list[str], NoDecode] = []
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "json", "console"] = "auto"

    @model_validator(mode="before")
    @classmethod
    def _without_white_space(cls, values: dict[str, object]) -> dict[str, object]:
        """What is read from a file ends in a line feed, which no header and no comparison forgives."""
        return {name: value.strip() if isinstance(value, str) else value for name, value in values.items()}

    @field_validator(
        "cors_origins",
        "jwt_previous_keys",
        "llm_fallbacks",
        "previous_secret_keys",
        "trusted_hosts",
        "trusted_proxies",
        "webhook_allowed_networks",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        """Accept the comma-separated form that an environment variable can hold."""
        if isinstance(value, str):
            return [item.strip() for item in value.split(",") if item.strip()]
        return value

    @field_validator("cors_origins")
    @classmethod
    def _as_sent(cls, value: list[str]) -> list[str]:
        return [origin if origin == "*" else checked_origin(origin.removesuffix("/")) for origin in value]

    @field_validator("trusted_hosts")
    @classmethod
    def _as_compared(cls, value: list[str]) -> list[str]:
        return [canonical_pattern(pattern) for pattern in value]

    @model_validator(mode="before")
    @classmethod
    def _put_passwords_into_urls(cls, values: dict[str, Any]) -> dict[str, Any]:
        """A password of its own may hold characters that have a meaning in a URL."""
        urls = {}
        for name in ("database", "migration_database"):
            if (url := values.get(f"{name}_url")) and (password := values.get(f"{name}_password")):
                urls[f"{name}_url"] = with_password(url, password)
        return values | urls

    @field_validator("database_url", "migration_database_url")
    @classmethod
    def _use_asyncpg(cls, value: str) -> str:
        """Accept the plain URL that hosting providers hand out."""
        return checked_url(value) if value else value

    @field_validator("openai_base_url", "anthropic_base_url", "ollama_base_url")
    @classmethod
    def _names_a_server(cls, value: str) -> str:
        with suppress(ValueError):
            parts = urlsplit(value)
            plain = not parts.query and not parts.fragment and not set(value) & set(" \t\r\n")
            if not value or (parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0 and plain):
                return value
        raise ValueError("must be a URL such as https://llm.example.com/v1")

    @field_validator("redis_url")
    @classmethod
    def _names_a_redis(cls, value: str) -> str:
        with suppress(ValueError):  # whose message may quote a password
            parts = urlsplit(value)
            if not value or (parts.scheme in {"redis", "rediss"} and parts.hostname and parts.port):
                return value
        raise ValueError("must be a URL with a port such as redis://:password@host:6379/0")

    @model_validator(mode="after")
    def _keys_are_usable(self) -> Self:
        given = self.jwt_private_key.get_secret_value()
        if not given and self.jwt_algorithm in ("RS256", "ES256") and self.environment == "production":
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
    def _fit_for_production(self) -> Self:
        if self.message_lease_seconds <= self.llm_timeout_seconds * (1 + len(self.llm_fallbacks)):
            raise ValueError("MESSAGE_LEASE_SECONDS must be longer than LLM_TIMEOUT_SECONDS (times the providers)")
        for name, _ in self.providers():
            self._require_key(name)
        if self.environment == "development":
            return self
        if not self.database_url:
            raise ValueError("DATABASE_URL is required in production")
        if self.bcrypt_rounds < 12:
            raise ValueError("BCRYPT_ROUNDS must be at least 12 in production")
        _refuse_weak("SECRET_KEY", self.secret_key)
        for key in self.previous_secret_keys:
            _refuse_weak("PREVIOUS_SECRET_KEYS", key)
        return self

    @property
    def longest_stream_seconds(self) -> float:
        """What flows may go on for: until its lease is nearly over, whichever provider of the chain it comes from."""
        rest = self.message_lease_seconds - self.llm_timeout_seconds * len(self.llm_fallbacks)
        return max(self.llm_timeout_seconds, rest * SHARE_OF_LEASE)

    def providers(self) -> list[tuple[ProviderName, str]]:
        """The providers to try in order, each with its model (empty: the provider's default here)."""
        chain: list[tuple[ProviderName, str]] = [(self.llm_provider, self.llm_model)]
        for pair in self.llm_fallbacks:
            name, _, model = pair.partition(":")
            if name not in get_args(ProviderName):
                raise ValueError("LLM_FALLBACKS names a provider that does not exist: use provider:model,...")
            chain.append((cast("ProviderName", name), model))
        return chain

    def _require_key(self, name: ProviderName) -> None:
        keys = {"openai": self.openai_api_key, "anthropic": self.anthropic_api_key}
        if name not in keys:
            return
        key = keys[name].get_secret_value()
        if not key:
            raise ValueError(f"the provider {name} needs {name.upper()}_API_KEY")
        if not (key.isascii() and key.isprintable() and " " not in key):
            raise ValueError(f"{name.upper()}_API_KEY holds characters that a header cannot")

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


def _refuse_weak(name: str, value: SecretStr) -> None:
    key = value.get_secret_value()
    if len(key.encode()) < MIN_SECRET_KEY_BYTES:
        raise ValueError(f"{name} must be at least {MIN_SECRET_KEY_BYTES} bytes in production")
    if any(word in key.lower() for word in PLACEHOLDERS) or len(set(key)) < 10:
        raise ValueError(f'{name} is a placeholder; make one: python -c "import secrets; print(secrets.token_hex(32))"')


@lru_cache
def get_settings() -> Settings:
    return Settings()
