"""JSON that stays on one line, whoever reads it."""

# They may stand in JSON as they are, but many readers of lines (Python's splitlines, httpx) end a line there.
_OTHER_LINE_ENDS = ("\u0085", "\u2028", "\u2029")


def one_line(text: str) -> str:
    """JSON with its further line ends escaped."""
    if not text.isascii():
        for character in _OTHER_LINE_ENDS:
            text = text.replace(character, f"\\u{ord(character):04x}")
    return text
