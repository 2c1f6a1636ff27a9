"""The chart by itself: what has to agree with the service, whether or not Helm is here."""

import json
import re
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from app import __version__
from app.application import DRAIN_SECONDS
from app.core.config import Settings
from app.serving import SHUTDOWN_SECONDS
from tests.deploy.chart import CHART, EXAMPLES, ROOT, example
from tests.deploy.queries import SERIES

VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SETTINGS = {name.upper() for name in Settings.model_fields}
SECRET = {name.upper() for name, field in Settings.model_fields.items() if SecretStr.__name__ in str(field.annotation)}

# They may hold passwords: what does is refused by its value.
URLS = {"DATABASE_SHARDS", "MIGRATION_DATABASE_SHARDS"}


def settings_of(values: dict[str, Any]) -> set[str]:
    groups = [values, *(values.get(part, {}) for part in ("migration", "api", "worker"))]
    return {name for group in groups for kind in ("settings", "secretSettings") for name in group.get(kind, {})}


def test_the_chart_installs_the_version_that_it_stands_beside() -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == __version__


def test_a_pod_is_left_in_peace_until_its_messages_have_ended() -> None:
    api, worker, needed = VALUES["api"], VALUES["worker"], SHUTDOWN_SECONDS + DRAIN_SECONDS
    assert api["terminationGracePeriodSeconds"] > api["preStopSeconds"] + needed
    assert worker["terminationGracePeriodSeconds"] > needed


def test_each_name_that_the_chart_gives_to_the_service_is_a_setting() -> None:
    named = set().union(*(settings_of(values) for values in (VALUES, *map(example, EXAMPLES))))
    for template in (CHART / "templates").iterdir():
        named |= set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", template.read_text()))
    assert named >= {"DATABASE_URL", "SECRET_KEY", "REDIS_URL"}
    assert named - SETTINGS == set()


def test_values_may_hold_every_setting_but_the_secret_ones() -> None:
    names = json.loads((CHART / "values.schema.json").read_text())["$defs"]["settings"]["propertyNames"]
    secret, exempt = names["anyOf"][0]["not"]["pattern"], names["anyOf"][1]["pattern"]
    refused = {name for name in SETTINGS if re.search(secret, name) and not re.search(exempt, name)}
    assert refused == SECRET - URLS
    assert all(re.search(names["pattern"], name) for name in SETTINGS)


def test_what_pods_are_scaled_by_is_measured() -> None:
    texts = [path.read_text() for path in [CHART / "README.md", *(CHART.parent / "examples").iterdir()]]
    named = {name for text in texts for name in re.findall(r"\bllm_saas_\w+_seconds\b", text)}
    assert named
    assert named <= SERIES.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_holds_no_secret(name: str) -> None:
    text = (CHART.parent / "examples" / f"{name}.yaml").read_text()
    assert not re.search(r"://[^/@]*:[^/@]+@", text)
    assert not any(re.search(rf"^\s+{secret}: (?!\{{|null$)", text, re.MULTILINE) for secret in SECRET - URLS)


def test_make_helm_and_the_lock_know_the_same_file() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert "deploy/helm/requirements.txt" in makefile
    assert "deploy/helm/requirements.in" in makefile
