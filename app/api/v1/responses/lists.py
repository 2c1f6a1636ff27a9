"""Lists as the interface pages through them: by the id of the last object seen."""

from collections.abc import Sequence
from typing import Any, Literal

from app.core.errors import InvalidRequest

Order = Literal["asc", "desc"]


def page_of_items(
    items: Sequence[dict[str, Any]], limit: int, order: Order, after: str | None, *, more: bool = False
) -> dict[str, Any]:
    """`items` are all there are, oldest first, unless `more`. Raises `InvalidRequest`: none of them is `after`."""
    ordered = list(items) if order == "asc" else list(reversed(items))
    if after is not None:
        ids = [item["id"] for item in ordered]
        if after not in ids:
            raise InvalidRequest("after: there is no such item in this list", "after")
        ordered = ordered[ids.index(after) + 1 :]
    return listed(ordered[:limit], has_more=more or len(ordered) > limit)


def listed(data: Sequence[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    return {
        "object": "list",
        "data": list(data),
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }
