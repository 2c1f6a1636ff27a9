"""Several regions in one process: a container for each, and which of them a caller belongs to."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from app.container import Container, Region, open_database
from app.core.config import Settings
from app.core.supervision import Loop
from app.residency.claims import ClaimSweep
from app.residency.opening import open_places
from app.residency.regional_places import RegionalPlaces


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


@asynccontextmanager
async def open_regions(settings: Settings, *, works: bool = False) -> AsyncIterator[Regions]:
    """All regions of `DATABASE_SHARDS`; raises `UnusableSetting` if one of them cannot be used."""
    async with AsyncExitStack() as stack:
        databases = {}
        for name, url in settings.region_urls().items():
            databases[name] = open_database(settings, url, name)
            stack.push_async_callback(databases[name].close)
        places = await open_places(databases, settings.secret_keys())
        sweep = ClaimSweep(places.directory)
        made: dict[str, Container] = {}
        first: Container | None = None
        for name, url in settings.region_urls().items():
            loops = [] if first else [Loop("claims", sweep.run, sweep.turns)]
            container = Container.create(settings, url, Region(places[name], places, first, loops), works=works)
            stack.push_async_callback(container.close_region if first else container.close)
            first = first or container
            made[name] = container
        yield Regions(places, made)
