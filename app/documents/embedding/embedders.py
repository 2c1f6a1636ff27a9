"""The embedders of a process."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.documents.shapes import Embedder


@dataclass(frozen=True, slots=True)
class Embedders:
    """`current` embeds what is stored from now on.

    `previous`: of models that a tenant's vectors may still be of. They serve until all are there of the current one,
    and a question is embedded as the vectors were that it is compared with.
    """

    current: Embedder
    previous: Sequence[Embedder] = ()

    def of(self, model: str) -> Embedder | None:
        return next((embedder for embedder in (self.current, *self.previous) if embedder.model == model), None)

    async def close(self) -> None:
        for embedder in (self.current, *self.previous):
            await embedder.close()
