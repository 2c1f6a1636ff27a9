"""What the steps of an ingestion hand to each other: a file is read into a text, cut into passages, and embedded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Kind = Literal["query", "passage"]
Vector = Sequence[float]
"""Of length 1, so that a product is a cosine."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading at an offset of the text; `level` 1 is the highest."""

    offset: int
    level: int
    title: str


@dataclass(frozen=True, slots=True)
class ReadText:
    """What was read in a file. `pages`: the offset at which each begins, of formats that have pages."""

    text: str
    media_type: str
    headings: Sequence[Heading] = ()
    pages: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk: the characters from `start` to before `end` of the text. `heading`: the path above it, " > " between."""

    n: int
    start: int
    end: int
    tokens: int
    text: str
    page: int | None = None
    heading: str = ""

    @property
    def embedded(self) -> str:
        """What is embedded, and whose words are counted: a passage means what its headings say it is about."""
        return f"{self.heading}\n\n{self.text}" if self.heading else self.text


@dataclass(frozen=True, slots=True)
class Embedded:
    """A vector for each text; `tokens`: what the model read."""

    vectors: Sequence[Vector]
    tokens: int


class Embedder(Protocol):
    """Turns texts into vectors.

    `model`: as its vectors are stored; `name`: as its provider calls it, and its price. `is_free`: it costs nobody
    anything.
    """

    model: str
    name: str
    is_free: bool
    dimensions: int
    max_tokens: int

    async def embed(self, texts: Sequence[str], kind: Kind) -> Embedded:
        """A vector for each text, none of them cut silently where it can be helped.

        Raises:
            ProviderError: the model could not be asked; `transient` where asking again may help.
        """
        ...

    def token_spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Where each token of the text begins and ends, in characters."""
        ...

    async def close(self) -> None: ...
