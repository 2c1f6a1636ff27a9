"""Identifiers: UUIDv7 (RFC 9562), so that the primary key index grows at its right edge."""

import os
import re
import time

_CANONICAL_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def new_id() -> str:
    """A UUIDv7 as 36 lower-case characters: 48 bits of milliseconds, 74 random bits."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def is_id(value: object) -> bool:
    """Whether `value` is a canonical UUID string; anything else cannot be the id of a row."""
    return isinstance(value, str) and _CANONICAL_UUID.fullmatch(value) is not None
