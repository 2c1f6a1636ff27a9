"""Uploads of hostile names, types and contents, each following from its dice; and what must hold of what they left."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import asyncpg

from soak import hostile
from tests.documents.many_children import made

Headers = list[tuple[str, str]]
BOUNDARY = "b0undary"
ENDINGS = (
    "",
    ".txt",
    ".md",
    ".html",
    ".csv",
    ".pdf",
    ".docx",
    ".pptx",
    ".xlsx",
    ".docm",
    ".exe",
    ".tar.gz",
    ".TXT ",
    ".",
)
NAMES = (
    "note",
    "a/b",
    "..\\..\\a",
    ".",
    "..",
    "C:\\x",
    "a" * 255,
    "é" * 300,
    "\u202etxt.exe",
    "'; DROP TABLE documents;--",
)
# As they come in a header, of bytes that a browser would not send.
RAW_NAMES = (
    b"a.txt", b"", b'a\\"b.md', b"a\x00b.txt", b"\xff\xfe.txt", b"a\r\nX-Injected: 1", b"x" * 7000,
    b"=?utf-8?q?a?=.pdf", b"%00.txt", b"\xed\xa0\x80.md", b"con.txt", b"a;b.csv", b"/etc/passwd", b"..\\..\\boot.ini",
    "ｆ\u202e.pdf".encode(),
)  # fmt: skip
TYPES = (*hostile.CONTENT_TYPES, "application/pdf", "text/html", "text/markdown", "image/png", "x" * 4000)
WORDS = (
    "lease",
    "machine",
    "Ünïcode",
    "日本語",
    "\U0001f469\u200d\U0001f4bb",
    "# ",
    "\n\n",
    "|",
    "<b>",
    "\t",
    "\u2028",
    "0" * 50,
)


@dataclass(frozen=True, slots=True)
class Upload:
    """A request to POST /documents, without who sends it."""

    headers: Headers
    body: bytes


def upload(dice: random.Random) -> Upload:
    kinds: tuple[Callable[[random.Random], Upload], ...] = (_text, _form, _broken_form)
    (kind,) = dice.choices(kinds, (40, 50, 10))
    sent = kind(dice)
    if dice.random() < 0.1:
        sent.headers.append(("Idempotency-Key", f"k{dice.randrange(50)}"))
    return sent


def _text(dice: random.Random) -> Upload:
    body: Any = {"name": _name(dice), "text": _words(dice), **_fields(dice)}
    if dice.random() < 0.4:
        body = hostile.mutated(body, dice)
    content = hostile.write(body).encode("utf-8", "surrogatepass")
    if dice.random() < 0.1:
        content = hostile.damaged(content, dice)
    kind = "application/json" if dice.random() < 0.95 else dice.choice(hostile.CONTENT_TYPES)
    return Upload([("Content-Type", kind)], content)


def _form(dice: random.Random) -> Upload:
    fields: Any = {"name": _name(dice), **_fields(dice)} if dice.random() < 0.7 else {}
    if fields and dice.random() < 0.3:
        fields = hostile.mutated(fields, dice)
    items = (
        fields.items if isinstance(fields, hostile.Pairs) else list(fields.items()) if isinstance(fields, dict) else []
    )
    parts = [
        _part(key.encode("utf-8", "replace"), value if isinstance(value, str) else hostile.write(value))
        for key, value in items
    ]
    parts += [_file(dice) for _ in range(dice.choices((1, 0, 2), (94, 3, 3))[0])]
    dice.shuffle(parts)
    return Upload([("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")], _joined(parts))


def _broken_form(dice: random.Random) -> Upload:
    sent = _form(dice)
    match dice.randrange(6):
        case 0:
            body = hostile.damaged(sent.body, dice)
        case 1:
            body = sent.body[: dice.randrange(len(sent.body) + 1)]
        case 2:
            body = _joined([_part(b"name", "x")] * dice.choice((9, 2000)))
        case 3:
            body = _joined([_part(b"attributes", "x" * 20_000), _file(dice)])
        case 4:
            body = sent.body.replace(BOUNDARY.encode(), BOUNDARY[:-1].encode(), 1)
        case _:
            kind = f"multipart/form-data; boundary={dice.choice(('', 'x' * 300, 'é', chr(34), BOUNDARY + ';'))}"
            return Upload([("Content-Type", kind)], sent.body)
    return Upload(sent.headers, body)


def _fields(dice: random.Random) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if dice.random() < 0.3:
        fields["collection"] = dice.choice(("default", "shelf", "x" * 101, "", "a\x00", "é"))
    if dice.random() < 0.3:
        fields["visibility"] = dice.choice(("tenant", "private", "public"))
    if dice.random() < 0.3:
        fields["attributes"] = dice.choice(
            ({"year": 2026}, {"a": hostile.value(dice)}, {"x" * 300: 1}, {str(n): n for n in range(40)})
        )
    return fields


def _name(dice: random.Random) -> str:
    """Few, so that versions take each other's place."""
    stem = dice.choice(NAMES) if dice.random() < 0.8 else dice.choice(hostile.STRINGS)
    return f"{stem}{dice.choice(ENDINGS)}"


def _words(dice: random.Random) -> str:
    return "".join(dice.choice(WORDS) + " " * dice.randrange(2) for _ in range(dice.choice((0, 1, 5, 50, 600))))


def _part(name: bytes, value: str) -> bytes:
    shown = name.replace(b'"', b"%22")
    return b'Content-Disposition: form-data; name="' + shown + b'"\r\n\r\n' + value.encode("utf-8", "surrogatepass")


def _file(dice: random.Random) -> bytes:
    filename = (
        dice.choice(RAW_NAMES) if dice.random() < 0.4 else _name(dice).encode("utf-8", "replace").replace(b'"', b"%22")
    )
    given = b'; filename="' + filename + b'"'
    if dice.random() < 0.1:
        given += b"; filename*=" + dice.choice((b"utf-8''%ff%00.txt", b"latin-9'x'%e4", b"''", b"bogus'en'a"))
    content = _words(dice).encode() if dice.random() < 0.3 else made(dice)
    if dice.random() < 0.02 and len(content) < 1000:
        content *= 200
    kind = dice.choice(TYPES).encode("latin-1", "replace")
    return b'Content-Disposition: form-data; name="file"' + given + b"\r\nContent-Type: " + kind + b"\r\n\r\n" + content


def _joined(parts: list[bytes]) -> bytes:
    mark = f"--{BOUNDARY}".encode()
    return b"".join(mark + b"\r\n" + part + b"\r\n" for part in parts) + mark + b"--\r\n"


_OF = """SELECT d.tenant_id, d.id, d.status, d.error_code, d.progress, d.current, d.chunks, d.characters, c.text,
    c.original,
    c.document_id IS NULL AS alone,
    (SELECT count(*) FROM document_chunks k WHERE k.document_id = d.id) AS has_chunks,
    (SELECT count(*) FROM chunk_vectors v WHERE v.document_id = d.id) AS has_vectors,
    (SELECT count(*) FROM chunk_terms t WHERE t.document_id = d.id) AS has_terms,
    (SELECT count(*) FROM document_chunks k WHERE k.document_id = d.id
      AND EXISTS (SELECT FROM text_terms(k.heading || ' ' || k.text))) AS has_words
  FROM documents d LEFT JOIN document_contents c ON c.document_id = d.id WHERE d.deleting_at IS NULL"""
# What is wrong, and the rows that are so.
NOTHING_HALF = {
    "a document without its content": f"SELECT tenant_id, id FROM ({_OF}) AS d WHERE alone",
    "unfinished": f"SELECT tenant_id, id, status FROM ({_OF}) AS d WHERE status IN ('queued', 'processing')",
    "ready without all that it has": f"""
        SELECT tenant_id, id, chunks, has_chunks, has_vectors, has_terms FROM ({_OF}) AS d
        WHERE status = 'ready' AND (text IS NULL OR original IS NOT NULL OR NOT current OR progress <> 100 OR chunks = 0
          OR error_code IS NOT NULL OR characters <> length(text)
          OR has_chunks <> chunks OR has_vectors <> chunks OR has_terms <> has_words)""",
    "failed and not empty": f"""
        SELECT tenant_id, id, error_code, has_chunks FROM ({_OF}) AS d
        WHERE status = 'failed' AND (text IS NOT NULL OR original IS NOT NULL OR current OR error_code IS NULL
          OR has_chunks + has_vectors + has_terms > 0)""",
    "a passage that is not where it says": """
        SELECT k.tenant_id, k.document_id, k.n
        FROM document_chunks k JOIN document_contents c ON c.document_id = k.document_id
        WHERE substr(c.text, k.start + 1, k."end" - k.start) <> k.text""",
    "of two of a name one has to go": """
        SELECT tenant_id, collection, name, audience FROM documents WHERE deleting_at IS NULL AND status = 'ready'
        GROUP BY 1, 2, 3, 4 HAVING count(*) > 1""",
    "something of a document that is gone": """
        SELECT tenant_id, document_id FROM document_contents c
        WHERE NOT EXISTS (SELECT FROM documents d WHERE d.id = c.document_id AND d.deleting_at IS NULL)""",
    "totals that are no sums": """
        SELECT t.* FROM document_totals t WHERE (t.documents, t.bytes, t.chunks, t.current_chunks) <> (
          SELECT count(*), COALESCE(sum(bytes), 0), COALESCE(sum(chunks) FILTER (WHERE status <> 'failed'), 0),
            COALESCE(sum(chunks) FILTER (WHERE current), 0)
          FROM documents d WHERE d.tenant_id = t.tenant_id AND d.deleting_at IS NULL)""",
    "frequencies that are no counts": """
        SELECT tenant_id, term FROM (SELECT * FROM term_frequencies WHERE chunks <> 0) AS f
          FULL JOIN (SELECT c.tenant_id, terms.place AS term, count(DISTINCT c.id) AS chunks FROM document_chunks c
            JOIN documents d ON d.id = c.document_id AND d.current
            CROSS JOIN LATERAL text_terms(c.heading || ' ' || c.text) AS terms GROUP BY 1, 2) AS t
          USING (tenant_id, term) WHERE f.chunks IS DISTINCT FROM t.chunks""",
}


async def half_stored(connection: asyncpg.Connection, tenants: list[str]) -> dict[str, list[Any]]:
    """What is wrong with what these tenants have, once all was taken in and removed: some rows of each kind."""
    found = {}
    for what, query in NOTHING_HALF.items():
        wrong = f"SELECT * FROM ({query}) AS wrong WHERE tenant_id = ANY($1) LIMIT 5"
        found[what] = [dict(row) for row in await connection.fetch(wrong, tenants)]
    return {what: rows for what, rows in found.items() if rows}


async def made_of(connection: asyncpg.Connection, tenants: list[str]) -> int:
    """How many documents were ever made, by what cannot be taken back."""
    created = "SELECT count(*) FROM audit_log WHERE action = 'document.created' AND tenant_id = ANY($1)"
    count: int = await connection.fetchval(created, tenants)
    return count
