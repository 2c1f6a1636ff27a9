"""Where the processes of one service count together: a directory in which each has files of its own."""

import multiprocessing
import os
import stat
import tempfile
from pathlib import Path

from app.core.filelock import FileLock
from app.core.settings.unusable import UnusableSetting

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""The client library's own name; whoever runs the processes in another way than uvicorn's sets it."""


def shared_directory() -> Path | None:
    """None for a process that is alone."""
    if named := os.environ.get(DIRECTORY):
        return Path(named)
    parent = multiprocessing.parent_process()
    if parent is None:
        return None
    directory = Path(tempfile.gettempdir()) / f"llm-saas-metrics-{parent.pid}"
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or (hasattr(os, "getuid") and found.st_uid != os.getuid()):
        raise UnusableSetting("METRICS_PORT", f"{directory} belongs to somebody else")
    return directory


class Membership:
    """One process of those who count there. The first to come and the last to go forget what is left."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._own = FileLock(directory / f"member-{os.getpid()}.lock")

    def starting(self) -> FileLock:
        """To be held while one joins, or leaves."""
        return FileLock(self._directory / "start.lock")

    def join(self) -> None:
        self._forget_the_gone()
        self._own.acquire()

    def leave(self) -> None:
        self._own.release()
        self._forget_the_gone()

    def _forget_the_gone(self) -> None:
        """What a process that is gone had counted stays, what it held is held no more."""
        gone, alone = [], True
        for path in self._directory.glob("member-*.lock"):
            lock = FileLock(path)
            if lock.try_acquire():
                gone.append(path.stem.removeprefix("member-"))
                path.unlink()
                lock.release()
            else:
                alone = False
        patterns = ["*.db"] if alone else [f"gauge_live*_{pid}.db" for pid in gone]
        for pattern in patterns:
            for file in self._directory.glob(pattern):
                file.unlink()
