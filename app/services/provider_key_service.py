"""A tenant's own keys at providers, as its admins set and see them. None is ever shown again."""

from typing import Any

import structlog
from sqlalchemy import LargeBinary, String, Text, bindparam, text

from app.core.credentials.envelope import DataKey, MasterKeys, Unopenable, WrappedKey
from app.core.errors import NotFound, ProviderKeyUnusable
from app.db.execution import Connection, Record
from app.db.session import TenantSession
from app.llm.base import Credential
from app.llm.key_check import KeyCheck
from app.models.rows import ProviderKeyRow
from app.services.audit_service import record_by
from app.services.provider_credentials import ProviderCredentials, purpose_of

SHOWN_CHARACTERS, SHORTEST_SHOWN = 4, 16
"""Of a shorter key its last characters would say too much."""

SHOWN = ", ".join(f"provider_keys.{name}" for name in ProviderKeyRow.columns())
LIST = text(f"SELECT {SHOWN} FROM provider_keys WHERE provider_keys.tenant_id = :tenant_id ORDER BY provider")
READ = text(f"""
SELECT {SHOWN} FROM provider_keys WHERE provider_keys.tenant_id = :tenant_id AND provider_keys.provider = :provider
""")
SET = text(f"""
INSERT INTO provider_keys (tenant_id, provider, sealed, base_url, last_four, set_by, set_at)
VALUES (:tenant_id, :provider, :sealed, :base_url, :last_four, :user_id, now())
ON CONFLICT (tenant_id, provider) DO UPDATE SET sealed = excluded.sealed, base_url = excluded.base_url,
  last_four = excluded.last_four, set_by = excluded.set_by, set_at = excluded.set_at
WHERE provider_keys.tenant_id = :tenant_id
RETURNING {SHOWN}
""").bindparams(
    bindparam("sealed", type_=LargeBinary), bindparam("base_url", type_=Text), bindparam("last_four", type_=String)
)
DELETE = text("""
DELETE FROM provider_keys WHERE provider_keys.tenant_id = :tenant_id AND provider_keys.provider = :provider
RETURNING provider_keys.provider
""")
MAKE_DATA_KEY = text("""
INSERT INTO tenant_data_keys (tenant_id, master, sealed) VALUES (:tenant_id, :master, :sealed)
ON CONFLICT (tenant_id) DO NOTHING RETURNING tenant_data_keys.master, tenant_data_keys.sealed
""").bindparams(bindparam("sealed", type_=LargeBinary))
DATA_KEY = text("""
SELECT tenant_data_keys.master, tenant_data_keys.sealed FROM tenant_data_keys
WHERE tenant_data_keys.tenant_id = :tenant_id
""")
# Heard by all processes when it commits.
TELL = text("SELECT pg_notify('llm_saas_messages', 'providers ' || :tenant_id)").bindparams(
    bindparam("tenant_id", type_=String)
)
logger = structlog.get_logger()


class WrappedRow(Record):
    __slots__ = ()

    master: str
    sealed: bytes


class ProviderKeyService:
    """Of the caller's tenant."""

    def __init__(
        self, db: TenantSession, masters: MasterKeys, credentials: ProviderCredentials, check: KeyCheck
    ) -> None:
        self._db = db
        self._masters = masters
        self._credentials = credentials
        self._check = check
        self._tenant_id = db.principal.tenant_id

    async def list(self) -> list[ProviderKeyRow]:
        async with self._db.begin() as connection:
            return list((await connection.execute(LIST, {"tenant_id": self._tenant_id}, ProviderKeyRow)).all())

    async def get(self, provider: str) -> ProviderKeyRow:
        """Raises `NotFound`: the tenant has none there, or there is no such provider."""
        async with self._db.begin() as connection:
            values = {"tenant_id": self._tenant_id, "provider": provider}
            found = (await connection.execute(READ, values, ProviderKeyRow)).one_or_none()
        if found is None:
            raise NotFound
        return found

    async def set(self, provider: str, api_key: str, base_url: str | None, *, test: bool) -> ProviderKeyRow:
        """Keep a key in the place of the one before; the tenant's next call uses it. `test`: ask the provider first.

        Raises:
            NotFound: there is no such provider.
            InvalidBaseUrl
            ProviderKeyRefused, ProviderNotReached: nothing was stored.
            ProviderKeyUnusable: what seals the tenant's secrets cannot be opened.
        """
        if provider not in self._check:
            raise NotFound
        base_url = None if base_url is None else self._check.base_url(base_url)
        if test:
            await self._check.test(provider, Credential(api_key, base_url or ""), self._tenant_id)
        values: dict[str, Any] = {
            "tenant_id": self._tenant_id,
            "user_id": self._db.principal.user_id,
            "provider": provider,
            "base_url": base_url,
            "last_four": api_key[-SHOWN_CHARACTERS:] if len(api_key) >= SHORTEST_SHOWN else None,
        }
        async with self._db.begin() as connection:
            data_key = await self._data_key(connection)
            values["sealed"] = data_key.seal(api_key.encode(), *purpose_of(provider, base_url))
            row = (await connection.execute(SET, values, ProviderKeyRow)).one()
            await record_by(self._db, connection, "provider_key.set", provider=provider, base_url=base_url, tested=test)
            await connection.execute(TELL, {"tenant_id": self._tenant_id})
        self._credentials.forget(self._tenant_id)
        return row

    async def delete(self, provider: str) -> None:
        """From the next call on the service's own is used; raises `NotFound`."""
        async with self._db.begin() as connection:
            values = {"tenant_id": self._tenant_id, "provider": provider}
            if (await connection.execute(DELETE, values)).one_or_none() is None:
                raise NotFound
            await record_by(self._db, connection, "provider_key.deleted", provider=provider)
            await connection.execute(TELL, {"tenant_id": self._tenant_id})
        self._credentials.forget(self._tenant_id)

    async def _data_key(self, connection: Connection) -> DataKey:
        """The tenant's, made with its first secret."""
        data_key, wrapped = self._masters.make(self._tenant_id)
        values = {"tenant_id": self._tenant_id, "master": wrapped.master, "sealed": wrapped.sealed}
        if (await connection.execute(MAKE_DATA_KEY, values)).one_or_none() is not None:
            return data_key
        found = (await connection.execute(DATA_KEY, {"tenant_id": self._tenant_id}, WrappedRow)).one()
        try:
            return self._masters.open(self._tenant_id, WrappedKey(found.master, found.sealed))
        except Unopenable as error:
            logger.warning("data_key_unusable", tenant_id=self._tenant_id, reason=type(error).__name__)
            raise ProviderKeyUnusable from None
