"""docker-compose.yml: every password is asked for, and the service gets every setting and no password but its own."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.application import DRAIN_SECONDS
from app.core.config import Settings
from app.serving import SHUTDOWN_SECONDS

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
SERVICES: dict[str, Any] = yaml.safe_load(TEXT)["services"]
# The owner's; and where a development machine keeps what it made.
NOT_THE_SERVICES = {
    "MIGRATION_DATABASE_URL",
    "MIGRATION_DATABASE_PASSWORD",
    "MIGRATION_DATABASE_SHARDS",
    "MIGRATION_DATABASE_SHARD_PASSWORDS",
    "DATA_DIR",
}
HARDENED = ("read_only", "tmpfs", "cap_drop", "security_opt", "restart")
PATHS = {"TLS_CERTIFICATE", "TLS_KEY", "TEXT_KEYS_DIR"}
WITH_DEFAULT = {"API_REPLICAS", "WORKER_REPLICAS", "MAX_BODY_BYTES", "HTTPS_PORT", *PATHS}


def test_no_secret_has_a_default() -> None:
    assert set(re.findall(r"\$\{(\w+):?-[^}]+\}", TEXT)) == WITH_DEFAULT
    for name in ("SECRET_KEY", "POSTGRES_OWNER_PASSWORD", "POSTGRES_RUNTIME_PASSWORD"):
        assert f"${{{name}:?" in TEXT
    assert "env_file" not in TEXT


def test_the_service_is_given_every_setting_by_its_name() -> None:
    settings = {name.upper() for name in Settings.model_fields}
    assert set(SERVICES["api"]["environment"]) == settings - NOT_THE_SERVICES


def test_a_profile_changes_nothing_for_who_does_not_name_it() -> None:
    assert {name for name, service in SERVICES.items() if "profiles" not in service} == {"postgres", "migrate", "api"}


@pytest.mark.parametrize("name", ["api-scaled", "worker"])
def test_the_services_of_the_profile_scale_are_given_what_the_service_is_given(name: str) -> None:
    scaled, one = SERVICES[name], SERVICES["api"]
    assert scaled["environment"].keys() == one["environment"].keys()
    assert "ports" not in scaled  # nginx's alone
    assert {key: scaled[key] for key in HARDENED} == {key: one[key] for key in HARDENED}


def test_a_container_that_ends_running_messages_is_given_the_time_for_it() -> None:
    assert SHUTDOWN_SECONDS + DRAIN_SECONDS < 60
    assert {SERVICES[name]["stop_grace_period"] for name in ("api", "api-scaled", "worker", "nginx")} == {"60s"}


def test_what_is_mounted_is_there() -> None:
    mounts = [mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", ())]
    assert [path for path in mounts if path.startswith("./") and not (ROOT / path).exists()] == []


def test_all_that_open_texts_share_the_keys_which_are_apart_from_the_database() -> None:
    made = re.search(r"install -d -o app -g app -m 700 (\S+)", (ROOT / "Dockerfile").read_text())
    assert made is not None
    ours = {name: service for name, service in SERVICES.items() if service.get("image") == "llm-saas-backend"}
    assert ours.keys() == {"migrate", "api", "api-scaled", "worker"}
    for service in ours.values():
        assert service["volumes"] == [f"text-keys:{made[1]}"]
        assert service["environment"]["TEXT_KEYS_DIR"] == f"${{TEXT_KEYS_DIR:-{made[1]}}}"
        assert {"MASTER_KEY", "PREVIOUS_MASTER_KEYS", "ENCRYPT_TEXT"} <= service["environment"].keys()
    others = [mount for name in SERVICES.keys() - ours.keys() for mount in SERVICES[name].get("volumes", ())]
    assert not any("text-keys" in mount for mount in others)
    assert "text-keys" in yaml.safe_load(TEXT)["volumes"]


def test_the_owners_password_reaches_the_database_and_the_migration_alone() -> None:
    knowing = {name for name, service in SERVICES.items() if "POSTGRES_OWNER_PASSWORD" in str(service["environment"])}
    assert knowing == {"postgres", "migrate", "allow-replica"}


def test_what_is_asked_for_stands_in_the_example_file() -> None:
    asked = set(re.findall(r"\$\{(\w+):\?", TEXT))
    assert asked == {"SECRET_KEY", "POSTGRES_OWNER_PASSWORD", "POSTGRES_RUNTIME_PASSWORD"}
    example = (ROOT / ".env.example").read_text()
    assert all(re.search(rf"^{name}=$", example, re.MULTILINE) for name in asked)
