"""Reads the objects of a request that another protocol defines: strictly what is known, and nothing of what is not.

Clients send what their newest server knows. So an unknown field is passed over, and its name is logged once; null is as
good as none. What is known and wrong is refused by its place: `messages[2].content[0].type`.
"""

import re
from collections.abc import Callable, Collection, Iterable
from typing import Any, NoReturn, cast, get_args

import structlog

from app.core.errors import InvalidRequest
from app.core.items import Effort

EFFORTS: tuple[Effort, ...] = get_args(Effort)
MAX_NAMES, MAX_NAMES_OF_A_REQUEST = 1000, 10
_SANE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_NO_NAME = frozenset(map(chr, (*range(0x21), *range(0x7F, 0xA1))))
_logged: set[tuple[str, str]] = set()

logger = structlog.get_logger()


class Fields:
    """An object, and where in the request it stands (`""`: it is the whole)."""

    __slots__ = ("_asked", "_values", "place")

    def __init__(self, values: dict[str, Any], place: str = "") -> None:
        self._values = values
        self._asked: set[str] = set()
        self.place = place

    def at(self, name: str) -> str:
        return f"{self.place}.{name}" if self.place else name

    def refuse(self, name: str, detail: str, code: str = "invalid_value") -> NoReturn:
        place = self.at(name) if name else self.place
        raise InvalidRequest(f"{place}: {detail}", place, code)

    def raw(self, name: str) -> Any:
        """As it was sent; None: it was not."""
        self._asked.add(name)
        return self._values.get(name)

    def ignore(self, *names: str) -> None:
        """They are known, and change nothing here."""
        self._asked.update(names)

    def unknown(self) -> Iterable[str]:
        return self._values.keys() - self._asked

    # --- values: None where there is none

    def text(self, name: str, most: int | None = None) -> str | None:
        value = self.raw(name)
        if value is None:
            return None
        if not isinstance(value, str):
            self._wrong(name, "a string")
        if most is not None and len(value) > most:
            self.refuse(name, f"at most {most} characters", "string_above_max_length")
        return str(value)

    def model(self) -> str:
        """A public name; "": none was sent."""
        name = self.text("model", most=256) or ""
        if not _NO_NAME.isdisjoint(name):
            self.refuse("model", "is no name of a model")
        return name

    def required_text(self, name: str, most: int | None = None) -> str:
        value = self.text(name, most)
        return self.missing(name) if value is None else value

    def flag(self, name: str) -> bool | None:
        value = self.raw(name)
        if value is not None and not isinstance(value, bool):
            self._wrong(name, "a boolean")
        return bool(value) if value is not None else None

    def integer(self, name: str, least: int, most: int) -> int | None:
        value = self.raw(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            self._wrong(name, "an integer")
        return int(self._between(name, value, least, most))

    def number(self, name: str, least: float, most: float) -> float | None:
        value = self.raw(name)
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool):
            self._wrong(name, "a number")
        return float(self._between(name, value, least, most))

    def one_of(self, name: str, allowed: Collection[str]) -> str | None:
        value = self.text(name)
        if value is not None and value not in allowed:
            self.refuse(name, f"must be one of {', '.join(allowed)}")
        return value

    def effort(self, name: str) -> Effort | None:
        """How much to think. What one provider calls "max" is the most that is known here."""
        asked = self.one_of(name, (*EFFORTS, "max"))
        return cast("Effort | None", "xhigh" if asked == "max" else asked)

    def object(self, name: str) -> "Fields | None":
        value = self.raw(name)
        return None if value is None else self._object(name, value)

    def required_object(self, name: str) -> "Fields":
        found = self.object(name)
        return self.missing(name) if found is None else found

    def objects(self, name: str, most: int | None = None) -> "list[Fields]":
        return [self._object(f"{name}[{index}]", value) for index, value in enumerate(self.list(name, most))]

    def list(self, name: str, most: int | None = None) -> "list[Any]":
        value = self.raw(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self._wrong(name, "an array")
        if most is not None and len(value) > most:
            self.refuse(name, f"at most {most} elements", "array_above_max_length")
        return value

    def pairs(self, name: str, most: int, most_key: int, most_value: int) -> dict[str, str] | None:
        """An object whose values are strings."""
        found = self.mapping(name)
        if found is None:
            return None
        if len(found) > most:
            self.refuse(name, f"at most {most} pairs")
        for key, value in found.items():
            if not isinstance(value, str) or len(key) > most_key or len(value) > most_value:
                self.refuse(name, f"keys of up to {most_key} characters, and strings of up to {most_value}")
        return found

    def mapping(self, name: str) -> dict[str, Any] | None:
        """An object, as it was sent."""
        value = self.raw(name)
        if value is not None and not isinstance(value, dict):
            self._wrong(name, "an object")
        return value

    def schema(self, name: str, check: Callable[[Any], None]) -> dict[str, Any] | None:
        """A JSON schema, as `app/llm/schemas.py` checks it."""
        value = self.mapping(name)
        if value is not None:
            try:
                check(value)
            except ValueError as error:
                self.refuse(name, str(error), "invalid_json_schema")
        return value

    def _object(self, name: str, value: Any) -> "Fields":
        if not isinstance(value, dict):
            self._wrong(name, "an object")
        return Fields(value, self.at(name))

    def _between(self, name: str, value: float, least: float, most: float) -> float:
        if not least <= value <= most:  # nor is it for NaN
            self.refuse(name, f"must lie between {least} and {most}")
        return value

    def _wrong(self, name: str, wanted: str) -> NoReturn:
        self.refuse(name, f"must be {wanted}", "invalid_type")

    def missing(self, name: str) -> NoReturn:
        self.refuse(name, "is required", "missing_required_parameter")


def log_unknown(api: str, fields: Fields) -> None:
    """By name, each once in the life of the process: what clients want of us that we do not know."""
    unknown = fields.unknown()
    if not unknown:
        return
    sane = sorted(name for name in list(unknown)[:MAX_NAMES_OF_A_REQUEST] if _SANE_NAME.fullmatch(name))
    new = [name for name in sane if (api, name) not in _logged]
    if new and len(_logged) < MAX_NAMES:
        _logged.update((api, name) for name in new)
        logger.info("unknown_fields", api=api, fields=new)
