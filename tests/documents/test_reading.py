"""What is read in a file of each kind, and what is told of one that gives no text; in this process, as all are ours."""

import codecs
import zipfile

import pytest

from app.documents.extraction.kinds import Kind
from app.documents.extraction.limits import Limits
from app.documents.extraction.reading import HERE_BYTES, failure_of, prepared, read_here
from app.documents.extraction.writer import MAX_TITLE, storable
from app.documents.failures import FailureCode
from app.documents.shapes import Heading, ReadText
from tests.documents import files


def read(content: bytes, name: str, declared: str | None = None, **limits: int) -> ReadText:
    return prepared(content, name, declared, Limits(**limits))()


def failure(content: bytes, name: str, declared: str | None = None, **limits: int) -> FailureCode:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - of any kind, as libraries have them
        read(content, name, declared, **limits)
    return failure_of(raised.value).code


def titles(text: ReadText) -> list[tuple[int, str]]:
    """Levels and titles; each stands in the text where its offset says, each page begins a line."""
    for heading in text.headings:
        line = text.text[heading.offset :].split("\n", 1)[0]
        assert line.lstrip("# ").startswith(heading.title)
    for page in text.pages:
        assert page in {0, len(text.text)} or text.text[page - 1] == "\n"
    return [(heading.level, heading.title) for heading in text.headings]


def test_every_kind_of_failure_has_words() -> None:
    assert all(code.sentence.endswith(".") for code in FailureCode)


def test_a_text_is_taken_as_it_is() -> None:
    assert read(b"One.\r\nTwo.\n", "a.txt") == ReadText("One.\nTwo.\n", Kind.TEXT.value, [], [])


def test_markdown_keeps_its_text_and_says_where_its_headings_are() -> None:
    source = (
        "---\ntitle: x\n---\n# One #\n\n```sh\n# no heading\n```\n\nTwo\nmore\n---\n- a\n---\n"
        "~~~\n````\n# no\n~~~\n### Three\n"
    )
    text = read(source.encode(), "a.md")
    assert text.text == source
    assert titles(text)[1:] == [(1, "One"), (2, "more"), (3, "Three")]


def test_a_page_of_the_web_is_read_as_it_is_shown() -> None:
    page = """<!doctype html><html><head><title>T</title><style>p {}</style></head><body><script>x()</script>
      <h1>Our <b>pric</b>es</h1><p>Bolts are
      cheap.<br>Nuts too.</p><table><tr><th>name<th>price</tr><tr><td><p>M8</p><td>12</td></tr></table>
      <h2>Code</h2><pre>a\n  b</pre><div>end<div>of <a href=x>it</a></div></div>"""
    text = read(page.encode(), "a.html")
    assert text.text == ("Our prices\nBolts are cheap.\nNuts too.\nname | price\nM8 | 12\nCode\na\n  b\nend\nof it\n")
    assert titles(text) == [(1, "Our prices"), (2, "Code")]


def test_rows_carry_the_names_of_their_columns() -> None:
    text = read(b'name;price\nM8;"12\n cents"\n\nM6;;rest\n', "a.csv")
    assert text.text == "name | price\nname: M8 | price: 12 cents\nname: M6 | rest\n"
    assert read(b"1,2\n3,4\n", "a.csv").text == "1 | 2\n3 | 4\n"


def test_pages_of_a_pdf_begin_where_they_say() -> None:
    text = read(files.pdf(["one", None, "three"]), "a.pdf")
    assert (text.text, text.pages) == ("one\nthree\n", [0, 4, 4])


def test_the_outline_of_a_pdf_gives_its_headings() -> None:
    pages = ["Cover", "Intro\nsome\n1.2 Our  prices\nmore", None, "Last"]
    text = read(
        files.pdf(pages, outline=[("Intro", 1, "OUR prices"), ("Gone", 3, "nowhere"), ("Scan", 2, "x")]), "a.pdf"
    )
    assert [(heading.offset, heading.level, heading.title) for heading in text.headings] == [
        (text.text.index("Intro"), 1, "Intro"),
        (text.text.index("1.2 Our"), 2, "OUR prices"),
        (text.pages[3], 1, "Gone"),
        (text.pages[3], 2, "nowhere"),
    ]


def test_ten_thousand_pages_are_read_and_one_more_is_refused() -> None:
    text = read(files.pdf(f"Page {n}" for n in range(10_000)), "a.pdf")
    assert len(text.pages) == 10_000
    assert text.text[text.pages[4711] :].startswith("Page 4711\n")
    assert failure(files.pdf(["x"] * 11), "a.pdf", pages=10) == FailureCode.TOO_MANY_PAGES


def test_a_document_of_word_is_read_in_its_order() -> None:
    text = read(files.word(), "a.docx")
    assert text.text == (
        "Handbook\nRead this first.\nPrices\nBolt | Price\nBolt: M8 | Price: 12 cents\nIn Europe\nWithout tax.\n"
    )
    assert titles(text) == [(1, "Handbook"), (1, "Prices"), (2, "In Europe")]


def test_a_slide_is_a_page_with_its_notes() -> None:
    text = read(files.slides(), "a.pptx")
    assert text.text == "Plan\nBuild it\nCosts\nNone\nSay it slowly\n"
    assert (titles(text), text.pages) == ([(1, "Plan"), (1, "Costs")], [0, 14])


def test_a_sheet_is_a_page_and_a_heading() -> None:
    text = read(files.sheets(), "a.xlsx")
    assert text.text == "Bolts\nname | price\nname: M8 | price: 12\nNuts\nM6 | 0.5\n"
    assert (titles(text), text.pages) == ([(1, "Bolts"), (1, "Nuts")], [0, 40])


@pytest.mark.parametrize(
    ("content", "declared", "text"),
    [
        ("naïve €".encode(), None, "naïve €"),
        (codecs.BOM_UTF8 + b"x", None, "x"),
        (codecs.BOM_UTF16_BE + "naïve".encode("utf-16-be"), None, "naïve"),
        ("without a mark".encode("utf-16-le"), None, "without a mark"),
        ("naïve “quoted” €".encode("cp1252"), None, "naïve “quoted” €"),
        ("Привет, мир".encode("koi8-r"), "text/plain; charset=koi8-r", "Привет, мир"),
        ("naïve".encode("cp1252"), "text/plain; charset=iso-8859-12", "naïve"),
        (b"some text\x00with more \x1bafter\r", None, "some text\ufffdwith more after\n"),
        ("some longer text".encode("utf-16") + b"\x00\xd8", None, "some longer text\ufffd"),
    ],
)
def test_bytes_become_a_text_that_can_be_stored(content: bytes, declared: str | None, text: str) -> None:
    assert read(content, "a.txt", declared).text == text


def test_lone_surrogates_are_replaced() -> None:
    assert storable("a\ud800\x00b\x07") == "a\ufffd\ufffdb"
    assert read(b'{"a": "\xed\xa0\x80"}', "a.txt").text.encode()
    assert read(b"<p>&#xD800;&#0;x</p>", "a.html").text == "\ufffd\ufffdx\n"


def test_a_page_says_in_which_charset_it_is() -> None:
    page = '<html><meta charset="shift_jis"><p>日本語</p>'.encode("shift_jis")
    assert read(page, "a.htm").text == "日本語\n"


@pytest.mark.parametrize(
    ("content", "name", "kind"),
    [
        (files.pdf(["x"]), "a.txt", Kind.PDF),
        (files.pdf(["x"]), "a.docx", Kind.PDF),
        (files.word(), "a.pdf", Kind.WORD),
        (files.sheets(), "a", Kind.SHEETS),
        (b"<!DOCTYPE html><p>x", "a.txt", Kind.HTML),
        (b"<b>x</b> in Markdown", "a.md", Kind.MARKDOWN),
        (b"x: 1", "a.yaml", Kind.TEXT),
    ],
)
def test_the_bytes_say_what_a_file_is(content: bytes, name: str, kind: Kind) -> None:
    assert read(content, name).media_type == kind


MISMATCH, UNSUPPORTED, EMPTY = FailureCode.TYPE_MISMATCH, FailureCode.UNSUPPORTED_TYPE, FailureCode.EMPTY


@pytest.mark.parametrize(
    ("content", "name", "code"),
    [
        (b"<html>Log in first", "report.pdf", MISMATCH),
        (b"just text", "a.docx", MISMATCH),
        (b"just text", "a.png", MISMATCH),
        (b"%PDF-1.7 and nothing more", "a.pdf", MISMATCH),
        (b"PK\x03\x04 and nothing more", "a.docx", MISMATCH),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "a.txt", UNSUPPORTED),
        (b"\x7fELF" + bytes(99), "a.md", UNSUPPORTED),
        (bytes(range(256)) * 9, "a.txt", UNSUPPORTED),
        (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(99), "a.doc", UNSUPPORTED),
        (files.saved(lambda target: zipfile.ZipFile(target, "w").close()), "a.zip", UNSUPPORTED),
        (b"", "a.txt", EMPTY),
        (b" \n\t\x00\x00\x00\x00", "a.txt", EMPTY),
        (codecs.BOM_UTF8, "a.md", EMPTY),
        (b"<p> </p>", "a.html", EMPTY),
        (b",,\n,,\n", "a.csv", EMPTY),
        (files.sheets({}), "a.xlsx", FailureCode.NO_TEXT),
        (files.pdf([None, None]), "scan.pdf", FailureCode.NO_TEXT),
        (files.pdf(["x"], encrypted=True), "a.pdf", FailureCode.ENCRYPTED),
        (
            bytes.fromhex("d0cf11e0a1b11ae1") + bytes(99) + "EncryptedPackage".encode("utf-16-le"),
            "a.docx",
            FailureCode.ENCRYPTED,
        ),
    ],
)
def test_what_gives_no_text_says_why(content: bytes, name: str, code: FailureCode) -> None:
    assert failure(content, name) == code


def test_a_text_is_no_larger_than_is_allowed() -> None:
    assert failure(b"12345678901", "a.txt", file=10) == FailureCode.TOO_LARGE
    assert failure(b"12345678901", "a.txt", characters=10) == FailureCode.TOO_LARGE
    assert failure(files.pdf(["word"] * 100), "a.pdf", characters=99) == FailureCode.TOO_LARGE


def test_headings_are_bounded_in_number_and_length() -> None:
    text = read(b"# x\n" * 20 + b"# " + b"y" * 1000, "a.md", headings=10)
    assert len(text.headings) == 10
    assert read(b"# " + b"y" * 1000, "a.md").headings == [Heading(0, 1, "y" * MAX_TITLE)]


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a"])
def test_a_short_text_is_read_where_it_is_as_a_process_reads_it(name: str) -> None:
    content = "# Ünïcode\n\nText.\r\n\n## C# ##\nMore\n".encode()
    assert read_here(content, name, None, Limits()) == read(content, name)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"a," * HERE_BYTES, "a.txt"),
        (b"<p>a", "a.html"),
        (b"<!doctype html><p>a", "a.txt"),
        (b"a,b\n1,2", "a.csv"),
        (files.pdf(["one"]), "a.md"),
        (files.word(), "a.md"),
        (b"\x00\x01\x02", "a.txt"),
        (b" ", "a.txt"),
        (b"text", "a.pdf"),
        (b"", "a.txt"),
    ],
)
def test_all_else_takes_a_process(content: bytes, name: str) -> None:
    assert read_here(content, name, None, Limits()) is None


@pytest.mark.parametrize(
    "line", ["# " + " " * 60_000 + "x", "# " + " #" * 30_000 + " x", "#" * 60_000, "# a " + "#" * 60_000]
)
def test_no_line_takes_longer_than_its_length(line: str) -> None:
    """Here a process that is asked to do what grows with the square does not come back."""
    assert len(read(line.encode(), "a.md").headings) <= 1


def test_a_mark_at_the_end_of_a_heading_closes_it_where_it_stands_apart() -> None:
    found = read(b"# C#\n## Closed ##\n### #\n", "a.md")
    assert titles(found) == [(1, "C#"), (2, "Closed"), (3, "")]
