"""The two sides beside each other, and why they may differ: what can be known of that, from what the ledger keeps."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from math import ceil
from typing import Any

import asyncpg

from app.llm.pricing import DATE
from app.services.reconciling.bill import BillLine
from app.services.reconciling.ledger import Used

COUNTS = ("input_tokens", "cached_tokens", "output_tokens")
Place = tuple[date, str]
"""A day, and a model without its date: a bill and a ledger spell that differently."""
MOST_NAMED = 20
NOT_TOLD = {
    "uncounted": "ended without a count of the provider's: what was set aside, or an estimate, stands in the ledger",
    "ended_early": "failed or were cancelled on the way: what they had written until then was counted here",
    "again": "ran more than once: the ledger has their sum on the day that they were sent, the bill has each call",
    "ended_later": "ended after midnight (UTC): the bill may have them on the next day",
    "pending": "still run",
    "unpriced": "were answered by a model without a price: they cost nothing here",
    "deleted": "were deleted since: their sums stayed, how they ended did not",
    "free": "failed or were cancelled and cost nothing here: a provider may bill what it had begun",
    "kept": "were answered from kept answers: no provider was asked, and none should bill them",
}


@dataclass(slots=True)
class Billed:
    """None: the bill does not say."""

    requests: int | None = None
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    micro_usd: Decimal | None = None
    lines: list[BillLine] = field(default_factory=list)
    """Those that are a request each."""

    def add(self, line: BillLine) -> None:
        for name in ("requests", *COUNTS, "micro_usd"):
            more = getattr(line, name)
            if more is not None:
                setattr(self, name, (getattr(self, name) or 0) + more)
        if line.request_id:
            self.lines.append(line)


@dataclass(frozen=True, slots=True)
class Row:
    """`differences` by what differs: the bill's, the ledger's. `rounding`: by what equal calls differ, in micro-USD."""

    place: Place
    billed: Billed | None
    used: Used | None
    differences: dict[str, tuple[Decimal, Decimal]]
    rounding: Decimal
    reasons: list[str]


def place_of(day: date, model: str) -> Place:
    return day, DATE.sub("", model)


def billed_by(lines: Iterable[BillLine]) -> dict[Place, Billed]:
    found: dict[Place, Billed] = defaultdict(Billed)
    for line in lines:
        found[place_of(line.day, line.model)].add(line)
    return dict(found)


def used_by(rows: Iterable[asyncpg.Record], name_of: Callable[[str], str]) -> dict[Place, Used]:
    """`name_of`: what the provider calls a model of a public name."""
    found: dict[Place, Used] = defaultdict(Used)
    for row in rows:
        found[place_of(row["day"], name_of(row["model"]))].add(row)
    return dict(found)


def compare(place: Place, billed: Billed | None, used: Used | None, hints: Sequence[str]) -> Row:
    """`hints`: what may explain that one side has nothing."""
    ours, theirs = used or Used(), billed or Billed(0, 0, 0, 0, Decimal())
    differences = {
        name: (Decimal(getattr(theirs, name)), Decimal(getattr(ours, name)))
        for name in COUNTS
        if getattr(theirs, name) not in (None, getattr(ours, name))
    }
    rounding = Decimal()
    if theirs.micro_usd is not None:
        more = ours.cost_micro_usd - theirs.micro_usd
        # Each call is rounded up to a whole micro-USD.
        if not differences and 0 <= more < max(ours.messages, 1):
            rounding = more
        elif more:
            differences["micro_usd"] = theirs.micro_usd, Decimal(ours.cost_micro_usd)
    reasons = [] if not differences else _reasons(billed, ours, differences, hints)
    return Row(place, billed, used, differences, rounding, reasons)


def _reasons(billed: Billed | None, used: Used, differences: dict[str, Any], hints: Sequence[str]) -> list[str]:
    found = [
        f"{count} messages ({cost} micro-USD) {NOT_TOLD[name]}"
        for name, (count, cost) in used.reasons.items()
        if count and name != "kept"
    ]
    if billed is None:
        kept, _ = used.reasons.get("kept", (0, 0))
        return [*found, *([f"{kept} messages {NOT_TOLD['kept']}"] if kept else []), *hints]
    if not used.messages and not used.cost_micro_usd:
        return ["the ledger has no message of it on that day: another service asks with the same key?", *hints]
    counted = all(getattr(billed, name) is not None for name in COUNTS[::2])
    if counted and differences.keys() == {"micro_usd"}:
        found.insert(0, "the tokens are equal: the prices are not (LLM_PRICES, or what is known of the model)")
    if billed.requests is not None and billed.requests != used.messages:
        found.append(
            f"the bill has {billed.requests} requests, the ledger {used.messages} messages that asked for some"
        )
    return found or ["nothing in the ledger explains it: another service asks with the same key?", *hints]


def named(billed: Billed, messages: Sequence[asyncpg.Record]) -> list[str]:
    """The requests that the ledger has no message for, and the messages that the bill has no request for.

    By id where the bill has a message's, else by what they used: of equal ones it is all the same which is which.
    """
    priced = billed.micro_usd is not None
    ours = {message["id"]: message for message in messages}
    left: list[BillLine] = []
    for line in billed.lines:
        message = ours.get(line.request_id)
        if message is not None and _of_message(message, priced=priced) == _of_line(line):
            del ours[line.request_id]
        else:
            left.append(line)
    alike = defaultdict(list)
    for message in ours.values():
        alike[_of_message(message, priced=priced)].append(message)
    alone = [line for line in left if not alike[_of_line(line)] or not alike[_of_line(line)].pop()]
    said = [
        f"on the bill alone: {line.request_id}, {_tokens(line.input_tokens, line.output_tokens, line.micro_usd)}"
        for line in alone
    ]
    said += [
        f"in the ledger alone: message {message['id']} of tenant {message['tenant_id']}, {message['attempts']} runs,"
        f" {message['error_code'] or message['status']},"
        f" {_tokens(message['input_tokens'], message['output_tokens'], message['cost_micro_usd'])}"
        for messages_alike in alike.values()
        for message in messages_alike
    ]
    more = len(said) - MOST_NAMED
    return said[:MOST_NAMED] + ([f"and {more} more"] if more > 0 else [])


def _of_line(line: BillLine) -> tuple[Any, ...]:
    return line.input_tokens, line.output_tokens, None if line.micro_usd is None else ceil(line.micro_usd)


def _of_message(message: asyncpg.Record, *, priced: bool) -> tuple[Any, ...]:
    return message["input_tokens"], message["output_tokens"], message["cost_micro_usd"] if priced else None


def _tokens(read: int | None, wrote: int | None, cost: Decimal | int | None) -> str:
    return f"{read} in, {wrote} out, {cost} micro-USD"
