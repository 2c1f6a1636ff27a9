"""The export of all that a tenant owns, as lines of JSON."""

from collections.abc import AsyncGenerator, Sequence

from app.db.session import TenantSession
from app.services.audit_service import record_by
from app.services.export_end import EndLine
from app.services.export_tables import EXPORTED, ExportedLine, ExportedTable, lines_of


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
        end = EndLine("export", EXPORTED)
        yield end.count(first_type, len(first_rows), lines_of(first_rows))
        for exported in EXPORTED[1:]:
            rows = await self._page(exported, None)
            while rows:
                yield end.count(exported.type, len(rows), lines_of(rows))
                rows = [] if exported.is_last(rows) else await self._page(exported, rows[-1])
        yield end.written()

    async def _page(self, exported: ExportedTable, after: ExportedLine | None) -> Sequence[ExportedLine]:
        async with self._db.read_long() as connection:
            return await exported.page(connection, self._db.principal.tenant_id, after)
