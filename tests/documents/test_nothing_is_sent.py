"""What documents bring along keeps to itself: no library tells its maker who uses it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime", reason="the extra `documents` is not installed")

EMBED = """
import asyncio
from app.documents.embedding.minilm import MiniLM

async def main():
    embedder = MiniLM()
    (vector,) = (await embedder.embed(["Goods may be returned."], "query")).vectors
    await embedder.close()
    print(len(vector))

asyncio.run(main())
"""


def test_the_embedder_leaves_nothing_in_the_home_directory_from_which_something_would_be_sent(tmp_path: Path) -> None:
    # A variable of theirs that says CI would keep them quiet by itself.
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-c", EMBED]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout == "384\n", done.stderr
    assert not list(tmp_path.rglob("*")), "its telemetry keeps a device's id and what it is about to send"
