"""Tenants' own keys at providers, as calls need them: opened, in the memory of this process alone.

They are read once in a while and not with each call. Whoever changes one tells all processes when it commits; where
nobody hears (behind a pooler) what is known here holds for `KNOWN_SECONDS` at most.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from time import monotonic

import structlog
from sqlalchemy import text

from app.core.credentials.envelope import MasterKeys, Unopenable, WrappedKey
from app.core.errors import AppError, ProviderKeyUnusable, ProviderUnavailable
from app.db import rls
from app.db.execution import Record
from app.llm.base import Credential
from app.residency.places import Places

KNOWN_SECONDS = 30.0
TENANTS_KEPT = 10_000

READ = text("""
SELECT provider_keys.provider, provider_keys.sealed, provider_keys.base_url,
       tenant_data_keys.master, tenant_data_keys.sealed AS data_key
FROM provider_keys LEFT JOIN tenant_data_keys ON tenant_data_keys.tenant_id = :tenant_id
WHERE provider_keys.tenant_id = :tenant_id
""")
Known = Mapping[str, Credential | None]
"""By provider; None: there is one that cannot be opened."""
logger = structlog.get_logger()


class SealedKeyRow(Record):
    __slots__ = ()

    provider: str
    sealed: bytes
    base_url: str | None
    master: str | None
    data_key: bytes | None


def purpose_of(provider: str, base_url: str | None) -> tuple[str, str, str]:
    """What a provider's key is bound to: sent to another address, or to another provider, it does not open."""
    return ("provider key", provider, base_url or "")


class ProviderCredentials:
    """`masters` None: this service keeps none, and nothing is read."""

    def __init__(self, places: Places, masters: MasterKeys | None) -> None:
        self._places = places
        self._masters = masters
        # With the moment until which it holds, in the order in which they were read.
        self._known: OrderedDict[str, tuple[float, Known]] = OrderedDict()
        self._reading: dict[str, asyncio.Task[Known]] = {}

    async def of(self, tenant_id: str, provider: str) -> Credential | None:
        """The tenant's own credential; None: it has none there.

        Raises:
            ProviderKeyUnusable: it has one, which this process cannot open. Nobody else's is taken in its place.
            ProviderUnavailable: nobody can say.
        """
        if self._masters is None or not tenant_id:
            return None
        known = await self._of_tenant(tenant_id, self._masters)
        if provider not in known:
            return None
        credential = known[provider]
        if credential is None:
            raise ProviderKeyUnusable
        return credential

    def forget(self, tenant_id: str) -> None:
        """It has changed; what is being read at this moment may be older."""
        self._known.pop(tenant_id, None)
        self._reading.pop(tenant_id, None)

    async def _of_tenant(self, tenant_id: str, masters: MasterKeys) -> Known:
        found = self._known.get(tenant_id)
        if found is not None and found[0] > monotonic():
            return found[1]
        reading = self._reading.get(tenant_id)
        if reading is None:
            reading = self._reading[tenant_id] = asyncio.create_task(self._read(tenant_id, masters))
            reading.add_done_callback(lambda task: self._note(tenant_id, task))
        try:
            return await asyncio.shield(reading)
        except AppError:  # of the database, which may be back in a moment
            raise ProviderUnavailable from None

    def _note(self, tenant_id: str, reading: "asyncio.Task[Known]") -> None:
        if self._reading.get(tenant_id) is not reading:  # it was changed meanwhile
            return
        del self._reading[tenant_id]
        if reading.cancelled() or reading.exception() is not None:
            return
        self._known[tenant_id] = monotonic() + KNOWN_SECONDS, reading.result()
        self._known.move_to_end(tenant_id)
        if len(self._known) > TENANTS_KEPT:
            self._known.popitem(last=False)

    async def _read(self, tenant_id: str, masters: MasterKeys) -> Known:
        database = (await self._places.of_caller(tenant_id)).database
        async with database.background(rls.enter_tenant(tenant_id), tenant_id) as connection:
            rows = (await connection.execute(READ, {"tenant_id": tenant_id}, SealedKeyRow)).all()
        return {row.provider: _opened(tenant_id, masters, row) for row in rows}


def _opened(tenant_id: str, masters: MasterKeys, row: SealedKeyRow) -> Credential | None:
    try:
        if row.master is None or row.data_key is None:
            raise Unopenable
        data_key = masters.open(tenant_id, WrappedKey(row.master, row.data_key))
        secret = data_key.open(row.sealed, *purpose_of(row.provider, row.base_url))
    except Unopenable as error:
        logger.warning("provider_key_unusable", tenant_id=tenant_id, provider=row.provider, reason=type(error).__name__)
        return None
    return Credential(secret.decode(), row.base_url or "")
