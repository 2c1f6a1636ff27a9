"""Why a file is not taken in."""


class Refused(Exception):
    """Nothing was imported, or exported. Why is for the operator; it repeats no value of the file's."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(f"Line {line}: {reason}" if line else reason)


class Wrong(ValueError):
    """Of a row; whoever knows its line makes it a `Refused`."""
