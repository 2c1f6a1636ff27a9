"""The description is complete for those who read it: examples, names, tags and who may call."""

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from app.application import create_app

SCHEMA = create_app().openapi()
OPERATIONS = {
    operation["operationId"]: operation for methods in SCHEMA["paths"].values() for operation in methods.values()
}


def media_of(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from operation.get("requestBody", {}).get("content", {}).items()
    for answer in operation["responses"].values():
        yield from answer.get("content", {}).items()


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_body_and_answer_has_an_example_that_fits_its_schema(name: str) -> None:
    for kind, media in media_of(OPERATIONS[name]):
        assert "example" in media, kind
        schema = {**media["schema"], "components": SCHEMA["components"]}
        assert list(jsonschema_rs.validator_for(schema).iter_errors(media["example"])) == []


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_example_of_a_problem_is_one_of_its_status(name: str) -> None:
    for status, answer in OPERATIONS[name]["responses"].items():
        for kind, media in answer.get("content", {}).items():
            if kind == "application/problem+json":
                assert media["example"]["status"] == int(status)
                assert status != "422" or media["example"]["type"].endswith(":invalid-input")


def test_operations_have_names_that_can_be_typed() -> None:
    assert all(name.isidentifier() and "__" not in name for name in OPERATIONS)
    assert len(OPERATIONS) == sum(len(methods) for methods in SCHEMA["paths"].values())


def test_every_tag_is_described() -> None:
    used = {tag for operation in OPERATIONS.values() for tag in operation["tags"]}
    assert used == {tag["name"] for tag in SCHEMA["tags"]}


def test_every_operation_says_who_may_call_it() -> None:
    schemes = list(SCHEMA["components"]["securitySchemes"])
    public = {name for name, operation in OPERATIONS.items() if operation["security"] == []}
    assert {"health", "ready", "key_set", "register", "login", "token", "refresh", "create_tenant"} == public
    for name in OPERATIONS.keys() - public:
        assert [next(iter(option)) for option in OPERATIONS[name]["security"]] == schemes


def test_swagger_ui_offers_a_whole_answer_before_a_stream() -> None:
    statuses = sorted(OPERATIONS["send_message"]["responses"], key=lambda status: (not status.isdigit(), status))
    first = OPERATIONS["send_message"]["responses"][statuses[0]]
    assert list(first["content"]) == ["application/json"]
