"""Names in `.env` or the environment that look like a setting's and are none: pydantic passes over them."""

import os
from collections.abc import Iterable
from difflib import get_close_matches

from dotenv import dotenv_values

from app.core.config import Settings

# 1: the same. LLM_PROVDER is 0.96 of LLM_PROVIDER, REDIS_PORT 0.74 of REDIS_URL.
NEAR = 0.87


def misspelt(names: Iterable[str]) -> dict[str, str]:
    """Each unknown name that is near a setting's, with that one."""
    known = [name.upper() for name in Settings.model_fields]
    unknown = {name for name in names if name.upper() not in known}
    found = {name: get_close_matches(name.upper(), known, n=1, cutoff=NEAR) for name in sorted(unknown)}
    return {name: near[0] for name, near in found.items() if near}


def misspelt_here() -> dict[str, str]:
    """As `misspelt`, of this process's `.env` and environment."""
    return misspelt({*dotenv_values(str(Settings.model_config["env_file"])), *os.environ})
