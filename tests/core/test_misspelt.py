"""A typo in a setting's name is noticed."""

from pathlib import Path

import pytest

from app.core.config import Settings
from app.core.settings.misspelt import misspelt, misspelt_here


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("LLM_PROVDER", "LLM_PROVIDER"),
        ("llm_provder", "LLM_PROVIDER"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("SECRETKEY", "SECRET_KEY"),
        ("OPENAI_APIKEY", "OPENAI_API_KEY"),
        ("TRUSTED_HOST", "TRUSTED_HOSTS"),
    ],
)
def test_a_name_near_a_settings_is_noticed(name: str, meant: str) -> None:
    assert misspelt([name, "PATH"]) == {name: meant}


def test_settings_and_names_of_others_are_not() -> None:
    others = ["PATH", "HOME", "HOSTNAME", "LANG", "POSTGRES_OWNER_PASSWORD", "POSTGRES_RUNTIME_PASSWORD", "REDIS_PORT"]
    assert misspelt([*Settings.model_fields, *(name.upper() for name in Settings.model_fields), *others]) == {}


def test_the_file_and_the_environment_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text("LLM_PROVDER=openai\n")
    monkeypatch.setenv("LOG_LEVEL_", "DEBUG")
    found = misspelt_here()
    assert (found["LLM_PROVDER"], found["LOG_LEVEL_"]) == ("LLM_PROVIDER", "LOG_LEVEL")
