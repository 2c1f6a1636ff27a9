"""Whether statements name the tenant whose rows they touch: the first net, which holds without row-level security."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from app.db.pool import Pool
from app.verification.report import Proof

NAMED = "Every statement that the requests made the service execute names the tenant"
LENGTH = 300


@dataclass(frozen=True)
class Audit:
    """Finds tables of tenants in SQL; `tables` as the database has them, `tenants` among them."""

    tables: tuple[str, ...]

    def names_one(self, statement: str) -> bool:
        return re.search(rf"\b(?:{'|'.join(self.tables)})\b", statement) is not None

    def is_guarded(self, statement: str) -> bool:
        """Every table that it reads or changes has a condition of its own. `tenants`: its own id is the tenant."""
        touched = set(re.findall(rf"\b(?:FROM|UPDATE|JOIN)\s+({'|'.join(self.tables)})\b", statement))
        return all(
            re.search(rf"\b{table}\.{'id' if table == 'tenants' else 'tenant_id'} = \$\d+", statement)
            for table in touched
        )

    def judge(self, statements: Sequence[str], proof: Proof) -> None:
        named = {statement for statement in statements if self.names_one(statement)}
        proof.tried = len(named)
        for statement in sorted(named):
            if not self.is_guarded(statement):
                proof.leak(f"no tenant's condition: {' '.join(statement.split())[:LENGTH]}")


@contextmanager
def heard() -> Iterator[list[str]]:
    """All statements of this process's connections that are opened in the block."""
    statements: dict[str, None] = {}
    seen: list[str] = []

    def hear(query: Any) -> None:
        if query.query not in statements:
            statements[query.query] = None
            seen.append(query.query)

    Pool.listeners.append(hear)
    try:
        yield seen
    finally:
        Pool.listeners.remove(hear)
