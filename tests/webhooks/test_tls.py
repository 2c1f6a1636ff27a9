"""TLS is for the host of the URL, whatever the address it is spoken with."""

import asyncio
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.webhooks.client import Delivery, WebhookClient
from tests import clock
from tests.waiting import within_patience
from tests.webhooks.receiver import connecting, receiving, resolving

HOST = "hooks.example.com"
PUBLIC = "93.184.215.14"
TLS_FAILED = Delivery(ok=False, final=False, reason="tls_failed")


def certificate(host: str, directory: Path) -> Path:
    """A certificate that signs itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = directory / f"{host}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


def server_context(file: Path, asked: list[str]) -> ssl.SSLContext:
    """A server's; the names it is asked for are added to `asked`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    context.sni_callback = lambda _, name, __: asked.append(name)
    return context


@pytest.fixture
def resolved() -> Iterator[None]:
    with resolving({HOST: [[PUBLIC]]}):
        yield


@pytest.mark.usefixtures("resolved")
async def test_the_name_of_the_host_is_asked_for_and_verified_at_the_address_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    file = certificate(HOST, tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    client = WebhookClient()
    async with receiving(tls=server_context(file, asked)) as receiver:
        with connecting(receiver.port) as connected:
            delivery = await client.deliver(f"https://{HOST}/hook", "msg", b"{}", [b"secret"])
    assert delivery.ok
    assert connected == [(PUBLIC, 443)]
    assert asked == [HOST]
    assert receiver.received[0].headers["Host"] == HOST
    await client.close()


@pytest.mark.usefixtures("resolved")
async def test_a_certificate_for_another_host_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = certificate("other.example.com", tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    client = WebhookClient()
    async with receiving(tls=server_context(file, [])) as receiver:
        with connecting(receiver.port):
            assert await client.deliver(f"https://{HOST}/hook", "msg", b"{}", [b"secret"]) == TLS_FAILED
    assert receiver.received == []
    await client.close()


@pytest.mark.usefixtures("resolved")
async def test_a_certificate_that_nobody_vouches_for_is_refused(strict: WebhookClient, tmp_path: Path) -> None:
    file = certificate(HOST, tmp_path)
    async with receiving(tls=server_context(file, [])) as receiver:
        with connecting(receiver.port):
            assert await strict.deliver(f"https://{HOST}/hook", "msg", b"{}", [b"secret"]) == TLS_FAILED
    assert receiver.received == []


@pytest.mark.usefixtures("resolved")
async def test_a_server_without_tls_is_a_failure(strict: WebhookClient) -> None:
    async def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        with connecting(server.sockets[0].getsockname()[1]):
            assert await strict.deliver(f"https://{HOST}/hook", "msg", b"{}", [b"secret"]) == TLS_FAILED


@pytest.mark.usefixtures("resolved")
def test_a_handshake_that_never_ends_is_cut_and_its_connection_closed() -> None:
    async def shake_hands() -> None:
        client = WebhookClient(timeout=3600)  # no stall takes as long: the clock is moved
        # Without TLS of its own it waits for the end of a request head, and says nothing.
        async with receiving() as receiver:
            with connecting(receiver.port):
                sending = asyncio.create_task(client.deliver(f"https://{HOST}/hook", "msg", b"{}", [b"secret"]))
                await within_patience(receiver.arrived.wait(), "the connection")
                clock.move_on(3600)
                delivery = await within_patience(sending, "the cut")
            assert delivery == Delivery(ok=False, final=False, reason="timeout")
            await within_patience(receiver.done.wait(), "the connection to be closed")
        await client.close()

    clock.run(shake_hands())
