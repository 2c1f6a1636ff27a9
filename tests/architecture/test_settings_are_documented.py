"""`Settings`, `.env.example` and docs/settings.md hold the same names and defaults."""

import json
import re
from pathlib import Path

from pydantic import SecretStr

from app.core.config import Settings

ROOT = Path(__file__).resolve().parents[2]


def in_code() -> dict[str, str]:
    found = {}
    for name, field in Settings.model_fields.items():
        default = field.default
        if isinstance(default, SecretStr):
            default = default.get_secret_value()
        if isinstance(default, dict):
            default = json.dumps({model: price.model_dump(exclude_none=True) for model, price in default.items()})
        if default is None:
            default = ""
        if isinstance(default, bool):
            default = str(default).lower()
        if isinstance(default, list):
            default = ",".join(default)
        if isinstance(default, float) and default.is_integer():
            default = int(default)
        found[name.upper()] = str(default)
    return found


def test_the_example_file_lists_every_setting_with_its_default_in_the_same_order() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    pairs = [line.split("=", 1) for line in lines if re.match(r"[A-Z][A-Z0-9_]*=", line)]
    ours = {name: value for name, value in pairs if name in in_code()}
    assert ours == in_code()
    assert list(ours) == list(in_code())


def test_the_page_of_settings_lists_every_setting_with_its_default() -> None:
    rows = re.findall(r"^\| `([A-Z][A-Z0-9_]*)` \| (.*?) \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE)
    assert {name: default.strip("`") if default != "–" else "" for name, default in rows} == in_code()
