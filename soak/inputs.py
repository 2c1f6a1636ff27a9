"""Inputs for the section fuzz: a good request for one of the operations, then one part of it made wrong."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from app.application import create_app
from app.core.ids import new_id
from app.verification.description import described, kind_in_query, resolved
from app.verification.operation import Access, Operation
from app.verification.operations import OPERATIONS
from soak import hostile
from soak.client import Exchange
from soak.seed import KINDS, NUMBERS, PASSWORD, email, identifier
from soak.service import Service

# A request that is damaged as a whole may be one that the server waits for more of.
PATIENCE_SECONDS = 0.2
# This share of the tenants is never called by what takes a caller's access.
SPARED = 0.75


@dataclass(frozen=True, slots=True)
class Input:
    number: int
    kind: str
    tenant: int
    """Whose marks may stand in the answer; 0: anybody's."""


@dataclass(frozen=True, slots=True)
class Target:
    """An operation with what the schema says of its input."""

    row: Operation
    parameters: list[dict[str, Any]]
    body: dict[str, Any] | None

    @property
    def takes_access(self) -> bool:
        return bool(self.row.ends) or (self.row.method in ("patch", "delete") and self.row.target == "user")


class Fuzzer:
    def __init__(self, service: Service, seed: int) -> None:
        self._service, self._seed = service, seed
        self._schema = create_app().openapi()
        known = described(self._schema)
        self._targets = [self._target(row, known[row.method, row.path]) for row in OPERATIONS]
        self._spared = max(2, round(service.tenants * SPARED))
        self.counts: Counter[str] = Counter()

    def _target(self, row: Operation, operation: dict[str, Any]) -> Target:
        content = operation.get("requestBody", {}).get("content", {})
        body = next(iter(content.values()))["schema"] if content else None
        return Target(row, operation.get("parameters", []), body)

    def exchange(self, number: int) -> Exchange:
        return Fuzz(self, random.Random(f"{self._seed}:{number}"), number).exchange()

    def target(self, dice: random.Random) -> Target:
        return dice.choice(self._targets)

    def tenant(self, target: Target, dice: random.Random) -> int:
        """One that is spared, or, for what takes access away, one that is not."""
        if target.takes_access:
            return dice.randint(self._spared + 1, self._service.tenants)
        return dice.randint(1, self._spared)

    def token(self, tenant: int, dice: random.Random) -> str:
        return self._service.tokens[tenant][0 if dice.random() < 0.8 else 1]

    def resolved(self, part: dict[str, Any]) -> dict[str, Any]:
        return resolved(self._schema, part)


class Fuzz:
    """One request: right at first, then one part of it made wrong."""

    def __init__(self, fuzzer: Fuzzer, dice: random.Random, number: int) -> None:
        self._fuzzer, self._dice, self._number = fuzzer, dice, number
        self._target = fuzzer.target(dice)
        self._tenant = fuzzer.tenant(self._target, dice)
        row = self._target.row
        self._method = row.method.upper()
        self._path = row.path_to(self._id(row.target)) if row.target else row.path
        self._query = ""
        self._headers = [("Host", "soak"), ("Authorization", f"Bearer {fuzzer.token(self._tenant, dice)}")]
        self._content_type = "application/x-www-form-urlencoded" if row.form else "application/json"
        self._body: Any = None if self._target.body is None else self._object(self._target.body)
        self._content: bytes | None = None

    def exchange(self) -> Exchange:
        kinds = (self.body, self.body_bytes, self.query, self.path, self.headers, self.method, self.whole)
        weights = (40, 14, 16, 10, 10, 2, 8)
        if self._body is None:
            weights = (0, 4, 40, 24, 20, 4, 8)
        (kind,) = self._dice.choices(kinds, weights)
        kind()
        if self._dice.random() < 0.15 and kind != self.headers:
            self.headers()
        request = self._bytes()
        if kind == self.whole:
            request = hostile.damaged(request, self._dice)
        broken = kind == self.whole
        about = Input(self._number, kind.__name__, 0 if self._open else self._tenant)
        self._fuzzer.counts[KINDS_OF_INPUT[kind.__name__]] += 1
        return Exchange(request, about, PATIENCE_SECONDS if broken else 0.0, last=broken)

    @property
    def _open(self) -> bool:
        return self._target.row.access is Access.OPEN

    # --- what is made wrong

    def body(self) -> None:
        if self._target.row.form:
            fields = [(name, hostile.value(self._dice)) for name in self._body if self._dice.random() < 0.6]
            fields += [(name, item) for name, item in self._body.items() if self._dice.random() < 0.7]
            self._content = _form(fields)
        else:
            self._body = hostile.mutated(self._body, self._dice)

    def body_bytes(self) -> None:
        if isinstance(self._body, dict):
            # Damaged, its address could become any.
            self._body = {name: item for name, item in self._body.items() if "url" not in name}
        encoding = self._dice.choice(("utf-8", "utf-8", "utf-8", "utf-16", "utf-32", "latin-1"))
        text = _form(list(self._body.items())).decode() if self._target.row.form else hostile.write(self._body or {})
        self._content = text.encode(encoding, "replace")
        if encoding == "utf-8":
            self._content = hostile.damaged(self._content, self._dice)
        if self._dice.random() < 0.01:
            self._content *= 2000

    def query(self) -> None:
        names = [item["name"] for item in self._target.parameters if item["in"] == "query"] or ["x"]
        parts = []
        for _ in range(self._dice.choice((1, 1, 2, 3))):
            name = self._dice.choice(names) if self._dice.random() < 0.9 else str(self._dice.choice(hostile.KEYS))
            parts.append(f"{_quoted(name)}={self._query_value()}")
        self._query = "&".join(parts) + self._dice.choice(("", "", "", "&", "&&=", "&=x", "?", ";a=b"))

    def _query_value(self) -> str:
        item = hostile.value(self._dice) if self._dice.random() < 0.8 else self._id("user")
        text = item if isinstance(item, str) else hostile.write(item)
        return _quoted(text[:3000]) + (self._dice.choice(hostile.ESCAPES) if self._dice.random() < 0.2 else "")

    def path(self) -> None:
        text = self._dice.choice(hostile.STRINGS) if self._dice.random() < 0.6 else self._id("message")
        piece = _quoted(text) + (self._dice.choice(hostile.ESCAPES) if self._dice.random() < 0.4 else "")
        row = self._target.row
        if row.target and self._dice.random() < 0.8:
            self._path = row.path_to(piece)
        else:
            cut = self._dice.randrange(len(self._path) + 1)
            self._path = (
                self._path[:cut] + self._dice.choice((piece, "/", "//", "/.", "/..", "?", "#", ";")) + self._path[cut:]
            )

    def headers(self) -> None:
        roll = self._dice.random()
        if roll < 0.2:
            self._headers[1] = ("Authorization", self._dice.choice(hostile.AUTHORIZATIONS))
        elif roll < 0.3:
            self._headers.pop()
        elif roll < 0.5:
            self._content_type = self._dice.choice(hostile.CONTENT_TYPES)
        else:
            self._headers += self._dice.choices(hostile.HEADERS, k=self._dice.choice((1, 1, 2, 5)))

    def method(self) -> None:
        self._method = self._dice.choice(hostile.METHODS)

    def whole(self) -> None:
        if isinstance(self._body, dict):
            self._body = {name: item for name, item in self._body.items() if "url" not in name}

    # --- what is right at first

    def _id(self, kind: str) -> str:
        """Of an own thing, mostly; what is to be deleted seldom is there, so that others find it."""
        roll = self._dice.random()
        if kind not in KINDS or roll < 0.15 or (self._target.row.method == "delete" and roll < 0.95):
            return self._dice.choice((new_id(), identifier("message", self._fuzzer.tenant(self._target, self._dice))))
        return identifier(kind, self._tenant, self._dice.randrange(NUMBERS.get(kind, 1)))

    def _object(self, part: dict[str, Any]) -> dict[str, Any]:
        part = self._fuzzer.resolved(part)
        required = part.get("required", ())
        return {
            name: self._right(name, field)
            for name, field in part.get("properties", {}).items()
            if name in required or self._dice.random() < 0.5
        }

    def _right(self, name: str, part: dict[str, Any]) -> Any:
        part = {**self._fuzzer.resolved(part), **{key: part[key] for key in ("examples",) if key in part}}
        if "enum" in part:
            return self._dice.choice(part["enum"])
        if name.endswith("_id"):
            return self._id(kind_in_query(name))
        kinds: dict[str, Callable[[], Any]] = {
            "object": lambda: self._object(part),
            "array": lambda: [self._right(name, part.get("items", {}))],
            "boolean": lambda: self._dice.random() < 0.5,
            "integer": lambda: self._dice.choice((0, 1, 1000, 10**9)),
        }
        kind = part.get("type", "")
        kind = self._dice.choice(kind) if isinstance(kind, list) else kind
        return kinds.get(kind, lambda: self._right_text(name, part))()

    def _right_text(self, name: str, part: dict[str, Any]) -> str | None:
        if "url" in name:
            return None
        if name in ("username", "email"):
            taken = self._dice.random() < 0.5
            return email(self._tenant, "user") if taken else f"{self._dice.randrange(10**12)}@acme.com"
        if "password" in name:
            return PASSWORD
        if name == "name":
            return f"Tenant {self._dice.randrange(10**12)}"
        return str((part.get("examples") or ["text"])[0])

    def _bytes(self) -> bytes:
        content = self._content
        if content is None:
            body = self._body
            form = self._target.row.form and isinstance(body, dict)
            content = b"" if body is None else _form(list(body.items())) if form else hostile.write(body).encode()
        lines = [f"{self._method} {self._path}{'?' if self._query else ''}{self._query} HTTP/1.1"]
        lines += [f"{name}: {text}" for name, text in self._headers]
        if content or self._body is not None:
            lines.append(f"Content-Type: {self._content_type}")
            if self._dice.random() < 0.05:
                lines.append("Transfer-Encoding: chunked")
                content = _chunked(content, self._dice)
            elif not any(name == "Content-Length" for name, _ in self._headers):
                lines.append(f"Content-Length: {len(content)}")
        return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + content


KINDS_OF_INPUT = {
    "body": "bodies with wrong values",
    "body_bytes": "bodies with wrong bytes",
    "query": "queries",
    "path": "paths",
    "headers": "headers",
    "method": "methods",
    "whole": "requests damaged as bytes",
}


def _quoted(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"))


def _form(fields: list[tuple[str, Any]]) -> bytes:
    pairs = [(name, item if isinstance(item, str) else hostile.write(item)) for name, item in fields]
    return urlencode([(name, text.encode("utf-8", "surrogatepass")) for name, text in pairs]).encode()


def _chunked(content: bytes, dice: random.Random) -> bytes:
    cut = dice.randrange(len(content) + 1)
    pieces = [piece for piece in (content[:cut], content[cut:]) if piece]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
