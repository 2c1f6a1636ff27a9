"""Passwords are hashed also in a process that was given less of the processor than the hashing threads take."""

import subprocess
import sys

import pytest

HASH = """
import asyncio
from app.core.security import PasswordHasher
hasher = PasswordHasher(4)
print(asyncio.run(hasher.hash("correct horse")))
hasher.close()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the nice value belongs to the process elsewhere")
def test_a_process_of_the_lowest_priority_hashes_too() -> None:
    # As a user without rights, who may not take a higher priority back.
    found = subprocess.run(["nice", "-n", "19", sys.executable, "-c", HASH], capture_output=True, text=True, check=True)
    assert found.stdout.startswith("$bcrypt-sha256$")
