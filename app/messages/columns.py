"""The columns of `MessageRow`, as statements select them."""

from app.models.rows import MessageRow

# Where a message is what it was before there were other interfaces, nothing is written.
API = "COALESCE(messages.api, 'messages')"
NO_OUTPUT = "CAST(NULL AS jsonb)"
OUTPUT = """CASE WHEN messages.has_contents THEN (SELECT message_contents.output FROM message_contents
  WHERE message_contents.tenant_id = :tenant_id AND message_contents.message_id = messages.id) END"""
REQUEST = OUTPUT.replace(".output", ".request")


def _columns(output: str) -> str:
    shown = {"api": API, "output": output}
    return ", ".join(
        f"{shown[name]} AS {name}" if name in shown else f"messages.{name}" for name in MessageRow.columns()
    )


NAMES = ", ".join(MessageRow.columns())
"""Of what has selected them before."""
BUT_OUTPUT = ", ".join(name for name in MessageRow.columns() if name != "output")
COLUMNS = _columns(NO_OUTPUT)
"""For what has no output yet, and for lists, which leave it out."""
WHOLE = _columns(OUTPUT)
"""With the items of the answer, where they are more than its text."""
