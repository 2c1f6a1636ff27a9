"""Rows of a table as lines that mean something by themselves."""

from collections.abc import Iterable, Sequence

from app.documents.extraction.writer import Writer, one_line

_BETWEEN = " | "
_MAX_NAME = 80


def write_rows(rows: Iterable[Sequence[str]], writer: Writer) -> None:
    """A line for each row that is not empty: "name: value | name: value" under a first row of names."""
    names: Sequence[str] | None = None
    for row in rows:
        values = [one_line(value) for value in row]
        if not any(values):
            continue
        if names is None:
            names = values if _are_names(values) else ()
            writer.line(joined(values))
        else:
            writer.line(joined(_named(values, names)))


def joined(values: Iterable[str]) -> str:
    return _BETWEEN.join(value for value in values if value)


def _named(values: Sequence[str], names: Sequence[str]) -> Iterable[str]:
    for n, value in enumerate(values):
        yield f"{names[n]}: {value}" if value and n < len(names) and names[n] else value


def _are_names(values: Sequence[str]) -> bool:
    named = [value for value in values if value]
    return (
        len(named) > 1
        and len(set(named)) == len(named)
        and all(len(name) <= _MAX_NAME and not _is_number(name) for name in named)
    )


def _is_number(value: str) -> bool:
    return not any(character.isalpha() for character in value)
