"""The export of all that a tenant owns, as lines of JSON."""

import json
from collections import Counter
from collections.abc import AsyncGenerator, Sequence

from app.core.lines import one_line
from app.db.session import TenantSession
from app.services.audit_service import record_by
from app.services.export_tables import EXPORTED, PAGE_ROWS, ExportedLine, ExportedTable


class ExportService:
    """Reads page by page, each in a transaction of its own: none is open, and no connection held, while a client reads.

    It is therefore no snapshot: what changes meanwhile is exported as one page or another finds it.
    """

    def __init__(self, db: TenantSession) -> None:
        self._db = db

    async def begin(self) -> AsyncGenerator[bytes]:
        """The export in pieces of whole lines; the beginning is read, and noted in the audit log, before this returns.

        An admin who is disabled or demoted meanwhile is refused at the next page: the pieces raise as any transaction.
        """
        tenant_id = self._db.principal.tenant_id
        tenant = EXPORTED[0]
        async with self._db.begin_long() as connection:
            await record_by(self._db, connection, "tenant.exported", tenant_id)
            rows = (await connection.execute(tenant.first_page, {"tenant_id": tenant_id}, ExportedLine)).all()
        return self._pieces(tenant.type, rows)

    async def _pieces(self, first_type: str, first_rows: Sequence[ExportedLine]) -> AsyncGenerator[bytes]:
        counts = Counter({exported.type: 0 for exported in EXPORTED})
        counts[first_type] = len(first_rows)
        yield _lines(first_rows)
        for exported in EXPORTED[1:]:
            rows = await self._page(exported, None)
            while rows:
                counts[exported.type] += len(rows)
                yield _lines(rows)
                # A page that was cut for its bytes may have a next one, however few its rows are.
                last = not exported.long and len(rows) < PAGE_ROWS
                rows = [] if last else await self._page(exported, rows[-1])
        yield json.dumps({"type": "end", "counts": counts}).encode() + b"\n"

    async def _page(self, exported: ExportedTable, after: ExportedLine | None) -> Sequence[ExportedLine]:
        values = {"tenant_id": self._db.principal.tenant_id}
        statement = exported.first_page
        if after is not None:
            statement = exported.next_page
            values |= {column: getattr(after, column) for column in exported.key}
        async with self._db.read_long() as connection:
            return (await connection.execute(statement, values, ExportedLine)).all()


def _lines(rows: Sequence[ExportedLine]) -> bytes:
    return one_line("".join(f"{row.line}\n" for row in rows)).encode()
