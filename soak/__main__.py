"""`python -m soak [section ...] [--scale 0.01] [--seed N] [--report PATH]`; without a name, all of them."""

import argparse
import asyncio
import logging
import sys
import time
from pathlib import Path
from typing import Any

import asyncpg
import uvloop

from soak import cancelled, cross_tenant, fuzz, uploads
from soak.report import Failed, Outcome, page
from soak.seed import dsn
from soak.service import ROOT, Service, running

SECTIONS = {"cross_tenant": cross_tenant.run, "cancelled": cancelled.run, "fuzz": fuzz.run, "uploads": uploads.run}
TENANTS, PROCESSES = 200, 2
LOG_SHOWN = 10_000


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="section", help=", ".join(SECTIONS))
    parser.add_argument("--scale", type=float, default=1.0, help="1: the full run; 0.001: a smoke test")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", type=int, help="one input of the section fuzz, by its number")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="of the service")
    parser.add_argument("--report", type=Path, help="where the page goes; of a full run: docs/soak.md")
    found = parser.parse_args()
    if unknown := set(found.sections) - SECTIONS.keys():
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    return found


async def main(options: argparse.Namespace) -> str:
    print(f"seed {options.seed}, scale {options.scale:g}", flush=True)
    outcomes: list[Outcome] = []
    asyncio.get_running_loop().set_exception_handler(_ignore_cut_connections)
    async with running(TENANTS, options.processes) as service:
        if options.only is not None:
            outcomes.append(await fuzz.send(service, options.seed, range(options.only, options.only + 1)))
            return page(outcomes, options.seed, options.scale, await _postgres_version(service))
        for name in options.sections or list(SECTIONS):
            try:
                outcomes.append(await SECTIONS[name](service, options.scale, options.seed))
            except Failed as failure:
                raise Failed(f"{failure}\n{service.errors()[-LOG_SHOWN:]}") from failure
            if logged := service.errors():
                raise Failed(f"the service logged errors:\n{logged[-LOG_SHOWN:]}")
        version = await _postgres_version(service)
    return page(outcomes, options.seed, options.scale, version)


def _ignore_cut_connections(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A driver's connection that is cut off complains to nobody: the section cancelled makes thousands of those."""
    if not isinstance(context.get("exception"), ConnectionError):
        loop.default_exception_handler(context)


async def _postgres_version(service: Service) -> str:
    connection = await asyncpg.connect(dsn(service.url))
    version: str = await connection.fetchval("SHOW server_version")
    await connection.close()
    return version


if __name__ == "__main__":
    logging.getLogger("alembic").setLevel(logging.WARNING)
    chosen = arguments()
    try:
        found = uvloop.run(main(chosen))
    except Failed as failure:
        sys.exit(f"FAILED (seed {chosen.seed}): {failure}")
    print(found)
    target = chosen.report or (ROOT / "docs" / "soak.md" if chosen.scale >= 1 and not chosen.sections else None)
    if target:
        target.write_text(found)
