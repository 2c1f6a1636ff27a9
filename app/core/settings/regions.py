"""Regions: several databases, in each of which some tenants live whole."""

import json
import re
from collections.abc import Iterable
from typing import Any, Self

from pydantic import SecretStr, model_validator

from app.core.settings.base import SettingsGroup
from app.core.settings.database_url import checked_url, with_password

REGION = re.compile(r"[a-z][a-z0-9-]{0,30}")
# A comma may also stand within a URL: what begins the next entry is a name and a URL.
NEXT_URL = re.compile(r",\s*(?=[a-z][a-z0-9-]*=postgres)")
LISTS = ("database_shards", "migration_database_shards")


class RegionSettings(SettingsGroup):
    database_shards: SecretStr = SecretStr("")
    database_shard_passwords: SecretStr = SecretStr("")
    migration_database_shards: SecretStr = SecretStr("")
    migration_database_shard_passwords: SecretStr = SecretStr("")

    @model_validator(mode="before")
    @classmethod
    def _first_region_is_home(cls, values: dict[str, Any]) -> dict[str, Any]:
        """What knows one database alone, as most commands do, works with that of the first region."""
        urls = {}
        for name, url_of_home in zip(LISTS, ("database_url", "migration_database_url"), strict=True):
            if found := _urls(values, name):
                urls[url_of_home] = next(iter(found.values()))
        if urls:  # what stands beside them is of the URLs whose place they take
            values = {key: value for key, value in values.items() if key.removesuffix("_password") + "_url" not in urls}
        return values | urls

    @model_validator(mode="after")
    def _agree_on_the_regions(self) -> Self:
        owners = _urls(self.__dict__, "migration_database_shards")
        if owners and list(owners) != list(self.region_urls()):
            raise ValueError("MIGRATION_DATABASE_SHARDS must name the regions of DATABASE_SHARDS, in the same order")
        if len(self.region_urls()) > 1:
            if self.__dict__.get("database_direct_url"):
                raise ValueError("DATABASE_DIRECT_URL leads past the pooler of one database, of several there is none")
            if self.__dict__.get("database_replica_url"):
                raise ValueError("DATABASE_REPLICA_URL is a replica of one database, DATABASE_SHARDS names several")
        return self

    def region_urls(self) -> dict[str, str]:
        """The URL of each region's database by its name, the home's first; empty without `DATABASE_SHARDS`."""
        return _urls(self.__dict__, "database_shards")

    def owner_urls(self) -> dict[str, str]:
        """As `region_urls`, of the logins that migrate."""
        return _urls(self.__dict__, "migration_database_shards") or self.region_urls()


def _urls(values: dict[str, Any], name: str) -> dict[str, str]:
    urls = _by_region(name, _text(values.get(name)), NEXT_URL)
    passwords_name = name.removesuffix("s") + "_passwords"
    next_password = re.compile(rf",\s*(?=(?:{'|'.join(map(re.escape, urls))})=)") if urls else NEXT_URL
    passwords = _by_region(passwords_name, _text(values.get(passwords_name)), next_password)
    for region in passwords.keys() - urls.keys():
        raise ValueError(f"{passwords_name.upper()} has a password for {region}, which {name.upper()} does not name")
    found = {}
    for region, url in urls.items():
        try:
            found[region] = checked_url(with_password(url, passwords[region]) if region in passwords else url)
        except ValueError as error:
            raise ValueError(f"{name.upper()}, region {region}: {error}") from None
    return found


def _by_region(name: str, text: str, between: re.Pattern[str]) -> dict[str, str]:
    """A JSON object, or `name=value,name=value`; raises `ValueError`, which quotes no value."""
    if not text:
        return {}
    if text.startswith("{"):
        try:
            pairs = json.loads(text, object_pairs_hook=list)
        except ValueError:
            raise ValueError(f"{name.upper()} is not valid JSON") from None
    else:
        pairs = [tuple(part.strip().partition("=")[::2]) for part in between.split(text) if part.strip()]
    _check_names(name, (region for region, _ in pairs))
    if not all(isinstance(value, str) and value for _, value in pairs):
        raise ValueError(f"{name.upper()} needs a value for each region")
    return dict(pairs)


def _check_names(name: str, regions: Iterable[str]) -> None:
    seen: set[str] = set()
    for region in regions:
        if not REGION.fullmatch(region):
            raise ValueError(f"{name.upper()} must be name=value,... or a JSON object; names are as eu or us-east-1")
        if region in seen:
            raise ValueError(f"{name.upper()} names {region} twice")
        seen.add(region)


def _text(value: SecretStr | str | None) -> str:
    return (value.get_secret_value() if isinstance(value, SecretStr) else value or "").strip()
