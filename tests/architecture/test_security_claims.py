"""docs/security.md names tests that are there, and the definer functions that are."""

import re
from pathlib import Path

from app.verification.functions import DEFINER_FUNCTIONS, OPERATOR_FUNCTIONS

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/security.md").read_text()


def test_every_test_that_backs_a_claim_exists() -> None:
    named = set(re.findall(r"`(tests/[\w/.]*)`", TEXT))
    assert len(named) > 20
    assert not {path for path in named if not (ROOT / path).exists()}


def test_the_definer_functions_are_all_explained() -> None:
    section = TEXT.split("## Definer functions")[1].split("##")[0]
    assert set(re.findall(r"`(\w+)\(", section)) == DEFINER_FUNCTIONS | OPERATOR_FUNCTIONS
