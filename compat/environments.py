"""An environment for each client, made once: nothing of one client is near another's, or near ours."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from compat.clients import Client

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = ROOT / ".compat"
PROGRAMS = Path(__file__).parent / "programs"


def install(client: Client) -> Path:
    """Its directory; raises `CalledProcessError` with what the installer said."""
    digest = hashlib.sha256("\n".join(client.packages).encode()).hexdigest()[:8]
    directory = ENVIRONMENTS / f"{client.name.replace('/', '-').replace(' ', '-').strip('@')}-{digest}"
    done = directory / "installed"
    if not done.exists():
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        (_install_python if client.kind == "python" else _install_node)(client, directory)
        done.touch()
    return directory


def command(client: Client, directory: Path) -> tuple[list[str], str]:
    """The words that run its program, and the PATH to run them with."""
    if client.kind == "python":
        binaries = directory / "bin"
        words = [str(binaries / "python"), str(PROGRAMS / client.program), *client.arguments]
    else:
        binaries = directory / "node_modules" / ".bin"
        if client.program.endswith(".py"):
            words = [sys.executable, str(PROGRAMS / client.program), *client.arguments]
        else:
            # A module looks for its packages beside itself.
            for name in (client.program, "cells.mjs"):
                shutil.copy(PROGRAMS / name, directory / name)
            words = [str(binaries / "node"), str(directory / client.program)]
    return words, os.pathsep.join((str(binaries), os.environ["PATH"]))


def _install_python(client: Client, directory: Path) -> None:
    if uv := shutil.which("uv"):
        _run([uv, "venv", "-q", "--clear", "--python", sys.executable, str(directory)], directory)
        _run([uv, "pip", "install", "-q", "--python", str(directory / "bin" / "python"), *client.packages], directory)
        return
    _run([sys.executable, "-m", "venv", str(directory)], directory)
    quietly = ["--quiet", "--disable-pip-version-check"]
    _run([str(directory / "bin" / "python"), "-m", "pip", "install", *quietly, *client.packages], directory)


def _install_node(client: Client, directory: Path) -> None:
    (directory / "package.json").write_text(json.dumps({"type": "module", "private": True}))
    _run(["npm", "install", "--silent", "--no-audit", "--no-fund", *client.packages], directory)


def _run(words: list[str], directory: Path) -> None:
    subprocess.run(words, cwd=directory, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
