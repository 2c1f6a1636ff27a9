"""The containers of a process: one, or one for each region, and which of them a caller belongs to."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from app.container import Container, open_database, open_one_place
from app.core.config import Settings
from app.core.supervision import Loop
from app.db.provision import ready_database
from app.db.start_check import check_databases
from app.gauges import ProcessGauges, waiting_work
from app.observability.sampler import Sampler
from app.residency.claims import ClaimSweep
from app.residency.opening import open_places
from app.residency.places import Place, Places
from app.residency.regional_places import RegionalPlaces
from app.services.master_key_rotation import check_master_keys
from app.services.text_key_upkeep import check_text_keys
from app.shared import Shared


class Regions:
    """`by_name`: the first region's container comes first."""

    def __init__(self, places: RegionalPlaces, by_name: Mapping[str, Container]) -> None:
        self._places = places
        self._by_name = by_name

    @property
    def containers(self) -> list[Container]:
        return list(self._by_name.values())

    async def of_caller(self, tenant_id: str) -> Container:
        place = await self._places.of_caller(tenant_id)
        return self._by_name[place.region or ""]


@dataclass(frozen=True, slots=True)
class Opened:
    """`regions` is None where there is one database: nobody is asked which."""

    containers: list[Container]
    regions: Regions | None = None


@asynccontextmanager
async def open_containers(settings: Settings, *, works: bool = False) -> AsyncIterator[Opened]:
    """What serves requests, not yet begun; raises `UnusableSetting` if a database or a Redis cannot be used."""
    async with AsyncExitStack() as stack:
        if len(settings.region_urls()) > 1:
            places, sweep = await _open_regional(stack, settings)
            by_url = {url: places[name] for name, url in settings.region_urls().items()}
            yield await _opened(stack, settings, places, by_url, [sweep], works=works)
        else:
            url = await stack.enter_async_context(ready_database(settings))
            await check_databases(settings, url)
            place = open_one_place(settings, url)
            yield await _opened(stack, settings, place, {url: place.chosen(None)}, [], works=works)


async def _open_regional(stack: AsyncExitStack, settings: Settings) -> tuple[RegionalPlaces, Loop]:
    databases = {}
    for name, url in settings.region_urls().items():
        databases[name] = open_database(settings, url, name)
        stack.push_async_callback(databases[name].close)
    places = await open_places(databases, settings.secret_keys())
    sweep = ClaimSweep(places.directory)
    return places, Loop("claims", sweep.run, sweep.turns)


async def _opened(
    stack: AsyncExitStack,
    settings: Settings,
    places: Places,
    by_url: Mapping[str, Place],
    sweeps: list[Loop],
    *,
    works: bool,
) -> Opened:
    shared = Shared.create(settings, places)
    stack.push_async_callback(shared.close)
    await shared.open()
    sampler = Sampler() if settings.metrics_port else None
    # What the process does once, the first container's supervisor watches.
    own, once = [Loop("audit_tally", shared.tally.run)], sweeps
    if sampler is not None:
        waiting = waiting_work(
            [place.database for place in by_url.values()],
            queue=works or settings.message_workers,
            documents=shared.embedders is not None,
        )
        own += [Loop("metrics", sampler.run), waiting]
    containers = []
    for url, place in by_url.items():
        containers.append(Container.create(shared, place, url, works=works, own=own, once=once))
        stack.push_async_callback(containers[-1].close)
        own, once = [], []
    databases = [place.database for place in by_url.values()]
    await check_master_keys(databases, shared.masters)
    await check_text_keys(databases, shared.masters)
    stack.push_async_callback(shared.tally.flush)
    if sampler is not None:
        gauges = ProcessGauges(
            [container.database for container in containers],
            [container.engine for container in containers],
            [container.background for container in containers],
            shared.limits,
        )
        sampler.readings.append(gauges.show)
    if not isinstance(places, RegionalPlaces):
        return Opened(containers)
    names = [place.region or "" for place in by_url.values()]
    return Opened(containers, Regions(places, dict(zip(names, containers, strict=True))))
