"""Breakers of calls with a tenant's own key: one for each tenant, at one upstream.

So a key that is refused, or a server of its own that fails, closes nothing for anybody else.
"""

from collections import OrderedDict
from collections.abc import Callable

from app.llm.base import Credential, LLMProvider

MOST = 1000
"""That are remembered: those that were asked last."""


class OwnAccounts:
    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[Credential, LLMProvider]] = OrderedDict()

    def of(self, tenant_id: str, credential: Credential, make: Callable[[], LLMProvider]) -> LLMProvider:
        """The upstream as the tenant asks it; with another credential than before it begins anew."""
        known = self._known.get(tenant_id)
        if known is None or known[0] != credential:
            known = self._known[tenant_id] = credential, make()
            if len(self._known) > MOST:
                self._known.popitem(last=False)
        self._known.move_to_end(tenant_id)
        return known[1]
