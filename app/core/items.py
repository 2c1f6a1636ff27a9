"""What is said to a model and by it, in one vocabulary: providers translate it to theirs, and so does each interface.

Neither knows the other. A conversation is a list of items, oldest first; an answer is one too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """`data` is base64: what was named by an address has been fetched before it came here."""

    media_type: str
    data: str = field(repr=False)


Part = Text | Image


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str | tuple[Part, ...]

    @property
    def text(self) -> str:
        return text_of(self.content)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """`arguments` as the model wrote them: JSON, if it could."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    call_id: str
    content: str | tuple[Part, ...]
    failed: bool = False

    @property
    def text(self) -> str:
        return text_of(self.content)


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What a model thought. `sealed` is for `provider` alone, which gets it back byte for byte in the next turn."""

    text: str
    provider: str = ""
    sealed: dict[str, Any] | None = None


Item = Message | ToolCall | ToolResult | Reasoning


def text_of(content: str | tuple[Part, ...]) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.text for part in content if isinstance(part, Text))


def last_of_user(items: Sequence[Item]) -> str:
    """The last words of the user; "": it said none."""
    return next((item.text for item in reversed(items) if isinstance(item, Message) and item.role == "user"), "")


def words_of(item: Item) -> str:
    """All that a tokenizer meets in an item, its images left out."""
    return f"{item.name}\n{item.arguments}" if isinstance(item, ToolCall) else item.text


# --- what a call asks for


@dataclass(frozen=True, slots=True)
class Tool:
    """A function of the caller's. `parameters` is its JSON schema."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """`name` is set with `named` alone."""

    mode: Literal["auto", "none", "required", "named"] = "auto"
    name: str = ""


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """`schema` None: any JSON object."""

    schema: dict[str, Any] | None
    name: str = "output"
    description: str = ""
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """None, or empty: as the provider does by itself."""

    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    reasoning_effort: Effort | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    output_format: OutputFormat | None = None


NO_OPTIONS = Options()


# --- how an answer comes


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """An empty one says that the model is at work, and perhaps thinks. With `sealed` it ends a `Reasoning`."""

    text: str
    provider: str = ""
    sealed: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of the answer's tool call number `index` (from 0). The first piece alone has `id` and `name`."""

    index: int
    arguments: str = ""
    id: str = ""
    name: str = ""


Delta = TextDelta | ReasoningDelta | ToolCallDelta
AT_WORK = ReasoningDelta("")
