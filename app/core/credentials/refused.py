"""Credentials that the database has just refused."""

from collections import OrderedDict
from time import monotonic

KEPT = 10_000
SECONDS = 60.0


class RefusedCredentials:
    """Remembered for a minute: whoever goes on sending one costs the database nothing.

    Nothing makes a refused one good again: sessions and keys that ended are gone, and a user who is enabled or gets its
    role back gets another token version. The bound in time is for what an operator changes by hand.
    """

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()

    def add(self, credential: str) -> None:
        self._until[credential] = monotonic() + SECONDS
        self._until.move_to_end(credential)
        if len(self._until) > KEPT:
            self._until.popitem(last=False)

    def __contains__(self, credential: str) -> bool:
        until = self._until.get(credential)
        if until is None:
            return False
        if until > monotonic():
            return True
        del self._until[credential]
        return False
