"""How a command reaches a deployment: its databases, as the service and as their owner."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from app.core.config import Settings
from app.db.provision import ready_database
from app.db.session import Database
from app.db.texts import texts_of
from app.residency.opening import open_places
from app.residency.places import OnePlace, Places

# Where regions have no names.
HOME = ""


@asynccontextmanager
async def places_of(settings: Settings, *, listed: bool = True) -> AsyncIterator[Places]:
    async with AsyncExitStack() as stack:
        databases = {}
        urls = settings.region_urls()
        if len(urls) <= 1:
            url = await stack.enter_async_context(ready_database(settings))
            database = Database(url, pool_size=1)
            database.texts = texts_of(settings)
            stack.push_async_callback(database.close)
            yield OnePlace(database, next(iter(urls), None))
            return
        for region, url in urls.items():
            databases[region] = Database(url, pool_size=2)
            databases[region].texts = texts_of(settings)
            stack.push_async_callback(databases[region].close)
        yield await open_places(databases, settings.secret_keys(), listed=listed)


@asynccontextmanager
async def owners_of(settings: Settings) -> AsyncIterator[dict[str, str]]:
    """The URL of each region's owner by its name; of the only one by `HOME`."""
    if owners := settings.owner_urls():
        yield owners
        return
    async with ready_database(settings) as url:
        yield {HOME: settings.migration_database_url or url}
