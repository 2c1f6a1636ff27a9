"""Embedders that are asked over HTTP: OpenAI's protocol, and Ollama's own."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.documents.shapes import Embedded, Kind, Vector
from app.llm.base import CallLimits
from app.llm.http import Endpoint, NotUnderstood, whole
from app.llm.pricing import estimated_tokens

AT_ONCE = 32
# More than this nobody read for one request: such a count is none.
MOST_TOKENS = 10_000_000
# No tokenizer of theirs is here. Of a long word they make a token about every four characters.
_WORD = re.compile(r"\w{1,4}|[^\w\s]")


class RemoteEmbedder:
    """Texts go in requests of some.

    `vectors_in` finds the vectors of an answer, in the order of the texts; `tokens_in`, what it says that it read. The
    same name makes vectors of other dimensions where the settings say so, and those compare with no others: what is
    stored is called by both.
    """

    is_free = False

    def __init__(
        self,
        endpoint: Endpoint,
        body: Mapping[str, Any],
        vectors_in: Callable[[dict[str, Any]], list[Any]],
        tokens_in: Callable[[dict[str, Any]], Any],
        dimensions: int,
        max_tokens: int,
    ) -> None:
        self.name: str = body["model"]
        self.model = f"{self.name} ({dimensions})"
        self.dimensions = dimensions
        self.max_tokens = max_tokens
        self._endpoint = endpoint
        self._body = body
        self._vectors_in, self._tokens_in = vectors_in, tokens_in

    async def embed(self, texts: Sequence[str], kind: Kind) -> Embedded:  # noqa: ARG002 - they ask for no kind
        parts = [await self._ask(texts[first : first + AT_ONCE]) for first in range(0, len(texts), AT_ONCE)]
        return Embedded([vector for part in parts for vector in part.vectors], sum(part.tokens for part in parts))

    async def _ask(self, texts: Sequence[str]) -> Embedded:
        def read(answer: dict[str, Any]) -> Embedded:
            found = self._vectors_in(answer)
            if len(found) != len(texts):
                raise ValueError("not a vector for each text")
            return Embedded([self._checked(vector) for vector in found], self._counted(answer, texts))

        try:
            return await self._endpoint.call({**self._body, "input": list(texts)}, whole(read))
        except NotUnderstood as error:
            raise error.refusal from None

    def _counted(self, answer: dict[str, Any], texts: Sequence[str]) -> int:
        tokens = self._tokens_in(answer)
        is_count = isinstance(tokens, int) and not isinstance(tokens, bool) and 0 < tokens <= MOST_TOKENS
        return tokens if is_count else sum(estimated_tokens(text) for text in texts)

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
    endpoint = Endpoint("openai", base_url, "/embeddings", headers, limits)

    def vectors_in(answer: dict[str, Any]) -> list[Any]:
        return [item["embedding"] for item in sorted(answer["data"], key=lambda item: item["index"])]

    def tokens_in(answer: dict[str, Any]) -> Any:
        usage = answer.get("usage")
        return usage.get("prompt_tokens") if isinstance(usage, dict) else None

    body = {"model": model, "encoding_format": "float"}
    return RemoteEmbedder(endpoint, body, vectors_in, tokens_in, dimensions, max_tokens)


def ollama_embedder(base_url: str, model: str, dimensions: int, max_tokens: int, limits: CallLimits) -> RemoteEmbedder:
    endpoint = Endpoint("ollama", base_url, "/api/embed", {}, limits)
    # What is too long is refused: cut, it would be found by its beginning alone.
    body = {"model": model, "truncate": False}
    return RemoteEmbedder(
        endpoint,
        body,
        lambda answer: answer["embeddings"],
        lambda answer: answer.get("prompt_eval_count"),
        dimensions,
        max_tokens,
    )
