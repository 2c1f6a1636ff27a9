"""`python -m benchmarks [section ...]`; without a name, all of them."""

import asyncio
import logging
import sys

from benchmarks import (
    dialects,
    documents,
    encryption,
    environment,
    extras,
    fairness,
    growth,
    ingestion,
    latency,
    observed,
    provider_over_http,
    response_cache,
    round_trips,
    slow_provider,
    streams,
    tenant_data,
    throughput,
)

SECTIONS = {
    "throughput": throughput.run,
    "round_trips": round_trips.run,
    "provider_over_http": provider_over_http.run,
    "slow_provider": slow_provider.run,
    "latency": latency.run,
    "streams": streams.run,
    "dialects": dialects.run,
    "response_cache": response_cache.run,
    "extras": extras.run,
    "observed": observed.run,
    "encryption": encryption.run,
    "fairness": fairness.run,
    "tenant_data": tenant_data.run,
    "ingestion": ingestion.run,
    "growth": growth.run,
    "documents": documents.run,
}


async def main(names: list[str]) -> None:
    logging.getLogger("alembic").setLevel(logging.WARNING)
    print(f"seeding {environment.MESSAGES:,} messages over {environment.TENANTS} tenants", flush=True)
    async with environment.seeded_database() as url:
        for name in names or list(SECTIONS):
            await SECTIONS[name](url)


asyncio.run(main(sys.argv[1:]))
