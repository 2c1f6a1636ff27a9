"""Examples of providers' keys, as `app/api/examples.py` has the others'."""

from pydantic import BaseModel

from app.api.examples import ADMIN, AT
from app.core import errors
from app.schemas.api_key import ApiKeyRotate
from app.schemas.provider_key import ProviderKeyRead, ProviderKeySet

ANSWERS: tuple[BaseModel, ...] = (
    ProviderKeyRead(provider="openai", last_four="x4Yz", base_url=None, set_at=AT, set_by=ADMIN),
)
REQUESTS: tuple[BaseModel, ...] = (ProviderKeySet(api_key="sk-proj-..."), ApiKeyRotate(overlap_seconds=3600))
OWN: dict[tuple[str, str], errors.AppError] = {
    (operation, "501"): errors.ProviderKeysOff()
    for operation in ("list_provider_keys", "read_provider_key", "set_provider_key", "delete_provider_key")
} | {
    ("set_provider_key", "502"): errors.ProviderNotReached(),
    ("rotate_api_key", "403"): errors.FreshLoginRequired(),
    ("rotate_api_key", "409"): errors.TooManyApiKeys(),
}
