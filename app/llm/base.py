"""What a provider is: one method. A new one is a file beside this and a line in `app/llm/factory.py`."""

from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation, oldest first."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Completion:
    """A provider's answer and what it says that it counted, in tokens."""

    text: str
    model: str
    input_tokens: int | None
    output_tokens: int | None


class LLMProvider(Protocol):
    name: str

    async def complete(self, turns: list[Turn]) -> Completion:
        """Answer the turns.

        Raises:
            ProviderError: whatever went wrong, without the provider's words: they may quote the key or the prompt.
        """
        ...

    async def close(self) -> None: ...
