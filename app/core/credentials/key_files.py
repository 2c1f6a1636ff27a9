"""The keys of tenants' texts, wrapped, as files of a directory that no backup of the database holds.

A key that is stored with what it sealed is in every backup beside it, and deleting it later changes no backup. So these
are apart: whoever deletes a file has made unreadable what its tenant ever said, in the database and all copies of it.
"""

import base64
import contextlib
import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from app.core.credentials.envelope import KEY_BYTES, MasterKeys, Unopenable, WrappedKey
from app.core.credentials.text_key import TEXT_KEY, TextKey
from app.core.ids import is_id

SUFFIX = ".key"
SIGN = "keys-of-texts"


class KeyFiles:
    """A file a tenant. Each step is whole or not there, whenever the process or the machine dies.

    All of it blocks, and raises `OSError` where the directory cannot be read or written.
    """

    def __init__(self, directory: Path, masters: MasterKeys) -> None:
        self._directory, self._masters = directory, masters

    @property
    def master(self) -> str:
        """The name of the master key that wraps."""
        return self._masters.present

    def begin(self) -> None:
        """Make it a directory of keys, once: one without the sign is another one, or away."""
        (self._directory / SIGN).touch(0o600)
        self._sync()

    @property
    def begun(self) -> bool:
        return (self._directory / SIGN).exists()

    def read(self, tenant_id: str) -> TextKey | None:
        """None: there is none. Raises `Unopenable`."""
        wrapped = self._wrapped(tenant_id)
        if wrapped is None:
            return None
        return TextKey(tenant_id, self._masters.unwrap(tenant_id, wrapped, TEXT_KEY))

    def make(self, tenant_id: str) -> TextKey:
        """For a tenant of which nothing is sealed: what lies there if it opens, else a new one. Raises `Unopenable`."""
        with contextlib.suppress(Unopenable):
            if (known := self.read(tenant_id)) is not None:
                return known
        self._put(tenant_id, os.urandom(KEY_BYTES), new=not self._path(tenant_id).exists())
        made = self.read(tenant_id)
        if made is None:
            raise FileNotFoundError(tenant_id)
        return made

    def rewrap(self, tenant_id: str) -> bool:
        """Let the present master key wrap it; False: there is no file. Raises `Unopenable`."""
        wrapped = self._wrapped(tenant_id)
        if wrapped is not None and wrapped.master != self._masters.present:
            self._put(tenant_id, self._masters.unwrap(tenant_id, wrapped, TEXT_KEY), new=False)
        return wrapped is not None

    def destroy(self, tenant_id: str) -> None:
        """For good; nothing happens where there is none."""
        # With what a process left that was killed while it wrote the key anew.
        lying = [self._path(tenant_id), *self._directory.glob(f"{_part_of(tenant_id)}*")]
        found = [_overwritten(path) for path in lying]
        if any(found):
            self._sync()

    def lacking(self, tenant_ids: Iterable[str]) -> list[str]:
        """Those of which there is no file."""
        with os.scandir(self._directory) as entries:
            there = {entry.name.removesuffix(SUFFIX) for entry in entries if entry.name.endswith(SUFFIX)}
        return [tenant_id for tenant_id in tenant_ids if tenant_id not in there]

    def _wrapped(self, tenant_id: str) -> WrappedKey | None:
        try:
            written = self._path(tenant_id).read_bytes()
        except FileNotFoundError:
            (self._directory / SIGN).stat()  # a directory that is away has lost no key
            return None
        try:
            stored = json.loads(written)
            return WrappedKey(stored["master"], base64.b64decode(stored["sealed"], validate=True))
        except (ValueError, KeyError, TypeError):
            raise Unopenable from None

    def _put(self, tenant_id: str, key: bytes, *, new: bool) -> None:
        """`new`: somebody else's that is there by now stays."""
        wrapped = self._masters.wrap(tenant_id, key, TEXT_KEY)
        stored = {"master": wrapped.master, "sealed": base64.b64encode(wrapped.sealed).decode("ascii")}
        path = self._path(tenant_id)
        part = path.with_name(f"{_part_of(tenant_id)}{secrets.token_hex(8)}")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(json.dumps(stored).encode())
                file.flush()
                os.fsync(file.fileno())
            if new:
                with contextlib.suppress(FileExistsError):
                    os.link(part, path)
            else:
                part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        self._sync()

    def _path(self, tenant_id: str) -> Path:
        if not is_id(tenant_id):
            raise ValueError("not an identifier")
        return self._directory / f"{tenant_id}{SUFFIX}"

    def _sync(self) -> None:
        """What a directory holds is on the disk once the directory is."""
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _part_of(tenant_id: str) -> str:
    return f".{tenant_id}."


def _overwritten(path: Path) -> bool:
    """Whether it was there. Where the file system writes in place, what was in it is gone with it."""
    try:
        with path.open("r+b") as file:
            file.write(secrets.token_bytes(os.fstat(file.fileno()).st_size))
            file.flush()
            os.fsync(file.fileno())
    except FileNotFoundError:
        return False
    path.unlink(missing_ok=True)
    return True
