"""The command that seals what was stored before texts were sealed."""

from app.core.config import Settings
from app.core.settings.unusable import UnusableSetting
from app.reach import owners_of, places_of
from app.services.stored_texts import seal_all
from app.services.text_key_upkeep import check_text_keys


async def encrypt_text(settings: Settings) -> str:
    """Seal the texts of all tenants, in all regions; returns the line to print. Raises AppError, UnusableSetting."""
    if not settings.encrypt_text:
        raise UnusableSetting("ENCRYPT_TEXT", "it is not set: what is stored meanwhile would be in plain")
    rows, tenants, left = 0, 0, list[str]()
    async with places_of(settings) as places, owners_of(settings) as owners:
        databases = {url: places.chosen(region or None).database for region, url in owners.items()}
        await check_text_keys(list(databases.values()), settings.master_keys())
        for url, database in databases.items():
            assert database.texts is not None
            done = await seal_all(database, database.texts, url)
            rows, tenants, left = rows + done.rows, tenants + done.tenants, left + done.left
    if left:
        reason = f"{rows} rows of {tenants} tenants encrypted; left, for another try: {', '.join(left)}"
        raise UnusableSetting("ENCRYPT_TEXT", reason)
    return f"{rows} rows of {tenants} tenants encrypted: no text is left in plain"
