"""The words with which servers refuse a parameter that they do not know, or not for this model."""

import re

_UNSUPPORTED = re.compile(
    r"unsupported|not supported|n.t support|not support|unknown|unrecogni[sz]ed|unexpected|extra inputs|extra_forbidden"
    r"|not permitted|not allowed|deprecated|may only be",
    re.IGNORECASE,
)


def speaks_of_unsupported(words: str) -> bool:
    """One with a wrong value is its caller's affair, and none of these."""
    return _UNSUPPORTED.search(words) is not None
