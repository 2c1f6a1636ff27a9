"""Words are found in the forms in which bytes hold them, in Redis and in logs."""

import base64
from pathlib import Path

import pytest

from app.services.canaries import WAYS, Needles, Planted, new_beginning, new_word
from app.services.traces import Report, look_in_log, look_in_redis
from tests.redis_server import RedisServer, needs_redis

BEGINNING = new_beginning()
WORD = new_word(BEGINNING)
NEEDLES = Needles([Planted(WAYS[0], WORD, 201)])


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
def test_a_word_is_found_in_base64_in_hex_and_in_pieces(before: str) -> None:
    text = f"{before}{WORD} and more".encode()
    for form in (text, text.upper(), base64.b64encode(text), text.hex().encode(), (WORD[:9] * 2).encode()):
        assert NEEDLES.within(b"x" + form) <= {WAYS[0].name, "a piece of a word"}, form
        assert NEEDLES.within(b"x" + form)
    assert NEEDLES.within(new_word(new_beginning()).encode()) == set()


def test_a_log_is_read_from_where_it_was(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f"before: {new_word(new_beginning())}\n{WORD}\n")
    for start, found in ((0, [f"log {log}: {WAYS[0].name}"]), (log.stat().st_size, [])):
        report = Report()
        look_in_log(str(log), start, NEEDLES, report)
        assert report.found == found


@needs_redis
async def test_every_kind_of_value_in_redis_is_read(tmp_path: Path) -> None:
    from redis.asyncio import Redis

    server = RedisServer(tmp_path)
    server.start()
    try:
        client = Redis.from_url(server.url)
        await client.set("string", f"{WORD * 40}")
        await client.hset("hash", "field", WORD)
        await client.rpush("list", WORD)
        await client.sadd("set", WORD)
        await client.zadd("zset", {WORD: 1})
        await client.xadd("stream", {"field": WORD})
        await client.set(f"key-{WORD}", "x")
        await client.set("other", new_word(new_beginning()))
        await client.aclose()
        report = Report()
        await look_in_redis(server.url, NEEDLES, report)
    finally:
        server.kill()
    assert len(report.found) == 7
    assert report.looked == ["8 keys of Redis"]
