"""What is sent, and what becomes of it."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from typing import Any

import httpcore2
import pytest

from app.webhooks.client import MAX_CONNECTIONS, Delivery, WebhookClient, signatures
from tests import clock
from tests.waiting import until, within_patience
from tests.webhooks.receiver import LOOPBACK, OK, Answer, Received, Receiver, connecting, receiving, resolving, status

BODY = json.dumps({"type": "message.completed", "text": "grüße"}, ensure_ascii=False).encode()
SECRET = b"\x00\xff a secret of any bytes \n"
OTHER = b"the secret that replaces it"
# That a receiver has where the clock is moved: no stall takes as long.
HOUR = 3600.0


def retry(reason: str) -> Delivery:
    return Delivery(ok=False, final=False, reason=reason)


def final(reason: str) -> Delivery:
    return Delivery(ok=False, final=True, reason=reason)


def expected_signature(secret: bytes, received: Received) -> str:
    """The published scheme, written down once more."""
    prefix = received.headers["webhook-id"] + "." + received.headers["webhook-timestamp"] + "."
    mac = hmac.new(secret, prefix.encode("utf-8") + received.body, hashlib.sha256)
    return "v1," + base64.b64encode(mac.digest()).decode("ascii")


def test_the_signature_is_that_of_the_published_example() -> None:
    """The test vector of the reference libraries of Standard Webhooks."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = signatures("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}', [secret])
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_a_message_is_posted_as_it_is_and_signed(sender: WebhookClient, receiver: Receiver) -> None:
    before = int(time.time())
    delivery = await sender.deliver(f"{receiver.url}?a=b", "msg_1", BODY, [SECRET])
    assert delivery == Delivery(ok=True, final=True, reason="http_200")
    (received,) = receiver.received
    assert received.line == "POST /hook?a=b HTTP/1.1"
    assert received.body == BODY
    assert received.headers["Content-Type"] == "application/json"
    assert received.headers["User-Agent"].startswith("llm-saas-backend-webhooks/")
    assert received.headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert received.headers["webhook-id"] == "msg_1"
    assert before <= int(received.headers["webhook-timestamp"]) <= time.time()
    assert received.headers["webhook-signature"] == expected_signature(SECRET, received)


async def test_two_secrets_make_two_signatures(sender: WebhookClient, receiver: Receiver) -> None:
    assert (await sender.deliver(receiver.url, "msg_1", BODY, [OTHER, SECRET])).ok
    (received,) = receiver.received
    assert received.headers["webhook-signature"].split(" ") == [
        expected_signature(OTHER, received),
        expected_signature(SECRET, received),
    ]


@pytest.mark.parametrize("secrets", [[], [b""], [SECRET, b""]])
async def test_nothing_is_sent_without_a_signature(
    sender: WebhookClient, receiver: Receiver, secrets: list[bytes]
) -> None:
    assert await sender.deliver(receiver.url, "msg_1", BODY, secrets) == retry("no_secret")
    assert receiver.received == []


@pytest.mark.parametrize("line", ["200 OK", "201 Created", "202 Accepted", "204 No Content", "299 Fine"])
async def test_every_2xx_is_an_acceptance(sender: WebhookClient, receiver: Receiver, line: str) -> None:
    receiver.answer = status(line)
    assert await sender.deliver(receiver.url, "msg", BODY, [SECRET]) == Delivery(True, True, f"http_{line[:3]}")


@pytest.mark.parametrize("code", [400, 401, 404, 408, 409, 422, 429, 500, 502, 503, 599])
async def test_an_error_is_worth_another_attempt(sender: WebhookClient, receiver: Receiver, code: int) -> None:
    receiver.answer = status(f"{code} whatever the receiver says", body=b"the receiver's own words")
    assert await sender.deliver(receiver.url, "msg", BODY, [SECRET]) == retry(f"http_{code}")


async def test_gone_is_final(sender: WebhookClient, receiver: Receiver) -> None:
    receiver.answer = status("410 Gone")
    assert await sender.deliver(receiver.url, "msg", BODY, [SECRET]) == final("http_410")


@pytest.mark.parametrize("code", [300, 301, 302, 303, 304, 307, 308])
async def test_a_redirect_is_a_failure_and_not_followed(sender: WebhookClient, receiver: Receiver, code: int) -> None:
    async with receiving() as target:
        receiver.answer = status(f"{code} Elsewhere", f"Location: {target.url}")
        assert await sender.deliver(receiver.url, "msg", BODY, [SECRET]) == retry(f"http_{code}")
        assert target.received == []


async def test_a_switch_of_protocols_is_a_failure(sender: WebhookClient, receiver: Receiver) -> None:
    receiver.answer = status("101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade")
    assert not (await sender.deliver(receiver.url, "msg", BODY, [SECRET])).ok


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:1/", "address_refused"),
        ("http://[::ffff:127.0.0.1]/", "address_refused"),
        ("http://private.example.com/", "address_refused"),
        ("not a URL", "invalid_url"),
        ("ftp://example.com/", "invalid_url"),
        ("https://user:word@example.com/", "invalid_url"),
    ],
)
async def test_what_may_never_be_called_is_final(strict: WebhookClient, url: str, reason: str) -> None:
    with resolving({"private.example.com": [["192.168.0.1"]]}), connecting() as connected:
        assert await strict.deliver(url, "msg", BODY, [SECRET]) == final(reason)
    assert connected == []


async def test_a_name_that_does_not_resolve_is_tried_again(strict: WebhookClient) -> None:
    with resolving({"nowhere.example.com": [[]]}):
        assert await strict.deliver("http://nowhere.example.com/", "msg", BODY, [SECRET]) == retry("host_not_found")
    with resolving({"nowhere.example.com": [["not an address"]]}):
        assert await strict.deliver("http://nowhere.example.com/", "msg", BODY, [SECRET]) == retry("host_not_found")


async def test_a_closed_port_is_tried_again(sender: WebhookClient) -> None:
    async with receiving() as gone:
        url = gone.url
    assert await sender.deliver(url, "msg", BODY, [SECRET]) == retry("connect_failed")


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def break_off(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123")
    await writer.drain()
    writer.close()


async def speak_otherwise(writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example.com ESMTP\r\n\r\n")
    await writer.drain()


async def head_without_end(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: " + b"x" * 1000 + b"\r\n")
        await writer.drain()


@pytest.mark.parametrize(
    ("answer", "reasons"),
    [
        # A server that closes may be seen to reset or to end.
        (hang_up, {"connection_lost", "invalid_response"}),
        (break_off, {"connection_lost", "invalid_response"}),
        (speak_otherwise, {"invalid_response"}),
        (head_without_end, {"invalid_response"}),
    ],
)
async def test_a_receiver_that_does_not_speak_the_protocol_is_tried_again(
    sender: WebhookClient, receiver: Receiver, answer: Answer, reasons: set[str]
) -> None:
    receiver.answer = answer
    delivery = await sender.deliver(receiver.url, "msg", BODY, [SECRET])
    assert delivery == retry(delivery.reason)
    assert delivery.reason in reasons


def dripping(start: bytes, drop: bytes) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(0.01)

    return answer


async def stay_silent(_: asyncio.StreamWriter) -> None:
    pass


SLOW_HEAD = dripping(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n")
SLOW_BODY = dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x")
NEVER_READY = dripping(b"", b"HTTP/1.1 102 Processing\r\n\r\n")


@pytest.mark.parametrize("answer", [stay_silent, SLOW_HEAD, SLOW_BODY, NEVER_READY])
def test_a_receiver_that_drips_for_ever_is_cut(answer: Answer) -> None:
    async def drip() -> None:
        client = WebhookClient(LOOPBACK, timeout=HOUR)
        async with receiving(answer) as receiver:
            delivery = asyncio.create_task(client.deliver(receiver.url, "msg", BODY, [SECRET]))
            await until(lambda: receiver.received, "the request")

            def cut() -> bool:
                clock.move_on(HOUR / 10)  # a drop falls meanwhile
                return delivery.done()

            await until(cut, "the receiver to be cut")
            assert delivery.result() == retry("timeout")
            await receiver.done.wait()
        await client.close()

    clock.run(drip())


async def test_the_status_of_a_failure_counts_before_its_body_has_ended(
    sender: WebhookClient, receiver: Receiver
) -> None:
    receiver.answer = dripping(b"HTTP/1.1 410 Gone\r\nContent-Length: 1000000\r\n\r\n", b"x")
    assert await sender.deliver(receiver.url, "msg", BODY, [SECRET]) == final("http_410")


async def test_a_large_response_is_not_read_to_its_end(sender: WebhookClient, receiver: Receiver) -> None:
    sent, whole = 0, 256 * 2**20

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {whole}\r\n\r\n".encode())
        while sent < whole:
            writer.write(b"x" * 2**16)
            await writer.drain()
            sent += 2**16

    receiver.answer = flood
    assert (await sender.deliver(receiver.url, "msg", BODY, [SECRET])).ok
    await receiver.done.wait()
    assert isinstance(receiver.error, ConnectionError)
    # What the kernel buffers on both sides, not what was read.
    assert sent < whole / 8


async def test_no_connection_is_kept(sender: WebhookClient, receiver: Receiver) -> None:
    for number in range(3):
        assert (await sender.deliver(receiver.url, f"msg_{number}", BODY, [SECRET])).ok
        await receiver.done.wait()
        assert sender._pool.connections == []
    assert {received.headers["Connection"] for received in receiver.received} == {"close"}


def test_waiting_for_a_free_connection_does_not_count_as_the_receivers_time() -> None:
    async def wait_in_line() -> None:
        client = WebhookClient(LOOPBACK, timeout=HOUR)
        async with receiving(stay_silent) as slow, receiving(OK) as quick:
            urls = [slow.url] * 2 * MAX_CONNECTIONS + [quick.url]
            line = asyncio.gather(*(client.deliver(url, "msg", BODY, [SECRET]) for url in urls))
            for at_work in (MAX_CONNECTIONS, 2 * MAX_CONNECTIONS):
                await until(lambda count=at_work: line.done() or len(slow.received) == count, "those whose turn it is")
                clock.move_on(HOUR)
            *late, last = await within_patience(line, "the end of the line")
        assert {delivery.reason for delivery in late} == {"timeout"}
        assert last.ok
        await client.close()

    clock.run(wait_in_line())


async def test_cancellation_passes_and_gives_the_connection_back(receiver: Receiver) -> None:
    sender, arrived = WebhookClient(LOOPBACK), asyncio.Event()

    async def arrive(_: asyncio.StreamWriter) -> None:
        arrived.set()

    receiver.answer = arrive
    for number in range(MAX_CONNECTIONS + 1):
        arrived.clear()
        task = asyncio.create_task(sender.deliver(receiver.url, f"msg_{number}", BODY, [SECRET]))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    receiver.answer = OK
    assert (await sender.deliver(receiver.url, "msg", BODY, [SECRET])).ok
    await sender.close()


async def test_what_nobody_foresaw_is_a_failure_too(sender: WebhookClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def breaks(*args: Any, **options: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(httpcore2.AnyIOBackend, "connect_tcp", breaks)
    assert await sender.deliver("http://127.0.0.1/", "msg", BODY, [SECRET]) == retry("internal_error")
