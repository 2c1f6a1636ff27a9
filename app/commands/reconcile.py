"""`reconcile`: providers' own counts against the ledger, to the micro-dollar."""

import argparse
import asyncio
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from app.core.config import Settings
from app.llm.catalogue import catalogue_of
from app.reach import owners_of
from app.services.reconciling.bill import BillLine, UnreadableBill, read_bill
from app.services.reconciling.ledger import Scope
from app.services.reconciling.reconciliation import Reconciled, compared

EQUAL, DIFFERS = 0, 1
UNITS = {"micro_usd": "micro-USD"}


def reconcile(arguments: argparse.Namespace, settings: Settings) -> tuple[str, int]:
    """What differs, and the exit status: 0 nothing does, 1 something. Raises UnreadableBill, Refused, OSError."""
    lines = [line for name in arguments.provider_usage for line in _bill_in(name)]
    first, last = min(line.day for line in lines), max(line.day for line in lines)
    scope = Scope(arguments.since or first, arguments.until or last, arguments.tenant or None, arguments.except_tenant)
    found = asyncio.run(_compared(lines, scope, settings))
    status = DIFFERS if any(row.differences for row in found.rows) else EQUAL
    return "\n".join(_report(found, scope)), status


def _bill_in(name: str) -> list[BillLine]:
    try:
        return read_bill(Path(name).read_text("utf-8"))
    except UnicodeDecodeError:
        raise UnreadableBill(f"{name}: it is no text in UTF-8") from None
    except UnreadableBill as error:
        raise UnreadableBill(f"{name}: {error}") from None


async def _compared(lines: Sequence[BillLine], scope: Scope, settings: Settings) -> Reconciled:
    async with owners_of(settings) as owners:
        return await compared(lines, scope, list(owners.values()), _provider_names(settings))


def _provider_names(settings: Settings) -> dict[str, str]:
    """What the provider calls a model, by its public name, where it has one name; "": the default's."""
    catalogue = catalogue_of(settings)
    names = {}
    for model in catalogue.all:
        upstream = {each.model for each in model.upstreams}
        if len(upstream) == 1:
            names[model.name] = upstream.pop()
    return names | {"": names.get(catalogue.default.name, catalogue.default.name)}


def _report(found: Reconciled, scope: Scope) -> list[str]:
    said = list[str]()
    rounding = sum((row.rounding for row in found.rows), Decimal())
    for row in found.rows:
        if not row.differences:
            continue
        day, model = row.place
        said.append(f"{day} {model}")
        for name, (billed, used) in row.differences.items():
            unit = UNITS.get(name, name.replace("_", " "))
            said.append(f"  {unit}: {billed:,f} on the bill, {used:,f} in the ledger, {used - billed:+,f}")
        said += [f"  - {reason}" for reason in row.reasons]
        said += [f"  * {request}" for request in found.requests.get(row.place, [])]
    if found.elsewhere:
        said += ["Not on this bill on any day, and not compared:", *(f"  {each}" for each in found.elsewhere)]
    differing = sum(1 for row in found.rows if row.differences)
    days = f"{scope.first} to {scope.last} (UTC)"
    ours = sum(row.used.cost_micro_usd for row in found.rows if row.used)
    if differing:
        said.append(f"{differing} of {len(found.rows)} days and models differ, {days}")
    else:
        said.append(f"Equal: {len(found.rows)} days and models, {ours:,} micro-USD in the ledger, {days}")
    if rounding:
        said.append(f"Rounded up, call by call, to whole micro-USD: {rounding:,f} micro-USD in all")
    return said
