"""How often somebody may ask, and where that is counted."""

from contextlib import suppress
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, IPvAnyNetwork, field_validator

from app.core.rate_limits.policy import one_limit
from app.core.settings.base import CommaSeparated, SettingsGroup

RateLimit = Annotated[str, AfterValidator(lambda notation: one_limit(notation) and notation)]
PerhapsNone = Annotated[str, AfterValidator(lambda notation: notation and (one_limit(notation) and notation))]


class LimitSettings(SettingsGroup):
    trusted_proxies: CommaSeparated[IPvAnyNetwork] = []
    rate_limit_enabled: bool = True
    rate_limit_tenant: RateLimit = "6000/minute"
    rate_limit_user: RateLimit = "1200/minute"
    rate_limit_key: RateLimit = "1200/minute"
    rate_limit_tenant_tokens: PerhapsNone = ""
    rate_limit_user_tokens: PerhapsNone = ""
    rate_limit_key_tokens: PerhapsNone = ""
    rate_limit_address: RateLimit = "60/minute"
    rate_limit_login: RateLimit = "10/minute"
    rate_limit_account: RateLimit = "100/minute"
    redis_url: str = ""

    @field_validator("redis_url")
    @classmethod
    def _names_a_redis(cls, value: str) -> str:
        with suppress(ValueError):  # whose message may quote a password
            parts = urlsplit(value)
            if not value or (parts.scheme in {"redis", "rediss"} and parts.hostname and parts.port):
                return value
        raise ValueError("must be a URL with a port such as redis://:password@host:6379/0")
