"""Which Host headers name this service (`TRUSTED_HOSTS`)."""

from collections.abc import Iterable, Sequence

from app.core.settings.hosts import WILDCARD, split_host


class TrustedHosts:
    """Patterns as `canonical_pattern` gives them; `*.example.com` is every name below example.com, not itself."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._names = frozenset(pattern for pattern in patterns if not pattern.startswith(WILDCARD))
        self._suffixes = tuple(pattern[1:] for pattern in patterns if pattern.startswith(WILDCARD))

    def allow(self, headers: Sequence[bytes]) -> bool:
        """Whether the Host headers of a request are one, and it names us; its port is not looked at."""
        if len(headers) != 1:  # of two, a proxy and we could each believe another one
            return False
        host, _ = split_host(headers[0].decode("latin-1"))
        return host in self._names or host.endswith(self._suffixes)
