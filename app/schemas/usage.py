from typing import Annotated

from pydantic import Field

from app.models import PeriodUnit
from app.schemas.base import ReadModel, RequestBody, Timestamp

MAX_LIMIT = 2**53 - 1
"""The largest integer that every JSON reader holds exactly."""


class UsageRead(ReadModel):
    key: Annotated[
        str | None,
        Field(description="The day (UTC), user id or model; null: no model answered, or no user had it embedded."),
    ]
    model: Annotated[str | None, Field(description="With `day,model`, of the two; null as for `key`.")] = None
    messages: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_micro_usd: Annotated[int, Field(description="Of the messages and of embedding.")]
    cache_hits: Annotated[int, Field(description="Messages whose answer had been kept: no provider was asked.")]
    embedding_tokens: Annotated[int, Field(description="Of documents, of searches, and of messages that ask them.")]
    embedding_cost_micro_usd: Annotated[int, Field(description="A part of `cost_micro_usd`.")]


class BudgetUpdate(RequestBody):
    limit_micro_usd: Annotated[
        int | None,
        Field(
            ge=0,
            le=MAX_LIMIT,
            strict=True,
            examples=[1_000_000],
            description="One US dollar is 1,000,000; null: no limit.",
        ),
    ]
    period: PeriodUnit = PeriodUnit.MONTH


class BudgetRead(ReadModel):
    user_id: Annotated[str | None, Field(description="Of a user, or of the user of a key; null: the tenant's.")]
    api_key_id: str | None
    period: Annotated[PeriodUnit, Field(description="A day, a week from Monday on, a calendar month; all in UTC.")]
    limit_micro_usd: int | None
    ceiling_micro_usd: Annotated[
        int | None, Field(description="The operator's, of a tenant's month; the smaller of it and the limit holds.")
    ]
    spent_micro_usd: Annotated[int, Field(description="In the present period.")]
    reserved_micro_usd: Annotated[int, Field(description="Set aside for messages that are being answered.")]
    resets_at: Timestamp
