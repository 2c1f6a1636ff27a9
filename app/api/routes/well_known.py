from fastapi import APIRouter

from app.dependencies import PublicKeys
from app.schemas.jwks import KeySet

router = APIRouter(prefix="/.well-known", tags=["auth"])


@router.get("/jwks.json", summary="Public keys of access tokens")
async def key_set(keys: PublicKeys) -> KeySet:
    """With RS256 or ES256 other services verify access tokens with these; the token's `kid` says which."""
    return KeySet(keys=keys)
