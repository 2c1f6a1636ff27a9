from typing import Annotated

from pydantic import Field

from app.schemas.base import ReadModel, RequestBody, Timestamp
from app.webhooks.url import MAX_LENGTH


class ProviderKeySet(RequestBody):
    """`base_url`: the provider's address, where it is not the one that the service asks: a public one."""

    api_key: Annotated[
        str,
        Field(min_length=1, max_length=1000, pattern=r"^[\x21-\x7e]+$", repr=False, examples=["sk-proj-..."]),
    ]
    base_url: Annotated[str | None, Field(max_length=MAX_LENGTH, examples=["https://llm.acme.com/v1"])] = None


class ProviderKeyRead(ReadModel):
    """Of the key the last four characters alone; null: it is too short to show any."""

    provider: str
    last_four: str | None
    base_url: Annotated[str | None, Field(description="null: where the service asks the provider.")]
    set_at: Timestamp
    set_by: Annotated[str, Field(description="The admin who set it; it may be gone by now.")]
