"""Vectors for a caller's own texts, by the embedders that documents have."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.core.errors import DocumentsOff, ModelNotFound
from app.core.rate_limits.tokens import CallersTokens
from app.db.session import TenantSession
from app.documents.embedding.embedders import Embedders
from app.documents.metering import Meter, Payer
from app.documents.shapes import Embedder, Vector
from app.llm.pricing import estimated_tokens


@dataclass(frozen=True, slots=True)
class Embeddings:
    """A vector for each text; `tokens`: what the model read."""

    model: str
    vectors: Sequence[Vector]
    tokens: int


class EmbeddingService:
    """On the account of the caller."""

    def __init__(self, db: TenantSession, embedders: Embedders | None, meter: Meter, tokens: CallersTokens) -> None:
        self._db = db
        self._embedders = embedders
        self._meter = meter
        self._tokens = tokens

    def embedder(self, name: str) -> Embedder:
        """By the name that its provider has for it; "": the one that embeds documents.

        Raises:
            DocumentsOff: this service has no embedder.
            ModelNotFound
        """
        known = self._known()
        if not known:
            raise DocumentsOff
        found = next((embedder for embedder in known if name in ("", embedder.name)), None)
        if found is None:
            raise ModelNotFound
        return found

    async def embed(self, embedder: Embedder, texts: Sequence[str]) -> Embeddings:
        """Raises what `Meter.embed` does; TokensUsedUp, MoreThanTokenLimit."""
        principal = self._db.principal
        payer = Payer(principal.tenant_id, principal.user_id, self._db.begin)
        # Many texts wait behind documents, and no question waits behind them.
        async with self._tokens.taking() as tokens:
            await tokens.take(lambda: sum(map(estimated_tokens, texts)))
            metered = await self._meter.embed(embedder, texts, "query" if len(texts) == 1 else "passage", payer)
        if tokens.hold is not None:
            await tokens.hold.settle(metered.tokens)
        async with self._db.begin() as connection:
            await metered.settle(connection)
        return Embeddings(embedder.name, metered.vectors, metered.tokens)

    def _known(self) -> list[Embedder]:
        if self._embedders is None:
            return []
        return [self._embedders.current, *self._embedders.previous]
