"""Types that every resource shares."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError


class RequestBody(BaseModel):
    """A body; a field it does not know is refused, so that `role` or `tenant_id` cannot slip in."""

    model_config = ConfigDict(extra="forbid")


class ReadModel(BaseModel):
    """A representation; built from a row."""

    model_config = ConfigDict(from_attributes=True)


def _refuse_nul(value: str | None) -> str | None:
    if value and "\x00" in value:
        raise PydanticCustomError("nul_character", "The text must not contain the NUL character")
    return value


def _utc(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


STORABLE = AfterValidator(_refuse_nul)
"""For text that goes to PostgreSQL. Lone surrogates are refused by pydantic itself."""

Id = Annotated[str, Field(min_length=1, max_length=36)]

# Converting a time at the edge of the calendar to UTC overflows.
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)

Timestamp = Annotated[
    datetime,
    PlainSerializer(_utc, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""RFC 3339 in UTC with `Z`."""
