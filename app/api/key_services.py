"""What routes of keys need, as annotated nouns: beside those of `app/dependencies.py`."""

from typing import Annotated

from fastapi import Depends, Request

from app.callers import container_of, shared_of
from app.core.errors import ProviderKeysOff
from app.core.principal import Principal
from app.dependencies import CurrentAdmin, CurrentUser, FreshAdmin, session_db, tenant_db
from app.services.key_rotation import KeyRotation
from app.services.provider_key_service import ProviderKeyService


def provider_keys_of(request: Request, principal: Principal) -> ProviderKeyService:
    shared = shared_of(request)
    if shared.masters is None:
        raise ProviderKeysOff
    return ProviderKeyService(
        tenant_db(request, principal), shared.masters, shared.provider_credentials, shared.key_check
    )


async def get_provider_keys(request: Request, principal: CurrentAdmin) -> ProviderKeyService:
    return provider_keys_of(request, principal)


async def get_provider_key_admin(request: Request, principal: FreshAdmin) -> ProviderKeyService:
    return provider_keys_of(request, principal)


async def get_rotation(request: Request, principal: CurrentUser) -> KeyRotation:
    container = container_of(request)
    shared = container.shared
    return KeyRotation(
        session_db(request, principal),
        shared.sessions,
        container.claims,
        shared.idempotency_keys,
        shared.secret_keys,
    )


ProviderKeys = Annotated[ProviderKeyService, Depends(get_provider_keys)]
ProviderKeyAdmin = Annotated[ProviderKeyService, Depends(get_provider_key_admin)]
Rotation = Annotated[KeyRotation, Depends(get_rotation)]
