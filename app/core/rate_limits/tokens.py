"""How many tokens a caller may use in a window: counted before a call as they are estimated, corrected when it ended.

What a process that was killed had counted stays so until the window ends.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, Self

from app.core.errors import MoreThanTokenLimit, TokensUsedUp
from app.core.principal import Principal
from app.core.rate_limits.policy import Check, Policy, Standing
from app.observability.instruments import RATE_LIMITED


class Counted(Protocol):
    """So many of each check, where they were counted."""

    async def correct(self, by: int) -> None:
        """Count so many more, or fewer, in the windows in which they were counted; those that ended are left alone."""


class TokenCounters(Protocol):
    async def take(self, checks: Sequence[Check], amount: int) -> tuple[Standing, Counted | None]:
        """Count so many in all, or in none where one has not so many left (None).

        The standing is that of the tightest, or of the first that has not.
        """


class Hold:
    """What a call was counted for before anybody knew."""

    __slots__ = ("_amount", "_counted")

    def __init__(self, amount: int, counted: Counted) -> None:
        self._amount = amount
        self._counted = counted

    async def settle(self, tokens: int) -> None:
        """It came to so many."""
        if tokens != self._amount:
            await self._counted.correct(tokens - self._amount)
            self._amount = tokens


class TokenLimits:
    """Those of them that are set; the narrowest comes first."""

    def __init__(self, tenant: Policy | None, user: Policy | None, key: Policy | None, counters: TokenCounters) -> None:
        self._tenant, self._user, self._key = tenant, user, key
        self._counters = counters

    async def take(self, principal: Principal, amount: int) -> tuple[Standing, Hold] | None:
        """Where the caller stands with the tightest; None if none holds for it.

        Raises:
            TokensUsedUp: nothing was counted.
            MoreThanTokenLimit: of a limit there are never so many.
        """
        checks = self._checks_of(principal)
        if not checks:
            return None
        for policy, _ in checks:
            if amount > policy.quota:
                RATE_LIMITED.add(policy.name)
                raise MoreThanTokenLimit(amount, policy.quota, policy.seconds)
        standing, counted = await self._counters.take(checks, amount)
        if counted is None:
            RATE_LIMITED.add(standing.policy.name)
            raise TokensUsedUp(standing)
        return standing, Hold(amount, counted)

    def _checks_of(self, principal: Principal) -> Sequence[Check]:
        counted = ((self._key, principal.key_id), (self._user, principal.user_id), (self._tenant, principal.tenant_id))
        return [Check(policy, who) for policy, who in counted if policy is not None and who is not None]


class CallersTokens:
    """Those of the caller of a request; `note` hears where it stands. `limits` None: nobody counts."""

    def __init__(
        self, limits: TokenLimits | None, principal: Principal, note: Callable[[Standing], None] = lambda _: None
    ) -> None:
        self._limits = limits
        self._principal = principal
        self._note = note

    def taking(self) -> "Taking":
        return Taking(self)

    async def take(self, estimate: Callable[[], int]) -> Hold | None:
        """Raises as `TokenLimits.take`."""
        if self._limits is None:
            return None
        taken = await self._limits.take(self._principal, estimate())
        if taken is None:
            return None
        standing, hold = taken
        self._note(standing)
        return hold


class Taking:
    """A block that fails as a whole: then what was taken in it is given back. `hold` is for the call that follows.

    Who is cancelled in it may have had something of it.
    """

    __slots__ = ("_tokens", "hold")

    def __init__(self, tokens: CallersTokens) -> None:
        self._tokens = tokens
        self.hold: Hold | None = None

    async def take(self, estimate: Callable[[], int]) -> None:
        self.hold = await self._tokens.take(estimate)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.hold is not None and kind is not None and issubclass(kind, Exception):
            await self.hold.settle(0)
