"""`docs/compat.md`: which client was seen to do what."""

from collections.abc import Mapping
from typing import Any

from compat.clients import CELLS, CLIENTS, Client

HEAD = """\
# Clients that work unedited

Written by `make compat`, which installs each client in an environment of its own and runs it against the live service with its
base URL and key set, and nothing else changed, in a network that has no way out. The model behind the service is the mock; what a
cell asks is in [`compat/programs`](../compat/programs).

✓ works · – the client, or its program, does not do that · ✗ fails (`make compat` then fails too)

"""
NOTES = """
- *401*: a key that nobody has. *429*: a tenant that has spent its budget. *unknown model*: 404. Each must come out as the client's own
  error of that kind, and of programs as a failure that they report.
- *resume*: a stream of `/v1/responses` that was left in its middle and read on with `starting_after`.
- Commands (llm, aider, codex, opencode, Continue) are asked once, as at a prompt; they stream.
"""

Results = Mapping[str, Mapping[str, dict[str, Any]]]
"""By client and cell."""


def page(results: Results) -> str:
    rows = ["| client | version | speaks | " + " | ".join(CELLS.values()) + " |", "|---" * (3 + len(CELLS)) + "|"]
    rows += [_row(client, results[client.name]) for client in CLIENTS if client.name in results]
    return HEAD + "\n".join(rows) + "\n" + NOTES


def _row(client: Client, cells: Mapping[str, dict[str, Any]]) -> str:
    marks = ["–" if cell not in cells else "✓" if cells[cell]["ok"] else "✗" for cell in CELLS]
    return f"| {client.name} | {client.version} | {client.speaks} | " + " | ".join(marks) + " |"
