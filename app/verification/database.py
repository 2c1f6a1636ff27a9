"""The database beneath the service: its catalog, and row-level security at work on the two throwaway tenants."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.errors import AppError
from app.db import rls
from app.db.provision import newest_revision, owner_connection
from app.db.session import Database
from app.residency.places import Place
from app.verification.catalog import CHECKS, LOGIN, TENANT_TABLES, Check
from app.verification.report import Report
from app.verification.statements import NAMED, Audit

NO_DATABASE = "the catalog, the login and the rows: DATABASE_URL is not set, and leads nowhere from here"
EMBEDDED = "the service's own login: the embedded server of a development machine has its superuser alone"
REVISION = text("SELECT version_num FROM alembic_version")
VISIBLE = text("SELECT count(*) FROM tenants WHERE tenants.id = :tenant").bindparams(bindparam("tenant"))
AT_WORK = "Whoever entered a tenant sees no row of another, whatever the statement forgets"


@dataclass(frozen=True, slots=True)
class Site:
    """A database of the service's. `login_counts`: it is the service's own login that is used here."""

    url: str
    place: Place
    login_counts: bool = True

    @property
    def name(self) -> str:
        return f" in {self.place.region}" if self.place.region else ""


async def look_at_catalog(site: Site, report: Report) -> None:
    """Each rule is a proof; what cannot be asked is said."""
    checks: list[Check] = [*CHECKS, *([LOGIN] if site.login_counts else [])]
    if not site.login_counts:
        report.not_seen(EMBEDDED)
    try:
        async with owner_connection(site.url, autocommit=True) as connection:
            for check in checks:
                proof = report.proof(check.rule + site.name)
                proof.tried = 1
                for problem in await _texts(connection, check.sql):
                    proof.leak(problem)
            await _compare_revisions(connection, site, report)
    except (DBAPIError, OSError, AppError) as error:
        cause = getattr(error, "orig", None) or error
        report.proof(f"The catalog{site.name} can be asked").failure(f"{type(cause).__name__}: DATABASE_URL")


async def _texts(connection: AsyncConnection, sql: str) -> Sequence[str]:
    return (await connection.exec_driver_sql(sql)).scalars().all()


async def _compare_revisions(connection: AsyncConnection, site: Site, report: Report) -> None:
    """Between two releases a rule may know more, or less, than the schema."""
    try:
        found = (await connection.execute(REVISION)).scalar_one_or_none()
    except DBAPIError:  # not the runtime's to read
        return
    if found != newest_revision():
        report.not_seen(f"the rules of revision {found}{site.name}: this command knows those of {newest_revision()}")


async def is_of(site: Site, tenant_id: str) -> bool:
    """Whether the tenant lives in this database."""
    async with site.place.database.background(rls.enter_tenant(tenant_id)) as connection:
        return bool((await connection.execute(VISIBLE, {"tenant": tenant_id})).scalar_one())


async def look_at_rows(site: Site, asking: str, other: str, report: Report) -> None:
    """Statements without a condition, as the runtime in one tenant: no row of another, where the other has rows."""
    proof = report.proof(AT_WORK + site.name)
    async with owner_connection(site.url, autocommit=True) as connection:
        tables = ["tenants", *await _texts(connection, TENANT_TABLES)]
    with_rows = 0
    for table in tables:
        try:
            beyond = await _rows(site.place.database, table, asking, "<>")
            none = await _rows(site.place.database, table, None, "<>", asking)
            with_rows += await _rows(site.place.database, table, other, "=")
        except Exception as error:  # noqa: BLE001 - what it may not read is said
            if getattr(error, "sqlstate", "") != "42501":
                proof.failure(f"{table}: {type(error).__name__}")
            continue
        proof.tried += 1
        if beyond:
            proof.leak(f"{table}: who entered a tenant sees rows of others")
        if none:
            proof.leak(f"{table}: who entered no tenant sees rows")
    if with_rows < 2:
        proof.failure("the other throwaway tenant has no rows there")


async def look_at_statements(site: Site, statements: Sequence[str], report: Report) -> None:
    """Those that this process has executed, each once."""
    async with owner_connection(site.url, autocommit=True) as connection:
        tables = await _texts(connection, TENANT_TABLES)
    Audit(("tenants", *tables)).judge(statements, report.proof(NAMED))


async def _rows(database: Database, table: str, entered: str | None, compared: str, tenant: str = "") -> bool:
    """Whether there is a row: found at the first, however large a table is."""
    column = "id" if table == "tenants" else "tenant_id"
    statement = text(f'SELECT EXISTS (SELECT FROM "{table}" AS seen WHERE seen.{column} {compared} :tenant)')
    entry = rls.ENTER_NO_TENANT if entered is None else rls.enter_tenant(entered)
    async with database.background(entry) as connection:
        return bool((await connection.execute(statement, {"tenant": entered or tenant})).scalar_one())


def none_to_look_at(report: Report) -> None:
    report.not_seen(NO_DATABASE)
