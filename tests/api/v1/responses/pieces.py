"""Answers as a provider sends them: cut anywhere."""

import random
from collections.abc import Iterator, Sequence

from app.core.items import Delta, Item, Message, Reasoning, ReasoningDelta, TextDelta, ToolCall, ToolCallDelta


def deltas(answer: Sequence[Item], dice: random.Random) -> Iterator[Delta]:
    calls = 0
    for item in answer:
        match item:
            case Message():
                yield from (TextDelta(piece) for piece in pieces(item.text, dice))
            case Reasoning(text, provider, sealed):
                yield from (ReasoningDelta(piece) for piece in pieces(text, dice))
                yield ReasoningDelta("", provider, sealed)
            case ToolCall(call_id, name, arguments):
                yield ToolCallDelta(calls, "", call_id, name)
                yield from (ToolCallDelta(calls, piece) for piece in pieces(arguments, dice))
                calls += 1


def pieces(text: str, dice: random.Random) -> Iterator[str]:
    while text:
        length = dice.randint(1, len(text))
        yield text[:length]
        text = text[length:]
