"""What a tenant's webhooks are signed with: derived from the server's key, and replaced when its admins say so."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Interval, bindparam, text

from app.core.errors import AuthenticationError
from app.db.execution import Connection, Record
from app.db.session import TenantSession
from app.services.audit_service import record_by

# Receivers take the new secret over in this time: both sign.
BOTH_FOR = timedelta(hours=24)

STATE = text("""
SELECT tenants.webhook_secret_version AS version,
       COALESCE(tenants.webhook_secret_changed_at > now() - :both_for, false) AS both
FROM tenants WHERE tenants.id = :tenant_id AND tenants.erasing_at IS NULL
""").bindparams(bindparam("both_for", type_=Interval, value=BOTH_FOR))
REPLACE = text("""
UPDATE tenants SET webhook_secret_version = tenants.webhook_secret_version + 1, webhook_secret_changed_at = now()
WHERE tenants.id = :tenant_id RETURNING tenants.webhook_secret_version AS version, true AS both
""")


class SecretRow(Record):
    """Which of a tenant's secrets holds, and whether the one before does too."""

    __slots__ = ()

    version: int
    both: bool


class WebhookSecrets:
    """`secret_keys`: the present one first."""

    def __init__(self, secret_keys: Sequence[str]) -> None:
        self._secret_keys = tuple(key.encode() for key in secret_keys)

    async def of_tenant(self, connection: Connection, tenant_id: str) -> list[bytes]:
        """Each that a receiver may still verify with, the present one first; none of a tenant that is being erased."""
        state = (await connection.execute(STATE, {"tenant_id": tenant_id}, SecretRow)).one_or_none()
        return self.derive(tenant_id, state) if state else []

    def derive(self, tenant_id: str, state: SecretRow) -> list[bytes]:
        versions = [state.version, state.version - 1] if state.both else [state.version]
        names = [f"webhook:{tenant_id}:{version}" if version else f"webhook:{tenant_id}" for version in versions]
        return [hmac.digest(key, name.encode(), hashlib.sha256) for key in self._secret_keys for name in names]


class WebhookSecretService:
    """The secret of the caller's tenant, as Standard Webhooks writes it. That it was read or replaced is noted."""

    def __init__(self, db: TenantSession, secrets: WebhookSecrets) -> None:
        self._db = db
        self._secrets = secrets

    async def read(self) -> str:
        async with self._db.begin() as connection:
            secrets = await self._secrets.of_tenant(connection, self._db.principal.tenant_id)
            if not secrets:  # marked since the transaction began
                raise AuthenticationError
            await record_by(self._db, connection, "webhook_secret.read")
        return _shown(secrets[0])

    async def replace(self) -> str:
        """The new one. The one before signs beside it for a day; replaced again within that, it does not."""
        tenant_id = self._db.principal.tenant_id
        async with self._db.begin() as connection:
            state = (await connection.execute(REPLACE, {"tenant_id": tenant_id}, SecretRow)).one()
            await record_by(self._db, connection, "webhook_secret.replaced")
        return _shown(self._secrets.derive(tenant_id, state)[0])


def _shown(secret: bytes) -> str:
    return "whsec_" + base64.b64encode(secret).decode()
