"""What a request lets the cache do, and what came of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Self

CacheState = Literal["hit", "miss", "bypass"]
"""What a look came to; `bypass`: there was none."""


@dataclass(frozen=True, slots=True)
class CacheControl:
    """What a request lets the cache do: read, and keep."""

    reads: bool = True
    keeps: bool = True

    @classmethod
    def of(cls, headers: Iterable[str]) -> Self:
        """From `Cache-Control`, as RFC 9111 has it for requests. Other directives change nothing."""
        directives = {word.strip().lower() for header in headers for word in header.split(",")}
        stored = "no-store" not in directives
        return cls(stored and "no-cache" not in directives, stored)

    @classmethod
    def of_queued(cls, use: str | None) -> Self:
        """As `use` of it, which was stored."""
        return cls(use == "share", use is not None)

    @property
    def use(self) -> str | None:
        """For a message that waits."""
        return None if not self.keeps else "share" if self.reads else "keep"


AS_THE_TENANT_WANTS = CacheControl()
NOT_AT_ALL = CacheControl(reads=False, keeps=False)
