"""Embedders that are asked over HTTP: OpenAI's protocol, and Ollama's own."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.documents.shapes import Kind, Vector
from app.llm.base import CallLimits
from app.llm.http import Endpoint, NotUnderstood, whole

AT_ONCE = 32
# No tokenizer of theirs is here. Of a long word they make a token about every four characters.
_WORD = re.compile(r"\w{1,4}|[^\w\s]")


class RemoteEmbedder:
    """Texts go in requests of some; `vectors_in` finds the vectors of an answer, in the order of the texts."""

    def __init__(
        self,
        endpoint: Endpoint,
        body: Mapping[str, Any],
        vectors_in: Callable[[dict[str, Any]], list[Any]],
        dimensions: int,
        max_tokens: int,
    ) -> None:
        self.model: str = body["model"]
        self.dimensions = dimensions
        self.max_tokens = max_tokens
        self._endpoint = endpoint
        self._body = body
        self._vectors_in = vectors_in

    async def embed(self, texts: Sequence[str], kind: Kind) -> list[Vector]:  # noqa: ARG002 - they ask for no kind
        vectors: list[Vector] = []
        for first in range(0, len(texts), AT_ONCE):
            vectors += await self._ask(texts[first : first + AT_ONCE])
        return vectors

    async def _ask(self, texts: Sequence[str]) -> list[Vector]:
        def read(answer: dict[str, Any]) -> list[Vector]:
            found = self._vectors_in(answer)
            if len(found) != len(texts):
                raise ValueError("not a vector for each text")
            return [self._checked(vector) for vector in found]

        try:
            return await self._endpoint.call({**self._body, "input": list(texts)}, whole(read))
        except NotUnderstood as error:
            raise error.refusal from None

    def _checked(self, vector: Any) -> Vector:
        numbers = [float(number) for number in vector]
        length = math.hypot(*numbers)
        if len(numbers) != self.dimensions or not math.isfinite(length) or not length:
            raise ValueError("not a vector of the model that the settings name")
        return [number / length for number in numbers]

    def token_spans(self, text: str) -> Sequence[tuple[int, int]]:
        return [match.span() for match in _WORD.finditer(text)]

    async def close(self) -> None:
        await self._endpoint.close()


def openai_embedder(
    base_url: str, api_key: str, model: str, dimensions: int, max_tokens: int, limits: CallLimits
) -> RemoteEmbedder:
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    endpoint = Endpoint("openai", f"{base_url.rstrip('/')}/embeddings", headers, limits)

    def vectors_in(answer: dict[str, Any]) -> list[Any]:
        return [item["embedding"] for item in sorted(answer["data"], key=lambda item: item["index"])]

    body = {"model": model, "encoding_format": "float"}
    return RemoteEmbedder(endpoint, body, vectors_in, dimensions, max_tokens)


def ollama_embedder(base_url: str, model: str, dimensions: int, max_tokens: int, limits: CallLimits) -> RemoteEmbedder:
    endpoint = Endpoint("ollama", f"{base_url.rstrip('/')}/api/embed", {}, limits)
    # What is too long is refused: cut, it would be found by its beginning alone.
    body = {"model": model, "truncate": False}
    return RemoteEmbedder(endpoint, body, lambda answer: answer["embeddings"], dimensions, max_tokens)
