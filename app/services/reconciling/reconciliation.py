"""Reads both sides, and puts them beside each other."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import asyncpg

from app.residency.copying import owners_connection
from app.services.portable.arriving import require_owner
from app.services.reconciling.bill import BillLine
from app.services.reconciling.comparison import Billed, Place, Row, billed_by, compare, named, used_by
from app.services.reconciling.ledger import ERASED, OWN_KEYS, Scope, messages_of, rows_of


@dataclass(slots=True)
class Reconciled:
    rows: list[Row] = field(default_factory=list)
    requests: dict[Place, list[str]] = field(default_factory=dict)
    """What is on one side alone, where the bill has single requests."""
    elsewhere: list[str] = field(default_factory=list)
    """Models that the bill has on no day: of another provider's."""


async def compared(
    lines: Sequence[BillLine], scope: Scope, owners: Sequence[str], names: Mapping[str, str]
) -> Reconciled:
    """Both sides of the days in scope; raises `Refused`.

    `owners`: URLs of logins that row-level security does not hold, of each region. `names`: what the provider calls a
    model, by its public name.
    """
    billed = billed_by(line for line in lines if scope.first <= line.day <= scope.last)
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(owners_connection(url)) for url in owners]
        rows: list[asyncpg.Record] = []
        for connection in connections:
            await require_owner(connection)
            rows += await rows_of(connection, scope)
        used = used_by(rows, lambda model: names.get(model, model))
        hints = await _hints(connections, scope)
        found = Reconciled()
        on_the_bill = {model for _, model in billed}
        for place in sorted(billed.keys() | used.keys()):
            if place[1] not in on_the_bill:
                found.elsewhere.append(f"{place[0]} {place[1]}: {used[place].cost_micro_usd} micro-USD")
                continue
            row = compare(place, billed.get(place), used.get(place), hints)
            found.rows.append(row)
            if row.differences and row.billed is not None and row.billed.lines:
                found.requests[place] = await _requests(connections, scope, row, row.billed)
    return found


async def _requests(connections: Sequence[asyncpg.Connection], scope: Scope, row: Row, billed: Billed) -> list[str]:
    models = sorted(row.used.names) if row.used else []
    day = Scope(row.place[0], row.place[0], scope.tenants, scope.but)
    return named(billed, [each for one in connections for each in await messages_of(one, day, models)])


async def _hints(connections: Sequence[asyncpg.Connection], scope: Scope) -> list[str]:
    own = sum([await connection.fetchval(OWN_KEYS) for connection in connections])
    erased = sum([await connection.fetchval(ERASED, scope.arguments[0]) for connection in connections])
    hints = []
    if own:
        hints.append(f"{own} tenants have provider keys of their own: those calls are on other bills (--except-tenant)")
    if erased:
        hints.append(f"{erased} tenants were erased since: the ledger has nothing of them any more")
    return hints
