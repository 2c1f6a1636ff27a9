"""A response's events, numbered so that any process can say what comes after a number.

The numbers count along a tape: each event takes one place of it, and a delta as many as it has characters. What stands
on the tape follows from the answer alone, however it was cut into deltas: a reader may go on in another process, in the
middle of what was one delta in the first. A message that is answered again has a tape of its own, behind those before.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from app.api.v1.responses.ids import item_id
from app.api.v1.responses.resource import begun, resource
from app.api.v1.responses.writing import summary_part, text_part, written
from app.core.errors import AppError
from app.core.items import Delta, Item, Message, Reasoning, ReasoningDelta, TextDelta, ToolCall, ToolCallDelta
from app.core.lines import one_line
from app.models.rows import MessageRow
from app.services.response_events import status_of

PLACES_OF_AN_ATTEMPT = 1 << 32
FROM_THE_BEGINNING = -1
# A cancelled response has an end, too, and this is the one of those that clients know whose answer may lack its rest.
LAST = {"completed": "response.completed", "failed": "response.failed"}
OTHER_LAST = "response.incomplete"


@dataclass(slots=True)
class _Open:
    """The item that is being written; `call`: the number of a tool call among those of the answer."""

    item: Item
    id: str
    index: int
    call: int | None
    pieces: list[str]

    def whole(self) -> Item:
        text = "".join(self.pieces)
        match self.item:
            case Message(role):
                return Message(role, text)
            case ToolCall(call_id, name):
                return ToolCall(call_id, name, text)
            case Reasoning(_, provider, sealed):
                return Reasoning(text, provider, sealed)
            case item:
                return item


class ResponseEvents:
    """Renders one stream; `after`: the number of the last event that its reader has seen."""

    def __init__(self, shown: dict[str, Any], *, with_seal: bool, after: int = FROM_THE_BEGINNING) -> None:
        self._shown = shown
        self._with_seal = with_seal
        self._after = after
        self._row: MessageRow
        self._place = 0
        self._items = 0
        self._open: _Open | None = None

    def begin(self, row: MessageRow) -> Iterator[bytes]:
        """The message, or the same one as somebody answers it again."""
        self._row, self._items, self._open = row, 0, None
        self._place = max(row.attempts - 1, 0) * PLACES_OF_AN_ATTEMPT - 1
        response = begun(row, self._shown)
        yield from self._event("response.created", response=response)
        yield from self._event("response.in_progress", response=response)

    def delta(self, delta: Delta) -> Iterator[bytes]:
        match delta:
            case TextDelta(text):
                yield from self._into(Message("assistant", ""))
                yield from self._piece("response.output_text.delta", text, content_index=0, logprobs=[])
            case ReasoningDelta(text, provider, sealed):
                yield from self._thought(text, provider, sealed)
            case ToolCallDelta(number, arguments, call_id, name):
                yield from self._into(ToolCall(call_id, name, ""), number)
                yield from self._piece("response.function_call_arguments.delta", arguments)

    def _thought(self, text: str, provider: str, sealed: dict[str, Any] | None) -> Iterator[bytes]:
        """A piece of reasoning; or its seal, which comes last, and perhaps alone."""
        if not text and sealed is None:
            return
        yield from self._into(Reasoning(""))
        assert self._open is not None
        if text and not self._open.pieces:
            part = summary_part("")
            yield from self._of_item("response.reasoning_summary_part.added", summary_index=0, part=part)
        if text:
            yield from self._piece("response.reasoning_summary_text.delta", text, summary_index=0)
        if sealed is not None:
            self._open.item = Reasoning("", provider, sealed)
            yield from self._close()

    def end(self, row: MessageRow, output: Sequence[Item], error: AppError | None = None) -> Iterator[bytes]:
        yield from self._close(cut=status_of(row) != "completed")
        response = resource(row, self._shown, output, error, with_seal=self._with_seal)
        yield from self._event(LAST.get(response["status"], OTHER_LAST), response=response)

    def fail(self, error: dict[str, Any]) -> Iterator[bytes]:
        """The reader cannot be told how the message ends."""
        # Both forms: the one that the SDK raises from, and the one that it has a type for.
        yield from self._event("error", error=error, **{name: error[name] for name in ("code", "message", "param")})

    def _into(self, item: Item, call: int | None = None) -> Iterator[bytes]:
        """Go on with the item that is open, if it is this one; else begin it."""
        now = self._open
        if now is not None and type(now.item) is type(item) and now.call == call:
            return
        yield from self._close()
        now = self._open = _Open(item, item_id(item, self._row.id, self._items), self._items, call, [])
        self._items += 1
        bare = written(item, now.id, "in_progress", with_seal=False)
        if isinstance(item, Message):
            bare["content"] = []
        yield from self._event("response.output_item.added", output_index=now.index, item=bare)
        if isinstance(item, Message):
            yield from self._of_item("response.content_part.added", content_index=0, part=text_part(""))

    def _close(self, *, cut: bool = False) -> Iterator[bytes]:
        now, place = self._open, {}
        if now is None:
            return
        match item := now.whole():
            case Message() as message:
                text, place = message.text, {"content_index": 0}
                yield from self._of_item("response.output_text.done", **place, text=text, logprobs=[])
                yield from self._of_item("response.content_part.done", **place, part=text_part(text))
            case Reasoning(text) if text:
                place = {"summary_index": 0}
                yield from self._of_item("response.reasoning_summary_text.done", **place, text=text)
                yield from self._of_item("response.reasoning_summary_part.done", **place, part=summary_part(text))
            case ToolCall(_, name, arguments):
                yield from self._of_item("response.function_call_arguments.done", name=name, arguments=arguments)
        whole = written(item, now.id, "incomplete" if cut else "completed", with_seal=self._with_seal)
        yield from self._event("response.output_item.done", output_index=now.index, item=whole)
        self._open = None

    def _piece(self, kind: str, text: str, **more: Any) -> Iterator[bytes]:
        assert self._open is not None
        self._open.pieces.append(text)
        seen = max(self._after - self._place, 0)
        self._place += len(text)
        if unseen := text[seen:]:
            yield self._frame(kind, item_id=self._open.id, output_index=self._open.index, delta=unseen, **more)

    def _of_item(self, kind: str, **more: Any) -> Iterator[bytes]:
        assert self._open is not None
        return self._event(kind, item_id=self._open.id, output_index=self._open.index, **more)

    def _event(self, kind: str, **more: Any) -> Iterator[bytes]:
        self._place += 1
        if self._place > self._after:
            yield self._frame(kind, **more)

    def _frame(self, kind: str, **more: Any) -> bytes:
        data = {"type": kind, "sequence_number": self._place, **more}
        # What the request had is stored without the order of its names: here they have one, in every process.
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), sort_keys="response" in data)
        return f"event: {kind}\ndata: {one_line(text)}\n\n".encode()
