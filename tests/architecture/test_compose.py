"""docker-compose.yml: every password is asked for, and the service gets every setting and no password but its own."""

import re
from pathlib import Path
from typing import Any

import yaml

from app.core.config import Settings

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
SERVICES: dict[str, Any] = yaml.safe_load(TEXT)["services"]
# The owner's; and where a development machine keeps what it made.
NOT_THE_SERVICES = {"MIGRATION_DATABASE_URL", "MIGRATION_DATABASE_PASSWORD", "DATA_DIR"}


def test_no_secret_has_a_default() -> None:
    with_default = re.findall(r"\$\{(\w+):?-[^}]+\}", TEXT)
    assert with_default == []
    for name in ("SECRET_KEY", "POSTGRES_OWNER_PASSWORD", "POSTGRES_RUNTIME_PASSWORD"):
        assert f"${{{name}:?" in TEXT
    assert "env_file" not in TEXT


def test_the_service_is_given_every_setting_by_its_name() -> None:
    settings = {name.upper() for name in Settings.model_fields}
    assert set(SERVICES["api"]["environment"]) == settings - NOT_THE_SERVICES


def test_the_owners_password_reaches_the_database_and_the_migration_alone() -> None:
    knowing = {name for name, service in SERVICES.items() if "POSTGRES_OWNER_PASSWORD" in str(service["environment"])}
    assert knowing == {"postgres", "migrate"}


def test_what_is_asked_for_stands_in_the_example_file() -> None:
    asked = set(re.findall(r"\$\{(\w+):\?", TEXT))
    assert asked == {"SECRET_KEY", "POSTGRES_OWNER_PASSWORD", "POSTGRES_RUNTIME_PASSWORD"}
    example = (ROOT / ".env.example").read_text()
    assert all(re.search(rf"^{name}=$", example, re.MULTILINE) for name in asked)
