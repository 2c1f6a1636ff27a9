"""What may be a password, and the one spelling in which it is hashed."""

import unicodedata
from pathlib import Path

MIN_PASSWORD_CHARACTERS = 8
MAX_PASSWORD_BYTES = 4096


def normalise_password(password: str) -> str:
    """NFC: an é typed as one code point or as two is the same password.

    NIST SP 800-63B-4 (3.1.1.2) recommends it. Its predecessor's NFKC also folds lookalikes (ﬁ and fi, ² and 2), which
    makes passwords fewer and helps nobody to type them.
    """
    return unicodedata.normalize("NFC", password)


def too_long(password: str) -> bool:
    """In bytes of UTF-8 as sent. To be asked before anything else: normalising takes the square of the length."""
    return len(password) > MAX_PASSWORD_BYTES or len(password.encode()) > MAX_PASSWORD_BYTES


def is_common(password: str) -> bool:
    """Whether it is among the most common ones, in whatever case or width."""
    return unicodedata.normalize("NFKC", password).casefold() in _COMMON


def _load_common() -> frozenset[str]:
    lines = Path(__file__).with_name("common_passwords.txt").read_text().splitlines()
    return frozenset(line for line in lines if not line.startswith("# "))


_COMMON = _load_common()
