"""Children that a file has taken over: what each does in the place of reading, under all that confines a reader."""

import ctypes
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from app.documents.extraction import child, confinement, frames
from app.documents.shapes import Heading, ReadText


def reach() -> None:
    """Try for all that there is, and say how each try ended."""

    def prepared(_content: bytes, name: str, *_: object) -> Callable[[], ReadText]:
        there = json.loads(name)
        file = Path(there["file"])
        reached: dict[str, object] = {
            "loopback": _ended(lambda: socket.create_connection(("127.0.0.1", there["port"]))),
            "write": _ended(lambda: file.write_text("x")),
            "environment of the service": _ended(Path(f"/proc/{there['parent']}/environ").read_bytes),
            "capabilities": "",
            "secret": "SECRET_KEY" in os.environ,
            "a process": _ended(lambda: subprocess.run(["true"], check=True)),
            "a signal": _ended(lambda: os.kill(there["parent"], 0)),
        }
        status = Path("/proc/self/status").open()  # noqa: SIM115 - read once the files are left

        def read() -> ReadText:
            reached["a file"] = _ended(Path("/etc/passwd").read_bytes)
            reached["a new file"] = _ended(lambda: Path("/new").write_text("x"))
            reached["memory"] = _ended(lambda: bytearray(2**30))
            reached["capabilities"] = next(line.split()[1] for line in status if line.startswith("CapEff"))
            return ReadText(json.dumps(reached), "text/plain")

        return read

    child.prepared = prepared
    child.main()


def reach_without_namespaces() -> None:
    """As in most containers."""
    os.chroot = _refused
    ctypes.CDLL = _WithoutNamespaces  # type: ignore[misc]
    reach()


class _WithoutNamespaces(ctypes.CDLL):
    def unshare(self, _flags: int) -> int:
        return -1


def _refused(*_: object) -> None:
    raise PermissionError


def reach_without_filter() -> None:
    confinement.give_up = lambda _: False
    reach()


def spins() -> None:
    def prepared(*_: object) -> Callable[[], ReadText]:
        while True:
            pass

    child.prepared = prepared
    child.main()


def _ended(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except Exception as error:  # noqa: BLE001 - any is an answer
        return type(error).__name__
    return "reached"


def _says(answer: bytes) -> None:
    frames.taken(sys.stdin.buffer)
    sys.stdout.buffer.write(frames.ALONE + answer)
    sys.stdout.buffer.flush()


def too_long() -> None:
    _says(frames.ANSWERED.pack(1, 10, 0, 0, 0, 2**32 - 1))
    flood()


def flood() -> None:
    _says(b"")
    for _ in range(256):
        sys.stdout.buffer.write(b"\xff" * 65536)
    signal.pause()


def nul() -> None:
    _says(frames.written(ReadText("a\x00b", "text/plain")))


def surrogate() -> None:
    answer = frames.written(ReadText("abc", "text/plain"))
    _says(answer.replace(b"abc", b"\xed\xa0\x80"))


def far_heading() -> None:
    _says(frames.written(ReadText("abc", "text/plain", [Heading(4, 1, "x")])))


def wrong_type() -> None:
    _says(frames.written(ReadText("abc", "text/javascript")))


def nonsense() -> None:
    _says(struct.pack("<B5I", 7, 10, 0, 0, 0, 0) + b"text/plain")


def unknown_code() -> None:
    _says(struct.pack("<B5I", 2, 4, 0, 0, 0, 0) + b"none")


def cut_off() -> None:
    _says(frames.written(ReadText("abc", "text/plain"))[:-1])


def killed() -> None:
    _says(b"")
    os.kill(os.getpid(), signal.SIGKILL)


def never_ends() -> None:
    _says(b"")
    signal.pause()


def with_a_child_of_its_own() -> None:
    subprocess.Popen(["sleep", "1000"])
    _says(frames.ANSWERED.pack(1, 10, 0, 0, 0, 3))
    signal.pause()
