"""Texts, Markdown with its headings, and tables of comma-separated values."""

import csv
import re

from app.documents.extraction.readers.tables import write_rows
from app.documents.extraction.writer import Writer, one_line, storable
from app.documents.failures import ExtractionFailed, FailureCode

_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]")
_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})[ \t]*")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
# A line that an underline does not make a heading: of a list, a quote, a table, code.
_NO_PARAGRAPH = re.compile(r"\s*([-+*>|#]|\d+[.)]\s|$)| {4}|\t")
_LOOKED_AT = 8192
_MAX_FIELD = 1_000_000


def read_text(text: str, writer: Writer) -> None:
    writer.add(text)


def read_markdown(text: str, writer: Writer) -> None:
    """The text as it is; the offsets of its headings, none of which is in a block of code."""
    fence = before = ""
    for n, line in enumerate(storable(text).split("\n")):
        if n:
            writer.add("\n")
        start = writer.offset
        mark = _FENCE.match(line)
        if fence:
            if mark and mark.group(1).startswith(fence):
                fence = ""
        elif mark:
            fence = mark.group(1)
        elif heading := _HEADING.match(line):
            writer.note_heading(start, len(heading.group(1)), _title(line[heading.end() :]))
        elif (underline := _UNDERLINE.fullmatch(line)) and not _NO_PARAGRAPH.match(before):
            level = 1 if underline.group(1).startswith("=") else 2
            writer.note_heading(start - len(before) - 1, level, one_line(before))
        before = "" if mark or fence else line
        writer.add(line)


def _title(rest: str) -> str:
    """Without the marks that may close a heading, which stand apart from its words."""
    title = one_line(rest)
    words = title.rstrip("#")
    return words.rstrip() if not words or words.endswith(" ") else title


def read_csv(text: str, writer: Writer) -> None:
    """A line for each row, whose values have their column's name: a row by itself would mean little."""
    csv.field_size_limit(_MAX_FIELD)
    start = text[:_LOOKED_AT]
    try:
        dialect: type[csv.Dialect] | str = csv.Sniffer().sniff(start, ",;\t|")
    except csv.Error:
        dialect = "excel-tab" if "\t" in start else "excel"
    try:
        write_rows(csv.reader(storable(text).split("\n"), dialect), writer)
    except csv.Error as error:
        raise ExtractionFailed(FailureCode.TYPE_MISMATCH, "csv") from error
