"""What of a stream does not depend on where an answer was cut into deltas."""

from collections.abc import Iterable
from typing import Any


def joined(events: Iterable[dict[str, Any]]) -> list[Any]:
    """The events with neighbouring deltas of an item as one, under the number of the last."""
    whole: list[dict[str, Any]] = []
    for event in events:
        before = whole[-1] if whole else {}
        if "delta" in event and before.get("type") == event["type"] and before["item_id"] == event["item_id"]:
            whole[-1] = event | {"delta": before["delta"] + event["delta"]}
        else:
            whole.append(event)
    return whole
