"""What a caller types into `q`: words, "phrases", beginnings of words (`pyth*`), `-not`, `or`."""

import re
import unicodedata
from dataclasses import dataclass

from app.core.errors import NothingToSearchFor

# A phrase may lack its second quote. One dash before a term excludes it; a row of them is punctuation, as in `--force`.
_TERM = re.compile(r'(?P<dash>(?<![^\s])-(?=[^\s-]))?(?:"(?P<phrase>[^"]*)"?|(?P<word>[^\s"]+))(?P<star>\*)?')
_WORD = re.compile(r"[^\W_]")
# A message is compared with all of them.
MOST_TERMS = 32


@dataclass(frozen=True, slots=True)
class Term:
    """Words that stand one after the other; of the last one its beginning if `prefix`."""

    text: str
    excluded: bool = False
    prefix: bool = False


def parse(query: str) -> list[list[Term]]:
    """Alternatives, of each the terms that all must hold.

    Raises:
        NothingToSearchFor: an alternative has no word that is to be found, a beginning is too short, or there are too
            many terms.
    """
    groups: list[list[Term]] = [[]]
    for found in _TERM.finditer(unicodedata.normalize("NFC", query)):
        if found["word"] and found["word"].lower() == "or" and not found["dash"]:
            groups.append([])
        elif term := _term(found):
            groups[-1].append(term)
    groups = [group for group in groups if group]
    if not groups or sum(map(len, groups)) > MOST_TERMS:
        raise NothingToSearchFor
    if any(all(term.excluded for term in group) for group in groups):
        raise NothingToSearchFor
    return groups


def _term(found: re.Match[str]) -> Term | None:
    """None for what holds no letter and no digit."""
    text = found["word"] if found["phrase"] is None else found["phrase"]
    prefix = bool(found["star"]) or text.endswith("*")
    text = text.rstrip("*")
    last = re.split(r"[\W_]+", text)[-1]
    if not _WORD.search(text):
        return None
    if prefix and last and len(last.encode()) < 2:  # half the dictionary; in Chinese one character is a word
        raise NothingToSearchFor
    return Term(text, excluded=bool(found["dash"]), prefix=prefix and bool(last))
