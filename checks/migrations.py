"""`python -m checks.migrations`: what squawk says of the SQL of each new revision.

It is recorded from a PostgreSQL that is migrated, because what a revision says depends on the cluster's roles.
A revision that knows better says so in a line of its own: `# squawk: ban-drop-column, nobody reads it since 0021`.
"""

import asyncio
import logging
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event

from app.db.embedded import EmbeddedPostgres
from app.db.provision import ROOT, migrate

VERSIONS = ROOT / "alembic" / "versions"
# Older revisions were applied, by one transaction for all of them, to databases that nobody used meanwhile.
BASELINE = "0017"
# Of style, and not of what happens while it runs: ids are as long as they are, and counts are bounded where they are
# written. And outside of a transaction what a try has left behind is dropped first (`create_index_concurrently`).
NOT_OURS = ("prefer-text-field", "prefer-bigint-over-int", "prefer-robust-stmts", "prefer-bigint-over-smallint")
VERSION_WRITTEN = re.compile(r"(?:INSERT INTO|UPDATE) alembic_version .*?'(\w+)'", re.DOTALL)
REVISION = re.compile(r"^revision\b.*= [\"'](\w+)[\"']$", re.MULTILINE)
EXCEPTION = re.compile(r"^# squawk: ([\w-]+), \S", re.MULTILINE)


def main() -> int:
    logging.getLogger("alembic").setLevel(logging.WARNING)
    directory = Path(tempfile.mkdtemp(prefix="llm-saas-lint-"))
    server = EmbeddedPostgres(directory, options=("-c fsync=off",))
    try:
        server.start()
        with recorded() as revisions:
            asyncio.run(migrate(server.url))
        found = complaints(revisions, VERSIONS)
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)
    if found:
        print(found, file=sys.stderr)
    return 1 if found else 0


def complaints(revisions: dict[str, str], *directories: Path) -> str:
    """What there is to say of the recorded SQL of the revisions in these directories; nothing if nothing."""
    excepted = {
        revision: EXCEPTION.findall(source)
        for source in (path.read_text() for directory in directories for path in directory.glob("*.py"))
        for revision in REVISION.findall(source)
    }
    names = list(revisions)
    return "".join(_squawk(name, revisions[name], excepted[name]) for name in names[names.index(BASELINE) + 1 :])


@contextmanager
def recorded() -> Iterator[dict[str, str]]:
    """The SQL of each revision that is applied in the block, in their order, with its transactions."""
    revisions: dict[str, str] = {}
    said: defaultdict[Connection, list[str]] = defaultdict(list)

    def executed(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        said[connection].append(statement.strip())
        if written := VERSION_WRITTEN.match(statement.strip()):
            revisions[written[1]] = ";\n".join([*said.pop(connection), "COMMIT;\n"])

    def begun(connection: Connection) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            said[connection].append("BEGIN")

    def committed(connection: Connection) -> None:
        if connection in said and connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            said[connection].append("COMMIT")

    listeners = {"before_cursor_execute": executed, "begin": begun, "commit": committed}
    for name, listener in listeners.items():
        event.listen(Engine, name, listener)
    try:
        yield revisions
    finally:
        for name, listener in listeners.items():
            event.remove(Engine, name, listener)


def _squawk(revision: str, sql: str, excepted: list[str]) -> str:
    program = Path(sys.executable).with_name("squawk")
    rules = ",".join([*NOT_OURS, *excepted])
    command = [str(program), "--pg-version=15.0", "--reporter=gcc", f"--exclude={rules}", "--stdin-filepath", revision]
    done = subprocess.run(command, input=sql, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"{done.stdout}{done.stderr}"
    return ""


if __name__ == "__main__":
    sys.exit(main())
