"""Values and bytes that programs choke on, and a writer of JSON that can write what json.dumps cannot."""

import json
import random
from dataclasses import dataclass
from typing import Any

Dice = random.Random


@dataclass(frozen=True, slots=True)
class Raw:
    """Written as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Pairs:
    """An object whose keys may repeat."""

    items: list[tuple[str, Any]]


NUMBERS: list[Any] = [
    0, -1, 1, 2**31 - 1, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30, 0.5, -0.0, 1e308, 5e-324,
    *map(Raw, ("1e999", "-1e999", "NaN", "Infinity", "-Infinity", "1E400", "0e0", "1.0", "01", "+1", ".5", "0x10")),
    Raw("9" * 400), Raw("9" * 5000), Raw("1" + "0" * 4000 + ".5"), Raw("0." + "1" * 3000),
]  # fmt: skip
STRINGS: list[Any] = [
    "", " ", "\t\r\n", "\x00", "a\x00b", "\x7f", "\x1b[31m", "\ud800", "\udc00\ud800", "\udfff tail", "\ufeff", "\ufffe",
    "\u202ereversed", "\u2028", "e\u0301" * 20, "\U0001f469\u200d\U0001f4bb", "ﬀﬁ", "İ", "ß@ß.de", "ﷺ" * 100, "١٢٣",
    "null", "true", "NaN", "-1", "1e5", "0x7f", "undefined", "[object Object]", "${jndi:x}", "{{7*7}}", "%s%n%d", "%00",
    "' OR 1=1 --", "'; DROP TABLE messages; --", "\\", "\\u0000", '"', "<script>", "../../etc/passwd", "__proto__",
    "00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "01a21331-32ac-72e2-aed4-52948e0c194",
    "0000-00-00", "9999-12-31T23:59:59.999999+23:59", "0001-01-01T00:00:00-23:59", "2026-02-30", "2026-01-01T25:00:00Z",
    "a@b", "@", "a@b@c.de", "x" * 64 + "@acme.com", "a@" + "b" * 250 + ".com", "a@xn--.com", "a@[127.0.0.1]", "A@ACME.COM",
    "x" * 37, "x" * 256, "x" * 1025, "x" * 5000, "\U0001f600" * 400, "\x01" * 300,
]  # fmt: skip
# Nothing that leads beyond loopback and private networks, however it is read.
WEBHOOKS: list[Any] = [
    "http://127.0.0.1:9/", "https://localhost/", "http://[::1]/", "http://10.0.0.1/", "http://169.254.169.254/latest",
    "ftp://127.0.0.1/", "http://", "https:///x", "//127.0.0.1", "javascript:1", "http://127.0.0.1:99999/", "http://a:b@127.0.0.1/",
    "http://0x7f000001/", "http://2130706433/", "http://127.1/", "http://[::ffff:127.0.0.1]/", "http://[fe80::1%25lo]/", "http://[/",
    "http://127.0.0.1/\x00", "http://127.0.0.1/\ud800", "http://127.0.0.1/ x", "http://①②⑦.0.0.1/", "http://127.0.0.1:/", "http://.",
]  # fmt: skip
KEYS = ["", "\x00", "id", "role", "tenant_id", "__proto__", "a.b", "$ref", "x" * 300, "\ud800", "loc", "body"]
CONTENT_TYPES = [
    "application/json", "application/json; charset=utf-16", "application/json;charset=\xff", "application/JSON", "text/json",
    "application/problem+json", "application/vnd.api+json", "text/plain", "application/xml", "multipart/form-data",
    "multipart/form-data; boundary=x", "multipart/form-data; boundary=" + "x" * 300, "application/x-www-form-urlencoded",
    "application/octet-stream", "", ";", "/", "a/b/c", "application/json, text/plain", "\x80\xff",
]  # fmt: skip
AUTHORIZATIONS = [
    "", "Bearer", "Bearer ", "Bearer  x", "bearer x.y.z", "Basic YTpi", "Bearer " + "a" * 5000, "Bearer \xff\xfe", "Digest x=1",
    "Bearer eyJhbGciOiJub25lIn0.e30.", "Bearer ..", "Bearer llms_" + "0" * 49, "Bearer " + "." * 300, "Bearer null, Bearer x",
]  # fmt: skip
HEADERS = [
    ("X-Request-ID", "x" * 200), ("X-Request-ID", "\xff"), ("Accept", "text/event-stream"), ("Accept", "\xff/\x80"),
    ("Accept-Encoding", "gzip;q=2, *;q=0"), ("Accept-Language", "x" * 3000), ("Expect", "100-continue"),
    ("Origin", "null"), ("Origin", "http://\xff"), ("Cookie", "a=b; " * 300), ("Range", "bytes=0-0,-1"),
    ("If-None-Match", "*"), ("Idempotency-Key", "k"), ("Idempotency-Key", "x" * 300), ("Idempotency-Key", "a b"),
    ("Idempotency-Key", "\xff"), ("Last-Event-ID", "1-5"), ("Last-Event-ID", "0-0"), ("Last-Event-ID", "1-end"),
    ("Last-Event-ID", "999999999-999999999"), ("Last-Event-ID", "1-" + "9" * 90), ("Last-Event-ID", "\xff"),
    ("Forwarded", 'for="[::1]"'), ("X-Forwarded-For", "\xff, 1.2.3.4"), ("X-Forwarded-For", "1" * 3000), ("X-Forwarded-Proto", "x"),
    ("traceparent", "00-" + "0" * 32 + "-" + "0" * 16 + "-00"), ("X-HTTP-Method-Override", "DELETE"), ("TE", "trailers"),
    ("X-Padding", "x" * 9000), ("Connection", "keep-alive, close"), ("Content-Encoding", "gzip"), ("Via", "\x80" * 50),
    ("Access-Control-Request-Method", "DELETE"), ("Sec-Fetch-Site", "\xff"), ("Date", "-1"), ("Content-Length", "0"),
]  # fmt: skip
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "get"]
ESCAPES = [
    "%",
    "%0",
    "%00",
    "%zz",
    "%ff%fe",
    "%c0%80",
    "%ed%a0%80",
    "%2e%2e%2f",
    "%2f",
    "%3f",
    "%23",
    "%0d%0a",
    "+",
    "%20",
    "%u0041",
]


def value(dice: Dice) -> Any:
    """Any value but a good one."""
    roll = dice.random()
    if roll < 0.45:
        return dice.choice(STRINGS)
    if roll < 0.75:
        return dice.choice(NUMBERS)
    if roll < 0.85:
        return dice.choice((None, True, False, [], {}, [None], {"a": None}))
    if roll < 0.95:
        return nested(dice)
    return (
        {dice.choice(KEYS): value(dice) for _ in range(3)} if dice.random() < 0.5 else [value(dice) for _ in range(3)]
    )


def nested(dice: Dice) -> Raw:
    depth = dice.choice((2, 20, 200, 1000, 3000))
    opened, closed = dice.choice((("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")))
    return Raw(opened * depth + dice.choice(("1", "", '"\\ud800"')) + closed * dice.choice((depth, depth, depth - 1)))


def write(thing: Any) -> str:
    """JSON, or nearly."""
    if isinstance(thing, Raw):
        return thing.text
    if isinstance(thing, Pairs):
        return "{" + ",".join(f"{json.dumps(key)}:{write(item)}" for key, item in thing.items) + "}"
    if isinstance(thing, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{write(item)}" for key, item in thing.items()) + "}"
    if isinstance(thing, list):
        return "[" + ",".join(map(write, thing)) + "]"
    return json.dumps(thing)


def mutated(body: dict[str, Any], dice: Dice) -> Any:
    """The body with one to three things wrong, most of it still right: what is refused at once tests little."""
    items = list(body.items())
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        roll = dice.random()
        if items and roll < 0.6:
            place = dice.randrange(len(items))
            key, old = items[place]
            items[place] = key, replacement(key, old, dice)
        elif items and roll < 0.7:
            items.pop(dice.randrange(len(items)))
        elif items and roll < 0.8:  # the same key twice
            key, old = dice.choice(items)
            items.append((key, dice.choice((old, replacement(key, old, dice)))))
        elif roll < 0.92:
            items.append((dice.choice(KEYS), value(dice)))
        else:
            return dice.choice((value(dice), [body], write(body), Raw(""), Raw("null")))
    return Pairs(items)


def replacement(key: str, old: Any, dice: Dice) -> Any:
    if "url" in key:
        return dice.choice([*WEBHOOKS, *NUMBERS, None, [], {}])
    if isinstance(old, dict) and dice.random() < 0.7:
        return mutated(old, dice)
    if isinstance(old, str) and dice.random() < 0.3:
        cut = dice.randrange(len(old) + 1)
        addition = dice.choice(STRINGS)
        return old[:cut] + addition + old[cut:]
    return value(dice)


def damaged(data: bytes, dice: Dice) -> bytes:
    """Bytes changed, dropped, doubled and put in."""
    if not data:
        return dice.randbytes(dice.randrange(40))
    for _ in range(dice.choice((1, 1, 2, 5))):
        place = dice.randrange(len(data) + 1)
        match dice.randrange(6):
            case 0:
                data = data[:place] + dice.randbytes(1) + data[place + 1 :]
            case 1:
                data = data[:place] + data[place + dice.randrange(1, 9) :]
            case 2:
                data = data[:place] + dice.choice(BYTES) + data[place:]
            case 3:
                data = data[:place]
            case 4:
                data = data[:place] + data[max(0, place - 20) :]
            case _:
                data = data.replace(dice.choice((b'"', b":", b",", b"{", b" ", b"\r\n")), dice.choice(BYTES), 1)
    return data


BYTES = [
    b"\x00", b"\xff", b"\xfe\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\\", b"\\u", b"\\ud800",
    b'"', b"'", b"{", b"}", b"[", b"]", b",", b":", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\t", b" ", b"//", b"/*", b"-", b"e", b".",
]  # fmt: skip
