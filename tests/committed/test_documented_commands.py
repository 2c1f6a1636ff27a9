"""The bash blocks of the README and of docs/, typed in order against a fresh service, as a newcomer would."""

import asyncio
import os
import re
import secrets
import shutil
import sys
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.committed.server import ROOT, running
from tests.conftest import TEMPLATE, execute

PAGES = ("README.md", "docs/guide.md", "docs/deploying.md")
# What starts a service instead of calling one: a block with one of these is not typed here.
STARTS = ("make run", "make install", "docker compose")
# As in a terminal, but an answer that is an error ends the run, and so does a command that fails inside of a pipe.
PRELUDE = """
set -euo pipefail
curl() { command curl --fail-with-body --show-error "$@"; }
python3() { "$PYTHON" "$@"; }
python() { "$PYTHON" "$@"; }
"""


def blocks(page: str) -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def starts(block: str) -> bool:
    return any(command in block for command in STARTS)


def test_only_what_starts_a_service_is_left_out() -> None:
    left_out = [(page, block.split("\n", 1)[0]) for page in PAGES for block in blocks(page) if starts(block)]
    assert [(page, line.split("  ")[0]) for page, line in left_out] == [
        ("README.md", "make run"),
        ("README.md", "cp .env.example .env"),
        ("docs/deploying.md", "cp .env.example .env"),
        ("docs/deploying.md", "mkdir -p deploy/nginx/tls"),
        ("docs/deploying.md", 'echo "METRICS_PORT=9464" >> .env'),
        ("docs/deploying.md", "make install && source .venv/bin/activate"),
    ]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_each_command_of_the_documentation_succeeds(template_url: URL, tmp_path: Path) -> None:
    name = f"documented_{secrets.token_hex(4)}"
    await execute(template_url.set(database="postgres"), f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    url = template_url.set(database=name).render_as_string(hide_password=False)
    async with running(tmp_path, database_url=url) as server:
        typed = [block for page in PAGES for block in blocks(page) if not starts(block)]
        script = "\n".join(typed).replace("http://localhost:8000", f"http://127.0.0.1:{server.port}")
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHON": sys.executable,
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": url,
            "BCRYPT_ROUNDS": "4",
            "DATA_DIR": str(tmp_path / "data"),
        }
        # -v: each line is shown before it runs, so that a failure tells which one it was.
        shell = await asyncio.create_subprocess_exec(
            "bash", "-v", "-c", f"{PRELUDE}\n{script}",
            cwd=tmp_path, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output = (await shell.communicate())[0].decode()
    assert shell.returncode == 0, output[-3000:]
    assert "Created admin" in output.splitlines()[-1]
