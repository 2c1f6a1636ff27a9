"""What each program reports: a line of JSON for each thing that it tried. It runs in its client's own environment."""

import json
import os
from collections.abc import Callable

BASE = os.environ["COMPAT_URL"]
KEY = os.environ["COMPAT_KEY"]
BROKE_KEY = os.environ["COMPAT_BROKE_KEY"]
"""Of a tenant that has spent its budget."""
WRONG_KEY = "sk-nobody"
MODEL = os.environ["COMPAT_MODEL"]
EMBEDDING_MODEL = os.environ["COMPAT_EMBEDDING_MODEL"]

PROMPT = "What is an event loop?"
ASKS_FOR_TOOL = "Call the tool get_weather for the city of Oslo, then say what it said."
WEATHER = "rain, 7 degrees"
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def run(**cells: Callable[[], object]) -> None:
    """Try each; what it raises is why it failed. It must return, not print, what it checks by itself."""
    only = os.environ.get("COMPAT_CELLS", "").split()
    for name, attempt in cells.items():
        if only and name not in only:
            continue
        try:
            attempt()
            told = {"cell": name, "ok": True}
        except BaseException as error:  # noqa: BLE001  a client may exit
            told = {"cell": name, "ok": False, "why": f"{type(error).__name__}: {error}"[:600]}
        print("COMPAT " + json.dumps(told), flush=True)


def refused(attempt: Callable[[], object], *kinds: type[BaseException]) -> Callable[[], None]:
    """An attempt that must end with one of these errors."""

    def expecting() -> None:
        try:
            attempt()
        except kinds:
            return
        raise AssertionError("it was not refused")

    return expecting
