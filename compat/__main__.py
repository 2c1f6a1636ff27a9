"""`python -m compat [client ...] [--few] [--report PATH]`; without a name, all of them.

Installs the clients, then goes into a network without a way out, starts the service there, and runs one after another.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from compat.clients import CLIENTS, FEW, Client
from compat.enclosed import enclose
from compat.environments import ROOT, command, install
from compat.page import page
from compat.service import MODEL, Service, running

SECONDS = 600
"""That a client's program may take."""
Cells = dict[str, dict[str, Any]]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m compat", description=__doc__)
    parser.add_argument("clients", nargs="*", metavar="client", help=", ".join(client.name for client in CLIENTS))
    parser.add_argument("--few", action="store_true", help=f"{', '.join(FEW)} alone")
    parser.add_argument("--report", type=Path, help="where the page goes; of a run of all: docs/compat.md")
    found = parser.parse_args()
    if unknown := set(found.clients) - {client.name for client in CLIENTS}:
        parser.error(f"no such client: {', '.join(sorted(unknown))}")
    if found.few:
        found.clients = list(FEW)
    return found


def main() -> int:
    options = arguments()
    chosen = [client for client in CLIENTS if not options.clients or client.name in options.clients]
    environments: dict[str, Path] = {}
    for client in chosen:
        try:
            environments[client.name] = install(client)
        except (subprocess.CalledProcessError, FileNotFoundError) as failure:
            why = f"{client.name} cannot be installed: {getattr(failure, 'stderr', '') or failure}"
            if not options.few:
                raise SystemExit(why) from None
            print(f"skipped: {why}", flush=True)
    if not enclose(sys.argv[1:]):
        if not options.few:
            raise SystemExit("clients must not reach the network: this needs Linux, with unshare (util-linux)")
        print("without a network of their own: this machine gives none", flush=True)
    chosen = [client for client in chosen if client.name in environments]
    results = asyncio.run(_try_all(chosen, environments))
    report = options.report or (None if options.clients else ROOT / "docs" / "compat.md")
    if report:
        report.write_text(page(results))
    failed = sum(not cell["ok"] for cells in results.values() for cell in cells.values())
    print(f"{len(results)} clients, {sum(map(len, results.values()))} cells, {failed} failed")
    return 1 if failed else 0


async def _try_all(chosen: list[Client], environments: dict[str, Path]) -> dict[str, Cells]:
    results: dict[str, Cells] = {}
    async with running() as service:
        for client in chosen:
            cells = await asyncio.to_thread(_try, client, environments[client.name], service)
            results[client.name] = cells
            told = ", ".join(f"{name} {'ok' if cell['ok'] else 'FAILED'}" for name, cell in cells.items())
            print(f"{client.name} {client.version}: {told}", flush=True)
            for name, cell in cells.items():
                if not cell["ok"]:
                    print(f"  {name}: {cell['why']}", flush=True)
    return results


def _try(client: Client, directory: Path, service: Service) -> Cells:
    """What its program reported, by cell; what it printed is why there is nothing."""
    words, path = command(client, directory)
    with tempfile.TemporaryDirectory(prefix="llm-saas-compat-home-") as home:
        environment = {
            "PATH": path,
            "HOME": home,
            "COMPAT_URL": service.url,
            "COMPAT_KEY": service.key,
            "COMPAT_BROKE_KEY": service.broke_key,
            "COMPAT_MODEL": MODEL,
            "COMPAT_EMBEDDING_MODEL": service.embedding_model,
        }
        try:
            done = subprocess.run(
                words,
                cwd=home,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SECONDS,
            )
            said = done.stdout + done.stderr
        except subprocess.TimeoutExpired:
            said = f"took longer than {SECONDS} s"
    told = [json.loads(line[7:]) for line in said.splitlines() if line.startswith("COMPAT ")]
    return {cell["cell"]: cell for cell in told} or {"text": {"ok": False, "why": said[-600:]}}


if __name__ == "__main__":
    sys.exit(main())
