"""Query and header parameters that several routes share."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Header, Path, Query
from pydantic import AfterValidator, AwareDatetime
from pydantic_core import PydanticCustomError

from app.db.pagination import MAX_LIMIT, MAX_SKIP, PageRequest
from app.messages.listing import MessageFilter
from app.models import MessageStatus
from app.schemas.base import ANY_CASE, EARLIEST, LATEST, STORABLE
from app.services.audit_service import AuditFilter


def _within_reach(skip: int) -> int:
    if skip > MAX_SKIP:
        raise PydanticCustomError(
            "too_deep", f"At most {MAX_SKIP}; further pages are reached by the `Link` header of each answer"
        )
    return skip


async def get_page(
    skip: Annotated[
        int,
        Query(
            ge=0,
            description="Rows to pass over; the `Link` header goes on deeper.",
            json_schema_extra={"maximum": MAX_SKIP},
        ),
        AfterValidator(_within_reach),
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 20,
    cursor: Annotated[
        str | None, Query(max_length=200, description="From the `Link` header; `skip` has no effect with it.")
    ] = None,
) -> PageRequest:
    return PageRequest(skip, limit, cursor)


async def get_filter(
    user_id: Annotated[str | None, Query(max_length=36), STORABLE, ANY_CASE] = None,
    conversation_id: Annotated[str | None, Query(max_length=36), STORABLE, ANY_CASE] = None,
    status: MessageStatus | None = None,
    since: Annotated[
        AwareDatetime | None, Query(ge=EARLIEST, le=LATEST, description="RFC 3339; messages from then on.")
    ] = None,
    q: Annotated[
        str | None,
        Query(
            min_length=1, max_length=500, description='Words in prompt or answer; "a phrase", `begin*`, `or`, `-not`.'
        ),
        STORABLE,
    ] = None,
) -> MessageFilter:
    return MessageFilter(user_id, conversation_id, status, since, q)


def _utc(value: datetime) -> datetime:
    """A day or a time without a zone is UTC."""
    value = value if value.tzinfo else value.replace(tzinfo=UTC)
    if not EARLIEST <= value <= LATEST:
        raise PydanticCustomError("out_of_range", "The time must lie between 1970 and 9999")
    return value


Moment = Annotated[datetime | None, AfterValidator(lambda value: value and _utc(value))]


async def get_usage_from(
    since: Annotated[
        Moment, Query(alias="from", description="A day or time (RFC 3339); empty: the month's beginning.")
    ] = None,
) -> datetime:
    return since or datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


async def get_usage_to(
    until: Annotated[Moment, Query(alias="to", description="Before this day or time; empty: now.")] = None,
) -> datetime:
    return until or datetime.now(UTC)


async def get_audit_filter(
    action: Annotated[str | None, Query(max_length=50), STORABLE] = None,
    actor_id: Annotated[str | None, Query(max_length=36), STORABLE, ANY_CASE] = None,
    target_id: Annotated[str | None, Query(max_length=36), STORABLE, ANY_CASE] = None,
) -> AuditFilter:
    return AuditFilter(action, actor_id, target_id)


PathId = Annotated[str, Path(alias="id", max_length=100), ANY_CASE]
Paging = Annotated[PageRequest, Depends(get_page)]
Filter = Annotated[MessageFilter, Depends(get_filter)]
AuditNarrowed = Annotated[AuditFilter, Depends(get_audit_filter)]
UsageFrom = Annotated[datetime, Depends(get_usage_from)]
UsageTo = Annotated[datetime, Depends(get_usage_to)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="The same key and body make one thing, however often they are sent; kept for 24 hours.",
    ),
]
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", max_length=100)]
