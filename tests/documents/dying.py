"""A process that takes one document in, and never comes back from its second call of the embedder."""

import asyncio
import sys
from collections.abc import Sequence
from datetime import timedelta

from app.db.session import Database
from app.documents import claims
from app.documents.embedding.embedders import Embedders
from app.documents.ingestion import Ingestion
from app.documents.shapes import Embedded, Kind
from app.documents.totals import Quotas
from tests.documents.library import FREE, HashEmbedder


class Hanging(HashEmbedder):
    async def embed(self, texts: Sequence[str], kind: Kind) -> Embedded:
        if self.embedded:
            sys.stdout.write("hangs\n")
            sys.stdout.flush()
            await asyncio.Event().wait()
        return await super().embed(texts, kind)


async def main(url: str) -> None:
    lease = timedelta(seconds=1)
    database = Database(url, 4)
    claimed = await claims.claim(database, lease)
    assert claimed is not None
    await Ingestion(database, Embedders(Hanging()), Quotas(10, 10**9, 10**6, 10**6), FREE, lease=lease).work(claimed)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
