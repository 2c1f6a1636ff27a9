"""What callers type into a search."""

import pytest

from app.core.errors import NothingToSearchFor
from app.messages.search_query import MOST_TERMS, Term, parse


@pytest.mark.parametrize(
    ("query", "groups"),
    [
        ("async", [[Term("async")]]),
        ("async python", [[Term("async"), Term("python")]]),
        ('"async python" now', [[Term("async python"), Term("now")]]),
        ('"async python', [[Term("async python")]]),
        ("pyth*", [[Term("pyth", prefix=True)]]),
        ('"async pyth*"', [[Term("async pyth", prefix=True)]]),
        ('"async pyth"*', [[Term("async pyth", prefix=True)]]),
        ("中*", [[Term("中", prefix=True)]]),
        ("python -async", [[Term("python"), Term("async", excluded=True)]]),
        ('-"async io" python', [[Term("async io", excluded=True), Term("python")]]),
        ("python or rust go", [[Term("python")], [Term("rust"), Term("go")]]),
        ("python OR rust", [[Term("python")], [Term("rust")]]),
        ("or python or", [[Term("python")]]),
        ('"or"', [[Term("or")]]),
        ("--force", [[Term("--force")]]),
        ("semi-join", [[Term("semi-join")]]),
        ("- word", [[Term("word")]]),
        ("-" * 40 + " Intro " + "-" * 40, [[Term("Intro")]]),
        ("- " * 40 + "x", [[Term("x")]]),
        ("app/main.py:20", [[Term("app/main.py:20")]]),
        ("*** note ***", [[Term("note")]]),
        ("cafe\u0301", [[Term("caf\u00e9")]]),
    ],
)
def test_a_query_is_read_as_it_is_meant(query: str, groups: list[list[Term]]) -> None:
    assert parse(query) == groups


@pytest.mark.parametrize(
    "query",
    [
        "-async",
        "-a -b",
        "python or -rust",
        "-" * 33,
        "!?",
        '""',
        "or",
        "a*",
        '"big a*"',
        "*",
        "\u2014",
        " ".join("ab" * (MOST_TERMS + 1)),
    ],
)
def test_what_no_index_could_answer_is_refused(query: str) -> None:
    with pytest.raises(NothingToSearchFor):
        parse(query)
