"""Half a million inputs that nobody would send, against every operation: none may be answered with a 5xx.

Each request follows from the seed and its number alone: `python -m soak fuzz --seed S --only N` sends that one again.
"""

import re
from collections import Counter

from soak.client import Answer, Exchange, drive
from soak.inputs import Fuzzer, Input
from soak.keeper import keeping
from soak.report import Failed, Outcome, Progress
from soak.seed import mark
from soak.service import Service

INPUTS = 500_000
CONCURRENCY = 64
MARKS = re.compile(rb"5eed5eed-[0-9a-f]{4}-")


def look(exchange: Exchange, answer: Answer, seed: int) -> None:
    """Raise unless the answer is one that such an input may get."""
    about: Input = exchange.about
    wrong = ""
    if answer.status >= 500 and answer.status != 501:  # 501: what the operator has not set up, by name
        wrong = f"answered with {answer.status}"
    elif answer.status == 0 and about.kind != "whole":
        wrong = "not answered"
    elif about.tenant and set(MARKS.findall(answer.body)) - {mark(about.tenant)}:
        wrong = "answered with another tenant's mark"
    if wrong:
        raise Failed(
            f"input {about.number} ({about.kind}) was {wrong}; again: python -m soak fuzz --seed {seed} --only {about.number}\n"
            f"request: {exchange.request!r}\nanswer: {answer.head + answer.body!r}"
        )


async def run(service: Service, scale: float, seed: int) -> Outcome:
    total = max(1, round(INPUTS * scale))
    return await send(service, seed, range(total))


async def send(service: Service, seed: int, numbers: range) -> Outcome:
    fuzzer, progress = Fuzzer(service, seed), Progress("fuzz", len(numbers))
    statuses: Counter[int] = Counter()
    left = iter(numbers)

    def source() -> Exchange | None:
        number = next(left, None)
        return None if number is None else fuzzer.exchange(number)

    def sink(exchange: Exchange, answer: Answer) -> None:
        look(exchange, answer, seed)
        statuses[answer.status] += 1
        progress.step()

    async with keeping(service.url):
        await drive(service.ports, CONCURRENCY, source, sink)
    return Outcome(
        "Fuzzed inputs",
        f"Every operation, {CONCURRENCY} connections. Each input is a good request with one part of it made wrong; it"
        " follows from the seed and its number.",
        progress.seconds(),
        Counter({"inputs": len(numbers), **dict(sorted(fuzzer.counts.items()))}),
        statuses,
        [
            f"None of {len(numbers):,} inputs was answered with a 5xx, and the service logged no error.",
            "All but those damaged as bytes were answered; those may be a request that the server waits for the rest of.",
            "No answer held another tenant's mark.",
        ],
    )
