"""A PgBouncer in transaction mode before a PostgreSQL, on a free port, with fewer connections than it has clients."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from sqlalchemy import URL

from tests.waiting import LOOK_SECONDS, PATIENCE_SECONDS

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
MISSING = "pgbouncer is not installed (make test installs it for root)"


class PgBouncer:
    """For every database of the server that `url` leads to, which must stay where it is."""

    def __init__(self, url: URL, servers: int = 2) -> None:
        self._url, self._servers = url, servers
        self._directory = Path(
            tempfile.mkdtemp()
        )  # pytest's own are closed to the user that PgBouncer becomes under root
        self._port = 0
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, url: URL | None = None) -> URL:
        """The way to a database of the server's, the first one's without `url`."""
        return (url or self._url).set(port=self._port)

    def start(self) -> None:
        """Return once it takes connections."""
        assert PROGRAM is not None, MISSING
        self._port = self._port or free_port()
        self._write_configuration()
        user = ["--user", "nobody"] if os.geteuid() == 0 else []
        self.process = subprocess.Popen(
            [PROGRAM, "-q", *user, str(self._directory / "ini")], stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._accepts():
            assert self.process.poll() is None, "PgBouncer ended"
            assert time.monotonic() < deadline, "waited for PgBouncer to take connections"
            time.sleep(LOOK_SECONDS)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def _write_configuration(self) -> None:
        url, directory = self._url, self._directory
        (directory / "users").write_text(f'"{url.username}" "{url.password}"\n')
        (directory / "ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={url.port} user={url.username} password={url.password}\n"
            f"[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={self._port}\nunix_socket_dir=\nauth_type=plain\n"
            f"auth_file={directory}/users\npool_mode=transaction\ndefault_pool_size={self._servers}\n"
            "max_client_conn=1000\nserver_login_retry=1\n"
        )
        directory.chmod(0o755)
        if os.geteuid() == 0:
            for path in (directory, *directory.iterdir()):
                os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)

    def _accepts(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1):
                return True
        except OSError:
            return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
