from app.core.errors import DocumentsOff
from app.core.principal import Principal
from app.db.session import TenantSession
from app.documents.embedding.embedders import Embedders
from app.documents.found import Narrowed, PassageRow
from app.documents.metering import Meter, Payer
from app.documents.search import passages_for, read_question


class DocumentSearchService:
    """Passages of the documents that the caller may see."""

    def __init__(self, db: TenantSession, embedders: Embedders | None, meter: Meter) -> None:
        self._db = db
        self._meter = meter
        self._embedders = embedders

    async def search(
        self,
        query: str,
        narrowed: Narrowed,
        most: int,
        floor: float = 0.0,
        *,
        before: str = "",
        reader: Principal | None = None,
    ) -> list[PassageRow]:
        """The best for a question, best first, none whose score is below `floor`.

        `before`: text whose words are asked for too, and that means nothing. `reader`: who may see what is found, where
        that is not the caller.

        The embedder is awaited with no transaction open. Where it turns out that the tenant's vectors are of another
        model still, the question is embedded by that one; where there is none of it any more, words alone decide.

        Raises:
            DocumentsOff: this service has no embedder.
            BudgetExceeded, ModelWithoutPrice: a budget does not cover the question.
            ProviderError: the embedder could not be asked.
        """
        if self._embedders is None:
            raise DocumentsOff
        embedder = self._embedders.current
        payer = Payer(self._db.principal.tenant_id, self._db.principal.user_id, self._db.begin)
        while True:
            embedded = await self._meter.embed(embedder, [query], "query", payer)
            async with self._db.begin() as connection:
                words = f"{query}\n{before}" if before else query
                question = await read_question(connection, self._db.principal.tenant_id, words)
                of_model = self._embedders.of(question.model) if question.model else None
                found: list[PassageRow] = []
                if question.model is not None and of_model in (None, embedder):
                    known = None if of_model is None else embedded.vectors[0]
                    seen_by = reader or self._db.principal
                    found = await passages_for(connection, seen_by, question, known, narrowed, most=most, floor=floor)
                await embedded.settle(connection)
            if of_model is None or of_model is embedder:
                return found
            embedder = of_model
