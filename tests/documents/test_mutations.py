"""Whatever the bytes, there is a text or a reason."""

import asyncio
import sys

from app.documents.extraction.extract import ROOT
from app.documents.extraction.kinds import Kind
from app.documents.failures import FailureCode

FILES, SEED = 200, 20261126


async def test_broken_and_random_files_give_a_text_or_a_reason() -> None:
    command = (sys.executable, "-m", "tests.documents.many_children", str(SEED), str(FILES))
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()
    assert process.returncode == 0
    times = {what: int(number) for number, what in (line.split(" ", 1) for line in printed.decode().splitlines())}
    assert sum(times.values()) == FILES
    # By a signal is a reason as well: the service tells of it as too complex. Ours end otherwise never.
    assert {what for what in times if not what.startswith("exit -")} <= {*Kind, *FailureCode}
    assert set(Kind) <= set(times), "each kind is among what was read"
