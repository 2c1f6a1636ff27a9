"""What may be a password, and the one spelling in which it is hashed."""

import importlib.util
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
    # Not `import zxcvbn`: that ranks all its dictionaries and keeps 15 MB; this one file, forgotten again, costs 15 ms
    # once at start-up and a third of that.
    package = importlib.util.find_spec("zxcvbn")
    assert package is not None
    assert package.origin is not None
    path = Path(package.origin).with_name("frequency_lists.py")
    lists = importlib.util.spec_from_file_location("zxcvbn_frequency_lists", path)
    assert lists is not None
    assert lists.loader is not None
    module = importlib.util.module_from_spec(lists)
    lists.loader.exec_module(module)
    passwords: list[str] = module.FREQUENCY_LISTS["passwords"]
    return frozenset(word for word in passwords if len(word) >= MIN_PASSWORD_CHARACTERS)


_COMMON = _load_common()
