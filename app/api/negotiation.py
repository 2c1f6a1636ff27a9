"""Which of JSON and Server-Sent Events an `Accept` header prefers (RFC 9110, 12.5.1)."""

import re
from collections.abc import Iterable

JSON, EVENTS = "application/json", "text/event-stream"
_QUALITY = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


def prefers_events(accept: Iterable[str]) -> bool:
    """Whether events are better than JSON by these header lines; equal is not better, so `*/*` means JSON."""
    ranges = dict(_ranges(",".join(accept)))
    return _quality(EVENTS, ranges) > _quality(JSON, ranges)


def _ranges(accept: str) -> Iterable[tuple[str, float]]:
    for element in accept.lower().split(","):
        media_range, *parameters = (part.strip() for part in element.split(";"))
        given = next((parameter[2:].strip() for parameter in parameters if parameter.startswith("q=")), "1")
        if _QUALITY.fullmatch(given):  # else nobody knows what it says
            yield media_range, float(given)


def _quality(media_type: str, ranges: dict[str, float]) -> float:
    """Of the most specific range that names the type; 0: it is not accepted."""
    general = media_type.partition("/")[0] + "/*"
    return next((ranges[named] for named in (media_type, general, "*/*") if named in ranges), 0.0)
