"""A file is read in a process of its own, which is bounded, cut off, not trusted, and ended."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.documents.extraction import extract as extracting
from app.documents.extraction.extract import extract
from app.documents.extraction.limits import MIB, Limits
from app.documents.failures import ExtractionFailed, FailureCode
from tests.documents import files

HOSTILE = "from tests.documents import hostile; hostile."
ALLOWED = subprocess.run(["unshare", "-U", "-n", "true"], check=False, capture_output=True).returncode == 0
needs_namespaces = pytest.mark.skipif(not ALLOWED, reason="this system gives a process no namespaces of its own")


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[asyncio.subprocess.Process]]:
    """Those that were started; none outlives its file."""
    started = []
    create = asyncio.create_subprocess_exec

    async def remembered(*command: str, **how: object) -> asyncio.subprocess.Process:
        started.append(await create(*command, **how))
        return started[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", remembered)
    yield started
    assert started
    assert all(child.returncode is not None for child in started)


def taken_over(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """The child does this in the place of reading."""
    monkeypatch.setattr(extracting, "CHILD", (sys.executable, "-B", "-s", "-c", f"{HOSTILE}{what}()"))


async def failure(content: bytes, name: str, limits: Limits | None = None) -> ExtractionFailed:
    with pytest.raises(ExtractionFailed) as raised:
        await extract(content, name, None, limits)
    return raised.value


async def test_each_kind_is_read_in_a_child(children: list[asyncio.subprocess.Process]) -> None:
    reads = [
        await extract(content, name, None)
        for content, name in (
            ("# Prices\n\nnaïve €\n".encode(), "a.md"),
            (b"<h1>Prices</h1>", "a.html"),
            (files.pdf(["Prices", "more"]), "a.pdf"),
            (files.word(), "a.docx"),
            (files.slides(), "a.pptx"),
            (files.sheets(), "a.xlsx"),
        )
    ]
    assert reads[0].text == "# Prices\n\nnaïve €\n"
    assert [heading.title for heading in reads[0].headings] == ["Prices"]
    assert reads[2].pages == [0, 7]
    assert [read.text.split()[0] for read in reads[1:]] == ["Prices", "Prices", "Handbook", "Plan", "Bolts"]
    assert len(children) == 6


async def test_what_a_child_says_of_a_file_is_handed_on(children: list[asyncio.subprocess.Process]) -> None:
    assert (await failure(files.pdf(["x"], encrypted=True), "a.pdf")).code == FailureCode.ENCRYPTED
    assert (await failure(files.word()[:20_000], "a.docx")).code == FailureCode.TYPE_MISMATCH


async def test_no_child_is_started_for_what_is_empty_or_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extracting, "CHILD", ("/nowhere",))
    assert (await failure(b"", "a.txt")).code == FailureCode.EMPTY
    assert (await failure(b"123", "a.txt", Limits(file=2))).code == FailureCode.TOO_LARGE
    assert (await failure(b"123", "a.txt")).code == FailureCode.INTERRUPTED


async def reached(monkeypatch: pytest.MonkeyPatch, how: str, tmp_path: Path) -> dict[str, object]:
    """How each try of a child that was taken over ended."""
    taken_over(monkeypatch, how)
    monkeypatch.setenv("SECRET_KEY", "not for children")
    with socket.create_server(("127.0.0.1", 0)) as server:
        name = json.dumps({"port": server.getsockname()[1], "file": str(tmp_path / "written"), "parent": os.getpid()})
        tries: dict[str, object] = json.loads((await extract(b"x", name, None)).text)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert (tmp_path / "written").read_bytes() == b""
    assert tries.pop("write") == "OSError"
    assert tries.pop("memory") == "MemoryError"
    assert tries.pop("capabilities") == "0000000000000000"
    assert tries.pop("secret") is False
    return tries


async def test_a_child_that_is_taken_over_reaches_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, children: list[asyncio.subprocess.Process]
) -> None:
    assert await reached(monkeypatch, "reach", tmp_path) == {
        "loopback": "PermissionError",
        "environment of the service": "PermissionError",
        "a process": "PermissionError",
        "a signal": "PermissionError",
        "a file": "PermissionError",
        "a new file": "PermissionError",
    }


async def test_calls_are_refused_where_there_are_no_namespaces(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, children: list[asyncio.subprocess.Process]
) -> None:
    tries = await reached(monkeypatch, "reach_without_namespaces", tmp_path)
    # Before the readers are there it may still read files: this is what the namespace is for.
    assert tries.pop("environment of the service") == "reached"
    assert set(tries.values()) == {"PermissionError"}


@needs_namespaces
async def test_namespaces_keep_a_child_alone_without_a_filter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, children: list[asyncio.subprocess.Process]
) -> None:
    tries = await reached(monkeypatch, "reach_without_filter", tmp_path)
    assert tries["loopback"] == "OSError"
    assert tries["environment of the service"] == "PermissionError"
    assert tries["a file"] == tries["a new file"] == "FileNotFoundError"


@pytest.mark.parametrize(
    "lie", ["too_long", "flood", "nul", "surrogate", "far_heading", "wrong_type", "nonsense", "unknown_code", "cut_off"]
)
async def test_an_answer_that_no_child_of_ours_gives_is_refused(
    monkeypatch: pytest.MonkeyPatch, children: list[asyncio.subprocess.Process], lie: str
) -> None:
    taken_over(monkeypatch, lie)
    tracemalloc.start()
    try:
        assert (await failure(b"x", "a.txt", Limits(characters=100_000, seconds=20))).code == FailureCode.TOO_COMPLEX
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()


async def test_handing_a_file_over_copies_little_of_it(children: list[asyncio.subprocess.Process]) -> None:
    content = b"<div>" * (4 * MIB)
    tracemalloc.start()
    try:
        assert (await failure(content, "a.txt", Limits(characters=1000))).code == FailureCode.TOO_LARGE
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()


async def test_a_page_a_million_deep_is_too_complex(children: list[asyncio.subprocess.Process]) -> None:
    deep = await failure(b"<div>" * 1_000_000 + b"</div>" * 1_000_000, "a.html")
    assert (deep.code, deep.reason) == (FailureCode.TOO_COMPLEX, "depth")
    flat = await extract(b"<p>x<br><svg><path d=''/></svg><b>y</b>" * 20_000, "a.html", None)
    assert flat.text == "x\ny\n" * 20_000


async def test_more_cpu_than_is_allowed_is_too_complex(
    monkeypatch: pytest.MonkeyPatch, children: list[asyncio.subprocess.Process]
) -> None:
    taken_over(monkeypatch, "spins")
    assert (await failure(b"x", "a.txt", Limits(cpu_seconds=1))).code == FailureCode.TOO_COMPLEX
    assert children[0].returncode == -signal.SIGXCPU


async def test_a_sheet_as_wide_as_it_may_be_is_too_complex(children: list[asyncio.subprocess.Process]) -> None:
    wide = await failure(files.sheets({(0, 0): "a", (1_048_575, 16_383): "z"}), "a.xlsx", Limits(memory=256 * MIB))
    assert wide.code == FailureCode.TOO_COMPLEX


async def test_a_child_that_is_killed_is_told_of(
    monkeypatch: pytest.MonkeyPatch, children: list[asyncio.subprocess.Process]
) -> None:
    taken_over(monkeypatch, "killed")
    assert (await failure(b"x", "a.txt")).code == FailureCode.TOO_COMPLEX


async def test_a_child_that_does_not_start_is_not_the_files_fault(
    monkeypatch: pytest.MonkeyPatch, children: list[asyncio.subprocess.Process]
) -> None:
    taken_over(monkeypatch, "no_such_thing")
    assert (await failure(b"x" * MIB, "a.txt")).code == FailureCode.INTERRUPTED


async def test_what_takes_too_long_is_ended(
    monkeypatch: pytest.MonkeyPatch, children: list[asyncio.subprocess.Process]
) -> None:
    taken_over(monkeypatch, "never_ends")
    assert (await failure(b"x", "a.txt", Limits(seconds=0.3))).code == FailureCode.TOO_COMPLEX


async def test_who_stops_waiting_ends_the_child_and_all_that_it_began(
    monkeypatch: pytest.MonkeyPatch, children: list[asyncio.subprocess.Process]
) -> None:
    taken_over(monkeypatch, "with_a_child_of_its_own")
    began, said = asyncio.Event(), extracting.frames.lengths

    def saw(head: bytes, limits: Limits) -> object:
        began.set()
        return said(head, limits)

    monkeypatch.setattr(extracting.frames, "lengths", saw)
    task = asyncio.create_task(extract(b"x", "a.txt", None))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children[0].returncode == -signal.SIGKILL
    # The grandchild holds the same pipe, which has its end once both are gone.
    assert children[0].stdout.at_eof()
