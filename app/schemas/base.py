"""Types that every resource shares."""

from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

UNKNOWN_FIELDS_NAMED = 10


class RequestBody(BaseModel):
    """A body; a field it does not know is refused, so that `role` or `tenant_id` cannot slip in."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _sift(cls, body: Any) -> Any:
        """Leave out nulls in the place of what has a default, as many clients write it, and most of what is unknown.

        Each unknown field costs an error, and a megabyte holds a hundred thousand of them.
        """
        if not isinstance(body, dict):
            return body
        fields = cls.model_fields
        known = {name: body[name] for name in fields if name in body}
        unknown = islice((name for name in body if name not in fields), UNKNOWN_FIELDS_NAMED)
        kept = {name: value for name, value in known.items() if value is not None or _may_be_null(fields[name])}
        return kept | dict.fromkeys(unknown)


def _may_be_null(field: FieldInfo) -> bool:
    return field.is_required() or field.default is None


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

ANY_CASE = AfterValidator(lambda value: value and value.lower())
"""For ids: a UUID is read in either case (RFC 9562), and ours are written in lower case."""

Id = Annotated[str, Field(min_length=1, max_length=36), ANY_CASE]

# Converting a time at the edge of the calendar to UTC overflows.
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)

Timestamp = Annotated[
    datetime,
    PlainSerializer(_utc, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""RFC 3339 in UTC with `Z`."""
