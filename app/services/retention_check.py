"""Whether a tenant that keeps nothing leaves a word anywhere: said by every way, and looked for afterwards."""

import asyncio
import secrets
from collections.abc import Mapping, Sequence

import httpx2

from app.core.errors import AppError
from app.core.ids import new_id
from app.core.principal import Origin
from app.core.security import PasswordHasher
from app.residency.places import Places
from app.services.canaries import Needles, Planted, plant, uproot
from app.services.tenant_service import FirstAdmin, TenantService
from app.services.traces import DatabaseTraces, Report, look_in_log, look_in_redis, size_of

NOTHING = 0
# Pieces of streams, audit and last uses are written in batches.
SETTLING_SECONDS = 1.0


class ServiceNotUsable(AppError):
    """It does not answer, or not as it should: nothing is known."""


class TracesFound(AppError):
    """The report says where."""


class NotAllTried(AppError):
    """Nothing was found, and some of the ways did not do what they should: the report says which."""


async def check_retention(
    url: str,
    places: Places,
    owners: Mapping[str, str],
    passwords: PasswordHasher,
    *,
    redis_url: str = "",
    logs: Sequence[str] = (),
    days: int = NOTHING,
) -> str:
    """The report. `owners`: the owner's URL of each region; `logs`: files that the service writes to.

    Raises:
        TracesFound, NotAllTried: with the report.
        ServiceNotUsable, OSError: nothing is known.
    """
    try:
        planted, report = await _planted_and_looked_for(url, places, owners, passwords, redis_url, logs, days)
    except httpx2.HTTPError as error:
        raise ServiceNotUsable(f"{url}: {error or type(error).__name__}") from error
    return _judged(planted, report)


async def _planted_and_looked_for(
    url: str,
    places: Places,
    owners: Mapping[str, str],
    passwords: PasswordHasher,
    redis_url: str,
    logs: Sequence[str],
    days: int,
) -> tuple[list[Planted], Report]:
    name, email = f"verify-retention {new_id()}", f"verify-{new_id()}@retention.invalid"
    password = secrets.token_urlsafe(24)
    tenants = TenantService(places, passwords, Origin())
    tenant, _ = await tenants.create_by_operator(name, FirstAdmin(email, password))
    try:
        searched = [
            DatabaseTraces(owner, places.chosen(region or None).database, tenant.id) for region, owner in owners.items()
        ]
        starts = {log: size_of(log) for log in logs}
        for one in searched:
            await one.begin()
        planted, document = await plant(url, email, password, tenant.id, days, caches=bool(redis_url))
        await asyncio.sleep(SETTLING_SECONDS)
        said, kept, report = Needles(planted), Needles([document]), Report()
        for one in searched:
            await one.look(said, report)
            await one.look_beside_documents(kept, report)
        for needles in (said, kept):
            if redis_url:
                await look_in_redis(redis_url, needles, report)
            for log, start in starts.items():
                look_in_log(log, start, needles, report)
        if not redis_url:
            report.unseen.append("Redis: REDIS_URL is not set")
        if not logs:
            report.unseen.append("logs: none was named (--log)")
    finally:
        await uproot(url, email, password, tenant.id, name)
    return [*planted, document], report


def _judged(planted: list[Planted], report: Report) -> str:
    failed = [one for one in planted if not one.as_it_should]
    lines = [f"{one.way.name}: {one.status}" for one in planted]
    lines += [f"looked at: {what}" for what in dict.fromkeys(report.looked)]
    lines += [f"NOT looked at: {what}" for what in report.unseen]
    lines += [f"NOT as it should: {one.way.name} was answered with {one.status}" for one in failed]
    lines += [f"FOUND in {what}" for what in dict.fromkeys(report.found)]
    if report.found:
        raise TracesFound("\n".join(lines))
    if failed:
        raise NotAllTried("\n".join(lines))
    return "\n".join([*lines, f"{len(planted)} ways, and no word of them was found"])
