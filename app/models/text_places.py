"""All places where texts of tenants stand, and may be sealed: what is not here is stored as it is (ADR 51)."""

from app.core.credentials.text_key import Place

CONTENT, RESPONSE = Place("messages", "content"), Place("messages", "response")
METADATA, CITATIONS = Place("messages", "metadata", "json"), Place("messages", "citations", "json")
WEBHOOK_URL = Place("messages", "webhook_url")
REQUEST, OUTPUT = Place("message_contents", "request", "json"), Place("message_contents", "output", "json")
DELTA = Place("message_deltas", "text")
DELTA_ROW = ("id", "attempt", "start")
TITLE, SYSTEM_PROMPT = Place("conversations", "title"), Place("conversations", "system_prompt")
LABELS = Place("conversations", "metadata", "json")
ORIGINAL, DOCUMENT = Place("document_contents", "original", "bytes"), Place("document_contents", "text")
HEADING, PASSAGE = Place("document_chunks", "heading"), Place("document_chunks", "text")

OF_MESSAGE = {place.column: place for place in (CONTENT, RESPONSE, METADATA, CITATIONS)}
OF_SHOWN = {**OF_MESSAGE, "output": OUTPUT}
OF_DUE = {**OF_SHOWN, "webhook_url": WEBHOOK_URL}
OF_QUEUED = {**OF_SHOWN, "request": REQUEST, "system_prompt": SYSTEM_PROMPT}
OF_TURN = {"content": CONTENT, "response": RESPONSE, "request": REQUEST, "output": OUTPUT}
OF_SAID, OF_ASKED, OF_DELTA = {"said": CONTENT}, {"request": REQUEST}, {"text": DELTA}
# Of a column that stands in another row than the others of a result.
IN_CONVERSATION = {"system_prompt": ("conversation_id",)}
OF_CONVERSATION = {place.column: place for place in (TITLE, SYSTEM_PROMPT, LABELS)}
CHUNK_ROW, CONTENT_ROW = ("chunk_id",), ("document_id",)
OF_CHUNK = {place.column: place for place in (HEADING, PASSAGE)}

OF_LOADED, OF_CONTENT = {"original": ORIGINAL}, {"text": DOCUMENT}

# By table: what tells a row of it, and its columns that hold text. Deltas are gone when their message ends.
TABLES: dict[str, tuple[str, tuple[Place, ...]]] = {
    "conversations": ("id", (TITLE, SYSTEM_PROMPT, LABELS)),
    "messages": ("id", (CONTENT, RESPONSE, METADATA, CITATIONS, WEBHOOK_URL)),
    "message_contents": ("message_id", (REQUEST, OUTPUT)),
    "document_contents": ("document_id", (ORIGINAL, DOCUMENT)),
    "document_chunks": ("id", (HEADING, PASSAGE)),
}
