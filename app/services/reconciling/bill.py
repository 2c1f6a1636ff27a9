"""A provider's own count, in the forms that providers hand it out in; what is not understood is not passed over.

plain      a line for a request or a day, CSV or JSON: day (or at), model, input_tokens, cached_tokens, output_tokens,
           cost_usd (or cost_micro_usd), requests, id
OpenAI     pages of its usage and its costs, grouped by model and by line item; or its CSV
Anthropic  pages of its usage report and its cost report, grouped by model and by description; or its CSV
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

DAYS = ("day", "date", "at", "time", "start_time_iso", "start_time", "starting_at", "usage_date_utc")
_SPACE = re.compile(r"\s*")
MODELS = ("model", "model_version", "line_item")
REQUESTS = ("requests", "num_model_requests")
READ = ("input_tokens",)
CACHED = ("cached_tokens", "input_cached_tokens", "cache_read_input_tokens", "usage_input_tokens_cache_read")
# Beside what was read of the cache, where the input is told in parts.
FRESH = ("uncached_input_tokens", "usage_input_tokens_no_cache")
KEPT = (
    "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens", "usage_input_tokens_cache_write_5m",
    "usage_input_tokens_cache_write_1h",
)  # fmt: skip
WROTE = ("output_tokens", "usage_output_tokens")
IDS = ("id", "request_id")
# In micro-USD for one of each.
COSTS = {"cost_micro_usd": 1, "cost_usd": 10**6, "amount_value": 10**6, "cents": 10**4}


class UnreadableBill(ValueError):
    """It is not a bill that is understood as a whole: nothing was compared."""


@dataclass(frozen=True, slots=True)
class BillLine:
    """What it does not say is None. `day` in UTC; `input_tokens` with those of the provider's cache."""

    day: date
    model: str
    requests: int | None = None
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    micro_usd: Decimal | None = None
    request_id: str = ""


def read_bill(text: str) -> list[BillLine]:
    """All lines; raises `UnreadableBill`."""
    lines = [_line(number, row) for number, row in enumerate(_rows(text.lstrip("\ufeff")), 1)]
    if not lines:
        raise UnreadableBill("it has no line")
    return lines


def _rows(text: str) -> Iterator[Mapping[str, Any]]:
    if text.lstrip()[:1] not in ("{", "["):
        yield from csv.DictReader(io.StringIO(text))
        return
    more = False
    for value in _values(text):
        for entry in value if isinstance(value, list) else [value]:
            if not isinstance(entry, dict):
                raise UnreadableBill("it holds something else than objects")
            if isinstance(entry.get("data"), list):
                yield from _of_page(entry["data"])
                more = entry.get("has_more") is True
            else:
                yield entry
    if more:
        raise UnreadableBill("its last page says that there are more: fetch those too")


def _values(text: str) -> Iterator[Any]:
    """One value, or one after the other."""
    decoder, at = json.JSONDecoder(parse_float=Decimal), 0
    # By position: what is left of a long bill is not copied for each of its lines.
    while (at := _SPACE.match(text, at).end()) < len(text):  # type: ignore[union-attr]
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            raise UnreadableBill(f"no JSON from line {text.count(chr(10), 0, at) + 1} on") from None
        yield value


def _of_page(buckets: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    """Rows with the time of their bucket."""
    for bucket in buckets:
        if not isinstance(bucket, dict) or not isinstance(bucket.get("results"), list):
            raise UnreadableBill("a page holds something else than buckets of results")
        times = {name: bucket[name] for name in ("start_time", "starting_at") if name in bucket}
        for result in bucket["results"]:
            if not isinstance(result, dict):
                raise UnreadableBill("a bucket holds something else than results")
            yield _flat(result) | times


def _flat(result: Mapping[str, Any]) -> dict[str, Any]:
    row = dict(result)
    created = row.pop("cache_creation", None)
    if isinstance(created, dict):
        row |= created
    amount = row.pop("amount", None)
    if isinstance(amount, dict):
        row |= {"amount_value": amount.get("value"), "currency": amount.get("currency")}
    elif amount is not None:
        row["cents"] = amount
    return row


def _line(number: int, row: Mapping[str, Any]) -> BillLine:
    try:
        return _understood({str(name).strip().lower(): value for name, value in row.items()})
    except ValueError as error:
        raise UnreadableBill(f"row {number}: {error}") from None


def _understood(row: Mapping[str, Any]) -> BillLine:
    model = _first(row, MODELS)
    if not isinstance(model, str) or not model:
        raise ValueError("it names no model: group the report by model, and costs by line item or description")
    if str(row.get("currency") or row.get("amount_currency") or "usd").lower() != "usd":
        raise ValueError("its currency is not USD")
    fresh, cached, kept = (_sum(row, names) for names in (FRESH, CACHED, KEPT))
    read = _sum(row, READ)
    if fresh is not None:
        read = fresh + (cached or 0) + (kept or 0)
    line = BillLine(
        day=_day(_first(row, DAYS)),
        # OpenAI's costs say of which tokens they are.
        model=model.split(",")[0].strip(),
        requests=_sum(row, REQUESTS),
        input_tokens=read,
        cached_tokens=cached,
        output_tokens=_sum(row, WROTE),
        micro_usd=_cost(row),
        request_id=str(_first(row, IDS) or ""),
    )
    if line.input_tokens is None and line.output_tokens is None and line.micro_usd is None:
        raise ValueError("it says neither tokens nor a cost")
    return line


def _first(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((row[name] for name in names if row.get(name) not in (None, "")), None)


def _sum(row: Mapping[str, Any], names: Sequence[str]) -> int | None:
    counts = [_count(row[name]) for name in names if row.get(name) not in (None, "")]
    return sum(counts) if counts else None


def _count(value: Any) -> int:
    number = _number(value)
    if number < 0 or number != number.to_integral_value():
        raise ValueError("a count is no whole number from 0 on")
    return int(number)


def _cost(row: Mapping[str, Any]) -> Decimal | None:
    costs = [_number(row[name]) * factor for name, factor in COSTS.items() if row.get(name) not in (None, "")]
    return costs[0] if costs else None


def _number(value: Any) -> Decimal:
    try:
        number = Decimal(str(value).replace("_", "x"))
    except InvalidOperation:
        raise ValueError("a number is none") from None
    # Before anybody computes with it: a few characters may stand for a billion digits.
    if isinstance(value, bool) or not number.is_finite() or not -30 < number.adjusted() < 15:
        raise ValueError("a number is none")
    return number


def _day(value: Any) -> date:
    try:
        if isinstance(value, int | Decimal) or str(value).isdigit():
            return datetime.fromtimestamp(int(value), UTC).date()
        moment = datetime.fromisoformat(str(value).removesuffix(" UTC"))
    except (ValueError, OverflowError, OSError):
        raise ValueError("its day is none") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).date()
