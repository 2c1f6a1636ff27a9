"""The nginx of deploy/nginx/ on a free port, with a certificate that it signed itself."""

import asyncio
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.committed.server import ROOT, free_port
from tests.waiting import PATIENCE_SECONDS, until

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
SOURCE = ROOT / "deploy" / "nginx"


class Nginx:
    """The files as they are, but for ports, the certificate's place and where it writes."""

    def __init__(self, directory: Path, upstreams: Iterable[int]) -> None:
        self.port = free_port()
        self.directory = directory
        self.log = directory / "access.log"
        shutil.copytree(SOURCE, directory / "conf", ignore=shutil.ignore_patterns("tls", "compose"))
        self.edit("nginx.conf", r"/var/log/nginx", str(directory))
        self.edit("site/listen.conf", r"listen 443", f"listen 127.0.0.1:{self.port}")
        ports = iter(upstreams)
        self.edit("site/upstream.conf", r"127\.0\.0\.1:\d+", lambda _: f"127.0.0.1:{next(ports)}")
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        own = "".join(f"{kind}_temp_path {directory}/{kind};\n" for kind in kinds)
        with (directory / "conf/site/upstream.conf").open("a") as file:
            file.write(own)
        (directory / "conf/tls").mkdir()
        self.certificate = directory / "conf/tls/certificate.pem"
        sign_certificate(self.certificate, directory / "conf/tls/key.pem")
        user = "user root; " if os.geteuid() == 0 else ""  # another could not enter the directory of a test
        self._command = [
            NGINX or "", "-p", str(directory), "-c", str(directory / "conf/nginx.conf"),
            "-e", str(directory / "error.log"), "-g", f"{user}daemon off; pid {directory}/nginx.pid;",
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def edit(self, name: str, pattern: str, replacement: Any) -> None:
        """Replace in a file of the configuration what is there, or the test is about nothing."""
        path = self.directory / "conf" / name
        text, count = re.subn(pattern, replacement, path.read_text())
        assert count, f"{name} has no {pattern}"
        path.write_text(text)

    async def start(self) -> None:
        checked = subprocess.run([*self._command, "-t"], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
        assert "[warn]" not in checked.stderr, checked.stderr
        self._process = subprocess.Popen(self._command)
        await until(self._accepts, "nginx to listen")

    async def _accepts(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.directory / "error.log").read_text()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    def workers(self) -> set[int]:
        assert self._process is not None
        found = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return {int(pid) for pid in found.split()}

    def reload(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
        """Over HTTP/1.1, and checking the certificate."""
        trusting = ssl.create_default_context(cafile=self.certificate)
        options = {"timeout": PATIENCE_SECONDS, **options}
        transport = httpx.AsyncHTTPTransport(verify=trusting, **options.pop("transport", {}))
        async with httpx.AsyncClient(
            base_url=f"https://127.0.0.1:{self.port}", transport=transport, **options
        ) as client:
            yield client

    def lines(self) -> list[dict[str, Any]]:
        """What it logged, a line for each request that has ended."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    async def line(self, request_id: str) -> dict[str, Any]:
        """Of the request with this id, once it has ended."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.lines() if line["request_id"] == request_id]

        line: dict[str, Any] = (await until(found, f"the log line of {request_id}"))[-1]
        return line


def sign_certificate(certificate: Path, key: Path) -> None:
    """For 127.0.0.1, for a day."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    pem = serialization.PrivateFormat.PKCS8
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, pem, serialization.NoEncryption()))
