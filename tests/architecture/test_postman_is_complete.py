"""The Postman collection calls every operation of the interface."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.application import create_app

COLLECTION = Path(__file__).resolve().parents[2] / "docs/postman/llm-saas.postman_collection.json"


def requests(items: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for item in items:
        if "item" in item:
            yield from requests(item["item"])
        else:
            path = "/" + "/".join(item["request"]["url"]["path"])
            yield item["request"]["method"].lower(), re.sub(r"\{\{\w+\}\}|[0-9a-f-]{36}", "{id}", path)


def test_every_operation_is_called() -> None:
    called = set(requests(json.loads(COLLECTION.read_text())["item"]))
    paths = create_app().openapi()["paths"]
    offered = {(method, re.sub(r"\{\w+\}", "{id}", path)) for path, methods in paths.items() for method in methods}
    assert called == offered
