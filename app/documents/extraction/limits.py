"""How much the reading of one file may take."""

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """`memory` is of the child's address space; `unpacked` of what an archive says it holds. Sizes are in bytes."""

    file: int = 50 * MIB
    unpacked: int = 200 * MIB
    entries: int = 10_000
    characters: int = 10_000_000
    pages: int = 10_000
    headings: int = 10_000
    memory: int = 512 * MIB
    cpu_seconds: int = 60
    seconds: float = 180
