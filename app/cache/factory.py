"""Makes the cache that the settings name."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.core.config import Settings
from app.llm.catalogue import Catalogue
from app.llm.factory import parameters_of

if TYPE_CHECKING:
    from app.cache.cache import ResponseCache


def create_cache(settings: Settings, secret_keys: Sequence[str], catalogue: Catalogue) -> "ResponseCache | None":
    """None without `REDIS_URL`. An equal call is waited for as long as its message has the time."""
    if not settings.redis_url:
        return None
    # Not at the top: the client of Redis is for those who have one.
    from app.cache.cache import ResponseCache
    from app.cache.names import Names

    names = Names(secret_keys, parameters_of(settings, catalogue))
    return ResponseCache(settings.redis_url, names, settings.equal_call_seconds)
