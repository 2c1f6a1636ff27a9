"""Make the database ready in one shot: database, roles and `alembic upgrade head`.

Uses MIGRATION_DATABASE_URL (the owner's), DATABASE_DIRECT_URL or DATABASE_URL; without any, the embedded PostgreSQL.
Where there are regions: MIGRATION_DATABASE_SHARDS or DATABASE_SHARDS, all of them.
"""

import asyncio

from sqlalchemy import make_url

from app.core.config import get_settings
from app.db.embedded import EmbeddedPostgres
from app.db.provision import migrate, provision


async def main() -> None:
    settings = get_settings()
    for region, url in settings.region_urls().items():
        owner_url = make_url(settings.owner_urls()[region])
        await provision(owner_url, make_url(url))
        print(f"Ready: {region}, {owner_url.render_as_string(hide_password=True)}")
    if settings.region_urls():
        return
    runtime = settings.database_direct_url or settings.database_url or settings.migration_database_url
    if runtime:
        owner = settings.migration_database_url or runtime
        await provision(make_url(owner), make_url(runtime))
        print(f"Ready: {make_url(owner).render_as_string(hide_password=True)}")
        return
    async with EmbeddedPostgres(settings.data_dir) as embedded:
        await migrate(embedded.url)
        print(f"Ready: the embedded PostgreSQL in {settings.data_dir}")


if __name__ == "__main__":
    asyncio.run(main())
