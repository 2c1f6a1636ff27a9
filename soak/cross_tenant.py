"""A million requests of many tenants, each answer scanned for any other tenant's mark.

The requests come from the table of app/verification/operations.py: every id that an operation takes is also given
another tenant's, and a new route is in the run by its row.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from app.application import create_app
from app.verification.description import described, kind_in_query
from app.verification.operation import Access, Operation
from app.verification.operations import OPERATIONS
from soak.client import Answer, Exchange, drive
from soak.report import Failed, Outcome, Progress
from soak.seed import KINDS, MARK, NUMBERS, identifier, mark
from soak.service import Service

REQUESTS = 1_000_000
CONCURRENCY = 64
# Own things that are written while the run goes on; everything else is read, or refused.
WRITES = ("POST /messages", "POST /conversations", "PATCH /conversations/{id}")
LIMIT = re.compile(rb'"limit_micro_usd":(\d+)')
SECRET = re.compile(rb'"secret":"([^"]+)"')
# Answers that carry no mark: what in them must be the tenant's own.
UNMARKED = {"GET /admin/budget": LIMIT, "GET /admin/webhook-secret": SECRET}
# Answers that are the same for every tenant of the soak, or empty.
SHARED = ("GET /models", "GET /v1/models", "GET /admin/providers")
# What else a read needs to show whose it is.
QUERY = {"GET /usage": "group_by=user"}


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a request tries, and what its answer must be."""

    what: str
    operation: Operation
    tenant: int
    status: int
    own: bool
    """Whether something of the caller's own must come back."""
    empty: bool = False


class Attempts:
    """Makes requests at random, the same for the same seed."""

    def __init__(self, service: Service, seed: int) -> None:
        self._dice = random.Random(seed)
        self._service = service
        schema = create_app().openapi()
        known = described(schema)
        # What is named and has no id is each tenant's own by that name: there is nothing of another's to ask for.
        self._closed = [row for row in OPERATIONS if row.access is not Access.OPEN and not row.named]
        for row in self._closed:
            if row.target and row.target not in KINDS:
                raise SystemExit(f"{row.name} is about a `{row.target}`: add it to SEED and KINDS in soak/seed.py")
        self._narrowed = [
            (row, parameter["name"])
            for row in self._closed
            for parameter in known[row.method, row.path].get("parameters", [])
            if parameter["in"] == "query" and parameter["name"].endswith("_id")
        ]
        self._lists = {
            row.name
            for row in self._closed
            for parameter in known[row.method, row.path].get("parameters", [])
            if parameter["name"] == "limit"
        }
        self._by_path = [row for row in self._closed if row.target]
        self._by_body = [row for row in self._closed if row.ids_in_body]
        self._strict = [row for row in self._closed if row.body is not None and not row.form and row.is_ours]
        # An export reads all of a tenant: it is asked for with another's id alone.
        self._reads = [
            row for row in self._closed if row.method == "get" and not row.differs and row.name not in SHARED
        ]
        self._writes = [row for row in self._closed if row.name in WRITES]
        kinds: list[tuple[Callable[[], Exchange], float]] = [
            (self._foreign_path, 45),
            (self._own_read, 20),
            (self._narrowed_list, 15),
            (self._foreign_header, 8),
            (self._foreign_body, 6),
            (self._tenant_in_body, 4),
            (self._own_write, 2),
        ]
        self._kinds, self._weights = [kind for kind, _ in kinds], [weight for _, weight in kinds]
        self.counts: Counter[str] = Counter()

    def next(self) -> Exchange:
        (kind,) = self._dice.choices(self._kinds, self._weights)
        return kind()

    # --- the kinds of attempts

    def _foreign_path(self) -> Exchange:
        operation = self._dice.choice(self._by_path)
        tenant, other = self._two()
        path = operation.path_to(self._id(operation.target, other))
        path += "?" + "&".join(f"{name}=x" for name in operation.query) if operation.query else ""
        attempt = Attempt("another tenant's id in the path", operation, tenant, operation.foreign, own=False)
        return self._request(attempt, path, self._body(operation, tenant))

    def _own_read(self) -> Exchange:
        operation, tenant = self._dice.choice(self._reads), self._tenant()
        attempt = Attempt("own things, read", operation, tenant, operation.ok, own=True)
        return self._request(attempt, self._own_path(operation, tenant))

    def _narrowed_list(self) -> Exchange:
        operation, name = self._dice.choice(self._narrowed)
        tenant, other = self._two()
        path = self._own_path(operation, tenant, f"{name}={self._id(kind_in_query(name), other)}")
        attempt = Attempt("lists narrowed to another tenant's", operation, tenant, operation.ok, own=False, empty=True)
        return self._request(attempt, path)

    def _foreign_header(self) -> Exchange:
        operation, (tenant, other) = self._dice.choice(self._reads), self._two()
        foreign = identifier("tenant", other)
        attempt = Attempt("another tenant in header and query", operation, tenant, operation.ok, own=True)
        path = self._own_path(operation, tenant, f"tenant_id={foreign}")
        return self._request(attempt, path, headers=f"X-Tenant-ID: {foreign}\r\nX-User-ID: {foreign}\r\n")

    def _foreign_body(self) -> Exchange:
        operation, (tenant, other) = self._dice.choice(self._by_body), self._two()
        body = operation.filled(lambda kind: self._id(kind, other))
        attempt = Attempt("another tenant's id in the body", operation, tenant, operation.foreign_in_body, own=False)
        return self._request(attempt, self._own_path(operation, tenant), body)

    def _tenant_in_body(self) -> Exchange:
        operation, (tenant, other) = self._dice.choice(self._strict), self._two()
        body = {**(self._body(operation, tenant) or {}), "tenant_id": identifier("tenant", other)}
        attempt = Attempt("another tenant in a body without the field", operation, tenant, 422, own=False)
        return self._request(attempt, self._own_path(operation, tenant), body)

    def _own_write(self) -> Exchange:
        operation, tenant = self._dice.choice(self._writes), self._tenant()
        body = {name: f"{mark(tenant).decode()} {name}" for name in operation.body or {} if not name.endswith("_id")}
        attempt = Attempt("own things, written", operation, tenant, operation.ok, own=True)
        return self._request(attempt, self._own_path(operation, tenant), body)

    # --- their parts

    def _tenant(self) -> int:
        return self._dice.randint(1, self._service.tenants)

    def _two(self) -> tuple[int, int]:
        first, second = self._dice.sample(range(1, self._service.tenants + 1), 2)
        return first, second

    def _id(self, kind: str, tenant: int) -> str:
        return identifier(kind, tenant, self._dice.randrange(NUMBERS.get(kind, 1)))

    def _own_path(self, operation: Operation, tenant: int, query: str = "") -> str:
        path = operation.path_to(self._id(operation.target, tenant)) if operation.target else operation.path
        limit = "limit=3" if operation.name in self._lists else ""  # more rows prove no more, and cost
        query = "&".join(filter(None, (QUERY.get(operation.name), limit, query)))
        return f"{path}?{query}" if query else path

    def _body(self, operation: Operation, tenant: int) -> dict[str, Any] | None:
        def value(kind: str) -> str:
            return self._id(kind, tenant) if kind in KINDS else f"{kind}@acme.com"

        return operation.filled(value)

    def _request(self, attempt: Attempt, path: str, body: dict[str, Any] | None = None, headers: str = "") -> Exchange:
        operation = attempt.operation
        as_admin = operation.access is Access.ADMIN or self._dice.random() < 0.3
        token = self._service.tokens[attempt.tenant][0 if as_admin else 1]
        content = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{operation.method.upper()} {quote(path, safe='/?=&')} HTTP/1.1\r\nHost: soak\r\n"
            f"Authorization: Bearer {token}\r\n{headers}"
        )
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        self.counts[attempt.what] += 1
        return Exchange(head.encode() + b"\r\n" + content, attempt)


class Judge:
    """Looks at each answer. The first that is wrong ends the run."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.own = 0
        self._figures: dict[tuple[Any, ...], int] = {}

    def look(self, exchange: Exchange, answer: Answer) -> None:
        attempt: Attempt = exchange.about
        self.statuses[answer.status] += 1
        own = mark(attempt.tenant)
        marks, own_marks = _counts(answer, own)
        if marks != own_marks:
            raise _failed("another tenant's mark in the answer", exchange, answer)
        if answer.status != attempt.status:
            raise _failed(f"status {answer.status} and not {attempt.status}", exchange, answer)
        if attempt.empty and answer.body != b"[]":
            raise _failed("a list that must be empty is not", exchange, answer)
        if attempt.own:
            self._look_at_own(exchange, answer, own_marks)

    def _look_at_own(self, exchange: Exchange, answer: Answer, own_marks: int) -> None:
        attempt: Attempt = exchange.about
        name = attempt.operation.name
        if name in UNMARKED:
            found = UNMARKED[name].findall(answer.body)
            if not found or self._figures.setdefault((name, *found), attempt.tenant) != attempt.tenant:
                raise _failed("a figure that only one tenant has", exchange, answer)
        elif not own_marks:
            raise _failed("nothing of the caller's own in the answer", exchange, answer)
        self.own += 1


def _counts(answer: Answer, own: bytes) -> tuple[int, int]:
    """The marks of all tenants in the answer, and the caller's own."""
    marks = answer.body.count(MARK)
    if MARK in answer.head:
        return marks + answer.head.count(MARK), answer.body.count(own) + answer.head.count(own)
    return marks, answer.body.count(own) if marks else 0


def _failed(reason: str, exchange: Exchange, answer: Answer) -> Failed:
    return Failed(
        f"{reason}\n{exchange.about.what}\nrequest: {exchange.request!r}\nanswer: {answer.head + answer.body!r}"
    )


async def run(service: Service, scale: float, seed: int) -> Outcome:
    total = max(1, round(REQUESTS * scale))
    attempts, judge = Attempts(service, seed), Judge()
    progress, left = Progress("cross-tenant", total), total

    def source() -> Exchange | None:
        nonlocal left
        if not left:
            return None
        left -= 1
        return attempts.next()

    def sink(exchange: Exchange, answer: Answer) -> None:
        judge.look(exchange, answer)
        progress.step()

    await drive(service.ports, CONCURRENCY, source, sink)
    return Outcome(
        "Cross-tenant requests",
        f"{service.tenants} tenants, {CONCURRENCY} connections, every operation that takes an id. Every id, name and text"
        " of a tenant carries its mark.",
        progress.seconds(),
        Counter({"requests": total, **dict(sorted(attempts.counts.items()))}),
        judge.statuses,
        [
            f"No answer of {total:,} held another tenant's mark in head or body.",
            "Another tenant's id was 404 (a tenant's: 403) wherever an operation takes one, and narrowed a list to nothing.",
            f"{judge.own:,} answers held the caller's own, as they should: the requests did read.",
        ],
    )
