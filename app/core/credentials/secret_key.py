"""Keys of a development machine, made once so that tokens survive a restart."""

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def load_or_create(path: Path, make: Callable[[], str]) -> str:
    """Return the key kept at `path`; whoever start at once agree on one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        # Written aside, readable by its owner alone, and linked into place: a reader never sees half a key, and only
        # one writer wins.
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(make())
            with suppress(FileExistsError):
                os.link(draft, path)
        finally:
            Path(draft).unlink()
    return path.read_text().strip()
