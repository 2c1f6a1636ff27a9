"""A small value that a JSON schema takes, for a provider that only pretends: made of what the schema says by itself.

What no rule here knows, a pattern or a `not`, may be missed.
"""

import math
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 32
MAX_ITEMS = 16
MAX_STEPS = 2000
"""One that refers to itself twice would double with each level."""
FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "duration": "PT1S",
    "email": "mock@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
WORD = "mock"


def example_of(schema: object) -> Any:
    """The value; equal for equal schemas."""
    return _Examples(schema).of(schema, 0)


class _Examples:
    def __init__(self, root: object) -> None:
        self._root = root
        self._left = MAX_STEPS

    def of(self, schema: object, depth: int) -> Any:
        if not isinstance(schema, dict) or depth > MAX_DEPTH:
            return None
        schema = self._merged(schema, depth)
        given = [schema[name] for name in ("const", "default") if name in schema]
        lists = [schema.get(name) for name in ("enum", "examples")]
        given += [values[0] for values in lists if isinstance(values, list) and values]
        if given:
            return given[0]
        kind = _kind_of(schema)
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, depth)
        make = _PLAIN.get(kind) if isinstance(kind, str) else None
        return make(schema) if make else None

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        least = int(min(_number(schema.get("minItems"), 0), MAX_ITEMS))
        first = schema.get("prefixItems")
        kinds = [*(first if isinstance(first, list) else ())]
        kinds += [schema.get("items", {})] * (least - len(kinds))
        return [self.of(kind, depth + 1) for kind in kinds]

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        """What is required; of optional ones only as many as there must be."""
        properties = schema.get("properties")
        known: dict[str, Any] = properties if isinstance(properties, dict) else {}
        required = schema.get("required")
        names = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
        least = _number(schema.get("minProperties"), 0)
        names += [name for name in known if name not in names][: max(0, int(least) - len(names))]
        if self._left <= 0:
            return {}
        return {name: self.of(known.get(name, {"type": "string"}), depth + 1) for name in names}

    def _merged(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        """With what it refers to, all of `allOf`, and the first of the alternatives."""
        merged = dict(schema)
        self._left -= 1
        others: list[object] = [self._target(merged.pop("$ref", None))]
        for name in ("allOf", "anyOf", "oneOf"):
            values = merged.pop(name, None)
            if isinstance(values, list) and values:
                others += values if name == "allOf" else [min(values, key=_is_null)]
        for other in others:
            if isinstance(other, dict) and depth < MAX_DEPTH and self._left > 0:
                more = self._merged(other, depth + 1)
                for name in ("properties", "required"):
                    if name in more and name in merged:
                        more[name] = _joined(merged[name], more[name])
                merged |= more
        return merged

    def _target(self, reference: object) -> object:
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        found = self._root
        for step in reference[1:].split("/")[1:]:
            found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        return found


def _kind_of(schema: dict[str, Any]) -> object:
    kind = schema.get("type")
    if isinstance(kind, list):
        return next((one for one in kind if one != "null"), "null")
    if kind is None:
        hints = {"properties": "object", "required": "object", "items": "array", "minLength": "string"}
        return next((hints[name] for name in hints if name in schema), "string")
    return kind


def _string(schema: dict[str, Any]) -> str:
    if schema.get("format") in FORMATS:
        return FORMATS[schema["format"]]
    least, most = int(_number(schema.get("minLength"), 0)), int(_number(schema.get("maxLength"), 1000))
    return (WORD * (min(least, 1000) // len(WORD) + 1))[: max(min(least, 1000), min(len(WORD), most))]


def _least(schema: dict[str, Any], step: float) -> float:
    low = _number(schema.get("minimum"), -math.inf)
    above = _number(schema.get("exclusiveMinimum"), -math.inf)
    most = min(_number(schema.get("maximum"), math.inf), _number(schema.get("exclusiveMaximum"), math.inf) - step)
    least = max(low, above + step)
    value = least if least > -math.inf else min(most, 0)
    multiple = _number(schema.get("multipleOf"), 0)
    return math.ceil(value / multiple) * multiple if multiple > 0 else value


def _number(value: object, default: float) -> float:
    """One that is none, or beyond what a float holds exactly, says nothing."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53 else default


_PLAIN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "string": _string,
    "integer": lambda schema: math.ceil(_least(schema, 1)),
    "number": lambda schema: _least(schema, 0.5),
    "boolean": lambda _: True,
}


def _joined(mine: Any, other: Any) -> Any:
    if isinstance(mine, dict) and isinstance(other, dict):
        return mine | other
    return [*mine, *other] if isinstance(mine, list) and isinstance(other, list) else other


def _is_null(schema: object) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "null"
