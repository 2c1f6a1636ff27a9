"""What a model's price applies to, and what an estimate makes of odd text."""

import pytest

from app.core.items import Message, Options, OutputFormat, Tool
from app.core.settings.llm import Price
from app.llm.pricing import PriceTable, estimated_request, estimated_tokens, most_input_tokens

PRICE = Price(input=1, output=2)


@pytest.mark.parametrize("name", ["gpt-x", "gpt-x-2026-01-01", "gpt-x-20260101", "gpt-x@20260101", "gpt-x-latest"])
def test_a_dated_name_has_the_price_of_its_model(name: str) -> None:
    assert PriceTable({"gpt-x": PRICE}).price_of(name) == PRICE


@pytest.mark.parametrize(
    "name",
    ["gpt-x-mini", "gpt-x-pro", "gpt-x-mini-2026-01-01", "gpt-xl", "gpt", "gpt-x-", "gpt-x-202601012", "gpt-x-2026-01"],
)
def test_any_other_ending_is_another_model(name: str) -> None:
    assert PriceTable({"gpt-x": PRICE}).price_of(name) is None


def test_half_a_character_is_counted_as_it_is_stored() -> None:
    assert estimated_tokens("a\ud83d") == estimated_tokens("a\ufffd") == 1
    assert most_input_tokens([Message("user", "\ude00")]) == most_input_tokens([Message("user", "\ufffd")])


def test_what_a_request_reads_is_estimated_with_its_tools_and_its_schema() -> None:
    said = [Message("user", "x" * 40)]
    plain = estimated_request(said, Options())
    assert plain == 10
    tool = Tool("look", "Looks.", {"title": "x" * 400})
    form = OutputFormat({"title": "x" * 800})
    assert estimated_request(said, Options(tools=(tool,))) == pytest.approx(plain + 105, abs=5)
    assert estimated_request(said, Options(output_format=form)) == pytest.approx(plain + 205, abs=5)
