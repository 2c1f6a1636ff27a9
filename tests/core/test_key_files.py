"""The files of the keys of tenants' texts, where a process was killed between two steps."""

from pathlib import Path

import pytest

from app.core.credentials.envelope import MasterKeys
from app.core.credentials.key_files import KeyFiles
from app.core.ids import new_id

OLD, NEW = "o" * 40, "n" * 40


class Killed(BaseException):
    pass


def test_what_a_killed_rotation_left_is_destroyed_with_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant_id, other_id = new_id(), new_id()
    files = KeyFiles(tmp_path, MasterKeys([OLD]))
    files.begin()
    for each in (tenant_id, other_id):
        files.make(each)

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        patch.setattr(Path, "unlink", die)  # nothing is tidied up after a kill
        with pytest.raises(Killed):
            KeyFiles(tmp_path, MasterKeys([NEW, OLD])).rewrap(tenant_id)
    assert len([path for path in tmp_path.iterdir() if tenant_id in path.name]) == 2

    files.destroy(tenant_id)

    assert [path.name for path in tmp_path.iterdir() if tenant_id in path.name] == []
    assert files.read(other_id) is not None
