"""The signing key of a development machine, made once so that tokens survive a restart."""

import os
import secrets
import tempfile
from pathlib import Path


def load_or_create_secret_key(data_dir: Path) -> str:
    """Return the key kept in `data_dir`; whoever start at once agree on one."""
    path = data_dir / "secret_key"
    data_dir.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        # Written aside, readable by its owner alone, and linked into place: a reader never sees half a key, and only
        # one writer wins.
        descriptor, draft = tempfile.mkstemp(dir=data_dir, prefix="secret_key.")
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32))
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            Path(draft).unlink()
    return path.read_text().strip()
