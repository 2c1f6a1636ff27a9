"""What a run found: lines while it goes on, and a page at its end."""

import os
import platform
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import version

EVERY_SECONDS = 10.0
PACKAGES = ("fastapi", "starlette", "uvicorn", "sqlalchemy", "asyncpg")


class Failed(Exception):
    """What must never happen has happened; the text is the evidence."""


@dataclass
class Outcome:
    """What a section did, in numbers, and what that proves."""

    title: str
    what: str
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    proved: list[str] = field(default_factory=list)


class Progress:
    """Says every ten seconds how far a section is."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total = name, total
        self.done = 0
        self._began = self._said = time.monotonic()

    def step(self, count: int = 1) -> None:
        self.done += count
        if self.done % 64 and self.done < self._total:  # the clock costs more than the rest
            return
        now = time.monotonic()
        if now - self._said >= EVERY_SECONDS or self.done >= self._total:
            self._said = now
            rate = self.done / (now - self._began)
            left = (self._total - self.done) / rate
            print(f"{self._name}: {self.done:,} of {self._total:,}, {rate:,.0f}/s, {left:.0f} s left", flush=True)

    def seconds(self) -> float:
        return time.monotonic() - self._began


def page(outcomes: Iterable[Outcome], seed: int, scale: float, postgres: str) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    lines = [
        "# What a soak run found",
        "",
        (
            f"`python -m soak --seed {seed} --scale {scale:g}`, on Python {platform.python_version()}"
            f" ({platform.system()}, {os.cpu_count()} cores) with PostgreSQL {postgres}; {packages}."
        ),
        "One client process, the service under uvicorn, PostgreSQL and nothing else; all of it over loopback.",
        "The first thing that must not happen ends a run with the evidence, so a page like this one means there was none.",
    ]
    for outcome in outcomes:
        lines += ["", f"## {outcome.title}", "", outcome.what, "", "| | |", "|---|---:|"]
        lines += [f"| {name} | {count:,} |" for name, count in outcome.counts.items()]
        lines += [f"| seconds | {outcome.seconds:,.0f} |"]
        if outcome.statuses:
            found = " · ".join(
                f"{'none' if status == 0 else status}: {count:,}" for status, count in sorted(outcome.statuses.items())
            )
            lines += ["", f"Statuses: {found}."]
        lines += ["", *(f"- {sentence}" for sentence in outcome.proved)]
    return "\n".join(lines) + "\n"
