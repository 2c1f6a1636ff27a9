"""Alert rules: what they name exists, and each fires on what it is for."""

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from tests.deploy.chart import ROOT
from tests.deploy.queries import faults_of
from tests.waiting import PATIENCE_SECONDS

PROMETHEUS = ROOT / "deploy" / "prometheus"
PROMTOOL = shutil.which("promtool")
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "rules" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = frozenset(rule["record"] for rule in RULES if "record" in rule)
TESTS: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_asks_for_series_and_labels_that_the_service_has(rule: dict[str, Any]) -> None:
    assert faults_of(rule["expr"], RECORDED) == []


def test_every_alert_says_how_urgent_it_is_and_what_is_wrong() -> None:
    for rule in ALERTS.values():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary"}


def test_every_alert_is_tried_on_what_it_is_for_and_on_what_it_is_not_for() -> None:
    tried = [one for test in TESTS for one in test["alert_rule_test"]]
    assert {one["alertname"] for one in tried if one.get("exp_alerts")} == ALERTS.keys()
    assert {one["alertname"] for one in tried if not one.get("exp_alerts")} == ALERTS.keys()


def test_the_page_for_operators_says_of_every_alert_what_to_do() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    assert set(re.findall(r"\bLlmSaas\w+", page)) == ALERTS.keys()


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (make test installs it for root)")
@pytest.mark.parametrize("command", ["check rules rules/alerts.yml", "test rules alerts_test.yml"])
def test_promtool_agrees(command: str) -> None:
    run = subprocess.run(
        [str(PROMTOOL), *command.split()],
        cwd=PROMETHEUS,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert run.returncode == 0, run.stdout + run.stderr
