from fastapi import APIRouter, Response

from app.api.errors import documented
from app.dependencies import PublicKeys
from app.schemas.jwks import KeySet

router = APIRouter(prefix="/.well-known", tags=["auth"])


@router.get("/jwks.json", summary="Public keys of access tokens", responses=documented(431))
async def key_set(keys: PublicKeys, response: Response) -> KeySet:
    """With RS256 or ES256 other services verify access tokens with these; the token's `kid` says which."""
    response.headers["Cache-Control"] = "public, max-age=300"
    return KeySet(keys=keys)
