"""Passages: where they stand, how long they are, and what they know of the headings and pages around them."""

import re
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from app.documents.chunking import OVERLAP_TOKENS, passages_of
from app.documents.embedding import minilm
from app.documents.embedding.minilm import MiniLM
from app.documents.shapes import Heading, Passage, ReadText


def token_spans(text: str) -> Sequence[tuple[int, int]]:
    return [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]


def tokens(text: str) -> int:
    return len(token_spans(text))


def cut(text: str, headings: Sequence[Heading] = (), pages: Sequence[int] = (), most: int = 256) -> list[Passage]:
    return passages_of(ReadText(text, "text/plain", headings, pages), token_spans, most)


def headed(*sections: tuple[int, str, str]) -> tuple[str, list[Heading]]:
    """A text of sections (level, title, what stands under it), and its headings."""
    text, headings = "", []
    for level, title, content in sections:
        headings.append(Heading(len(text), level, title))
        text += f"{title}\n\n{content}\n\n"
    return text, headings


def words(count: int, mark: str = "w") -> str:
    """So many words, all different, in sentences of ten."""
    return " ".join(f"{mark}{n}." if n % 10 == 9 else f"{mark}{n}" for n in range(count))


texts = st.text(st.sampled_from("ab ä.\n\t漢🫖#-"), max_size=400)


@settings(max_examples=100, deadline=None)
@given(texts, st.lists(st.tuples(st.integers(0, 400), st.integers(1, 6), texts), max_size=6), st.integers(8, 60))
def test_every_character_is_in_a_passage_and_none_is_too_long(
    text: str, places: list[tuple[int, int, str]], most: int
) -> None:
    headings = [Heading(min(offset, len(text)), level, title) for offset, level, title in places]
    passages = cut(text, headings, most=most)

    covered: set[int] = set()
    for n, passage in enumerate(passages):
        assert passage.n == n
        assert passage.text == text[passage.start : passage.end]
        assert passage.text.strip()
        assert passage.tokens == tokens(passage.text)
        assert tokens(passage.embedded) <= most
        covered.update(range(passage.start, passage.end))
    assert all(place in covered for place, character in enumerate(text) if not character.isspace())
    assert [each.start for each in passages] == sorted(each.start for each in passages)


def test_what_fits_is_one_passage() -> None:
    (passage,) = cut(words(200), most=256)
    assert (passage.start, passage.end, passage.heading, passage.page) == (0, len(words(200)), "", None)


def test_nothing_gives_no_passage() -> None:
    assert cut("") == []
    assert cut(" \n\n\t ") == []


def test_a_passage_repeats_the_end_of_the_one_before_it() -> None:
    text = words(1000)
    passages = cut(text)
    assert len(passages) > 3
    for before, after in pairwise(passages):
        assert tokens(text[after.start : before.end]) == OVERLAP_TOKENS


def test_a_passage_knows_the_headings_above_it() -> None:
    text, headings = headed(
        (1, "Manual", words(250, "a")),
        (2, "Leases", words(250, "b")),
        (2, "Tea", words(250, "c")),
        (1, "End", "d " * 250),
    )
    found = [passage.heading for passage in cut(text, headings)]
    assert list(dict.fromkeys(found)) == ["Manual", "Manual > Leases", "Manual > Tea", "End"]


def test_small_sections_under_one_heading_share_a_passage() -> None:
    text, headings = headed((1, "Manual", "One."), (2, "Leases", "Two."), (2, "Tea", "Three."), (1, "End", "Four."))
    assert [(each.heading, "Three." in each.text) for each in cut(text, headings)] == [("Manual", True), ("End", False)]


def test_a_long_heading_leaves_room_for_the_text() -> None:
    text, headings = headed((1, "x " * 1000, words(400)))
    passages = cut(text, headings)
    assert all(tokens(passage.heading) <= 64 for passage in passages)
    assert all(tokens(passage.embedded) <= 256 for passage in passages)


def test_a_word_that_is_longer_than_a_passage_is_cut() -> None:
    text = "-" * 2000
    assert {passage.tokens <= 256 for passage in cut(text)} == {True}


def test_a_passage_is_of_the_page_that_it_begins_on() -> None:
    pages = [words(240, mark) for mark in "abc"]
    text = "\n\n".join(pages)
    begins = [text.index(page) for page in pages]
    for passage in cut(text, pages=begins):
        expected = sum(begin <= passage.start for begin in begins)
        assert passage.page == expected


def test_a_long_text_has_the_tokens_that_it_has_as_a_whole() -> None:
    """It is looked at in stretches, so that nobody waits for all of it; no word is cut by their ends."""
    text = words(4000) + " " + "漢" * 20_000 + " " * 20_000 + "x" * 30_000 + "\n" + words(100)
    whole = minilm._tokenizer().encode(text, add_special_tokens=False).offsets
    assert MiniLM().token_spans(text) == whole
