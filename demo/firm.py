"""The firm: its name, its people and keys, and the models that its service offers."""

from dataclasses import dataclass
from typing import Any, Literal

NAME = "Pedal & Post"
UNFINISHED = "Pedal & Post (being made)"
"""What it is called until all of it is there: a run that was killed leaves this, and the next one begins anew."""
DAYS = 61


@dataclass(frozen=True, slots=True)
class Person:
    """`weight`: how much of the talk is theirs; `models`: what they ask, and how often."""

    name: str
    role: Literal["admin", "user"]
    weight: int
    topics: tuple[str, ...]
    models: dict[str, int]
    joined: int
    """So many days ago."""
    leaves: int = 0
    """Disabled so many days ago; 0: still there."""

    @property
    def email(self) -> str:
        return f"{self.name}@pedal-post.test"


ADMIN = Person("maya", "admin", 3, ("office", "numbers"), {"balanced": 5, "deep": 3, "quick": 2}, 61)
PEOPLE = (
    ADMIN,
    Person("tomasz", "admin", 2, ("code", "numbers"), {"deep": 4, "balanced": 4, "local": 2}, 60),
    Person("aiko", "user", 6, ("customers", "languages"), {"quick": 9, "balanced": 1}, 58),
    Person("jonas", "user", 5, ("code",), {"balanced": 4, "deep": 2, "local": 4}, 57),
    Person("priya", "user", 4, ("numbers", "office"), {"deep": 3, "balanced": 6}, 40),
    Person("samuel", "user", 3, ("customers", "office"), {"quick": 8, "balanced": 2}, 33),
    Person("elena", "user", 3, ("languages", "office"), {"quick": 7, "balanced": 3}, 59, leaves=12),
)
USER = PEOPLE[3]

INVITED = (("noor@pedal-post.test", 72), ("dispatch@pedal-post.test", 720))
"""Emails, and for how many hours their invites are open."""


@dataclass(frozen=True, slots=True)
class Key:
    """`expires`: in so many days; `used`: so many minutes ago; 0: never. `weight`: as a person's."""

    name: str
    owner: str
    scopes: tuple[str, ...]
    made: int
    weight: int = 0
    models: dict[str, int] | None = None
    expires: int = 0
    used: int = 0


KEYS = (
    Key("order widget", "aiko", ("messages:write",), 52, 9, {"quick": 1}, 38, 4),
    Key("nightly import", "jonas", ("messages:read", "messages:write"), 45, 3, {"local": 3, "balanced": 1}, 0, 540),
    Key("dashboards", "maya", ("admin",), 30, used=61),
    Key("old laptop", "samuel", ("messages:read",), 31, expires=2),
)

RATES = {
    "quick": {"input": 250_000, "output": 1_250_000, "cached": 25_000},
    "balanced": {"input": 2_000_000, "output": 10_000_000, "cached": 200_000},
    "deep": {"input": 5_000_000, "output": 25_000_000, "cached": 500_000},
    "local": {"input": 0, "output": 0},
}
"""Micro-USD for a million tokens; as make-believe as the models."""
_WORDS = {
    "quick": "Short answers at once.",
    "balanced": "For most of what is asked.",
    "deep": "Thinks first; for what is hard.",
    "local": "Costs nothing, and knows less.",
}
_BOUNDS: dict[str, dict[str, Any]] = {
    "quick": {"context_tokens": 64_000, "capabilities": ["tools", "json_schema", "sampling", "seed"]},
    "balanced": {"context_tokens": 200_000, "max_output_tokens": 8_192, "fallbacks": ["quick"]},
    "deep": {"context_tokens": 400_000, "max_output_tokens": 32_000, "fallbacks": ["balanced"]},
    "local": {"context_tokens": 8_192, "max_output_tokens": 2_048, "capabilities": ["sampling", "seed"]},
}

SETTINGS: dict[str, Any] = {
    "llm_provider": "mock",
    "llm_models": {
        name: {"provider": "mock", "description": f"{_WORDS[name]} (A mock.)", "price": rates, **_BOUNDS[name]}
        for name, rates in RATES.items()
    },
    "llm_models_file": "",
    "llm_model": "quick",
    "llm_fallbacks": [],
    "llm_mock_latency_seconds": 2.0,
}
"""What the service runs with, whatever the environment says of models: nothing here asks a provider."""
