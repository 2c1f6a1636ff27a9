"""JSON schemas that callers bring: bounded before anybody works on them.

They name what an answer must be, and a hostile one could take minutes over a line of text: one that refers to itself in
both of two branches doubles its work with each step, and some patterns do so with each character. So references are
taken as far as all they lead to can be counted, and patterns by an engine that reads a text once, or gives up in time.
"""

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jsonschema_rs

MAX_DEPTH = 64
MAX_VALUES = 4000
MAX_CHARACTERS = 2**15
MAX_WEIGHT = 20_000
"""Subschemas that an answer is held to, each as often as it is referred to."""
MAX_PATTERNS = 20
MAX_PATTERN_SIZE = 2**17
"""Bytes of one, compiled."""
MAX_STEPS_BACK = 10_000
LOOK_AROUND_WEIGHT = 1000
KEPT_VALIDATORS = 64
DIALECTS = (
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
    "http://json-schema.org/draft-06/schema",
)
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_MAPS = ("properties", "patternProperties", "dependentSchemas", "dependencies")
_ONES = (
    *("additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not"),
    *("propertyNames", "then", "unevaluatedItems", "unevaluatedProperties"),
)
_ELSEWHERE = ("$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor", "$recursiveAnchor")


def check_parameters(schema: object) -> None:
    """Whether a tool's parameters are small enough to be passed on.

    Raises:
        ValueError: its words are for the caller.
    """
    if not isinstance(schema, dict):
        raise ValueError("A schema must be an object.")  # noqa: TRY004 - what a validator of requests knows
    _bounded(schema)


def check_schema(schema: object) -> None:
    """Whether an answer can be held to the schema. It takes some milliseconds at most.

    Raises:
        ValueError: its words are for the caller.
    """
    check_parameters(schema)
    assert isinstance(schema, dict)
    if str(schema.get("$schema", DIALECTS[0])).rstrip("#") not in DIALECTS:
        raise ValueError("The schema is of a draft that is not known here: 2020-12, 2019-09, draft 7 and 6 are.")
    if _Weighing(schema).weight > MAX_WEIGHT:
        raise ValueError("The schema refers to itself too often.")
    try:
        _validator_of(json.dumps(schema))
    except ValueError as error:
        place = "/".join(map(str, getattr(error, "instance_path", ())))[:200]
        raise ValueError(f"The schema is not valid at /{place}.") from None


def weight_of(schema: dict[str, Any]) -> int:
    """Subschemas, each as often as it is referred to: what an answer is held to, at each of its places at most once."""
    looks_around = _validator_of(json.dumps(schema))[1]
    return _Weighing(schema).weight * (LOOK_AROUND_WEIGHT if looks_around else 1)


def is_met(text: str, schema: dict[str, Any] | None) -> bool:
    """Whether the text is JSON, and such as a schema that was checked wants; None: any object."""
    try:
        value = json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) if schema is None else _validator_of(json.dumps(schema))[0].is_valid(value)


@lru_cache(maxsize=KEPT_VALIDATORS)
def _validator_of(schema: str) -> "tuple[jsonschema_rs.Validator, bool]":
    """The validator, and whether a pattern of it looks around, for which it may go back a number of times.

    Only its `is_valid` takes no longer than it should: reasons are many.
    """
    import jsonschema_rs

    linear = jsonschema_rs.RegexOptions(MAX_PATTERN_SIZE)
    try:
        return jsonschema_rs.validator_for(schema, offline=True, validate_formats=False, pattern_options=linear), False
    except ValueError:
        bounded = jsonschema_rs.FancyRegexOptions(MAX_STEPS_BACK, MAX_PATTERN_SIZE)
        return jsonschema_rs.validator_for(schema, offline=True, validate_formats=False, pattern_options=bounded), True


def _refused(constant: str) -> object:
    raise ValueError(constant)


def _bounded(schema: dict[str, Any]) -> None:
    """Level by level, so that no depth is too much for it."""
    level: list[Any] = [schema]
    count = characters = depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"The schema is more than {MAX_DEPTH} levels deep.")
        below: list[Any] = []
        for value in level:
            inside, size = _inside(value)
            below += inside
            characters += size
        count += len(level)
        if count > MAX_VALUES or characters > MAX_CHARACTERS:
            raise ValueError(f"The schema is too large: {MAX_VALUES} values and {MAX_CHARACTERS} characters at most.")
        level = below


def _inside(value: object) -> tuple[list[Any], int]:
    if isinstance(value, dict):
        return list(value.values()), sum(map(len, value)) + 2
    if isinstance(value, list):
        return value, 2
    if isinstance(value, int) and not isinstance(value, bool):
        return [], value.bit_length() // 3 + 1
    return [], len(value) if isinstance(value, str) else 4


class _Weighing:
    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._known: dict[int, int] = {}
        self._under_way: set[int] = set()
        self.patterns = 0
        self.weight = self._of(root)
        if self.patterns > MAX_PATTERNS:
            raise ValueError(f"The schema has more than {MAX_PATTERNS} patterns.")

    def _of(self, schema: object) -> int:
        """One that is being weighed already refers to itself: what it is held to then was held to it before."""
        if not isinstance(schema, dict) or id(schema) in self._under_way:
            return 1
        if id(schema) in self._known:
            return self._known[id(schema)]
        if (schema is not self._root and "$id" in schema) or any(name in schema for name in _ELSEWHERE):
            raise ValueError("The schema may refer to itself by #/... alone, without anchors and ids.")
        self._under_way.add(id(schema))
        self.patterns += ("pattern" in schema) + len(_map(schema.get("patternProperties")))
        lists = (schema.get(name) for name in ("enum", "required"))
        weight = 1 + sum(len(values) for values in lists if isinstance(values, list))
        weight += sum(map(self._of, _subschemas(schema)))
        if "$ref" in schema:
            weight += self._of(self._target(schema["$ref"]))
        self._under_way.discard(id(schema))
        self._known[id(schema)] = min(weight, MAX_WEIGHT + 1)
        return self._known[id(schema)]

    def _target(self, reference: object) -> object:
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise ValueError("The schema may refer to itself by #/... alone.")
        found: object = self._root
        for step in reference[1:].split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and name.isascii() and name.isdigit() and int(name) < len(found):
                found = found[int(name)]
            elif isinstance(found, dict) and name in found:
                found = found[name]
            else:
                raise ValueError("The schema refers to what is not in it.")
        return found


def _subschemas(schema: dict[str, Any]) -> Iterator[object]:
    for name in _ONES:
        if isinstance(schema.get(name), dict):
            yield schema[name]
    for name in _LISTS:
        if isinstance(schema.get(name), list):
            yield from schema[name]
    for name in _MAPS:
        yield from _map(schema.get(name)).values()


def _map(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
