"""The Grafana dashboard: what its panels ask for exists."""

import json
from itertools import combinations
from typing import Any

import pytest

from tests.deploy.chart import ROOT
from tests.deploy.queries import asked_by, faults_of

BOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/dashboards/llm-saas-backend.json").read_text())
PANELS: list[dict[str, Any]] = BOARD["panels"]
QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for panel in PANELS
    for target in panel.get("targets", [])
]


def filled_in(query: str) -> str:
    """As Grafana sends it."""
    variables = {"$__rate_interval": "5m", **{f"${one['name']}": ".*" for one in BOARD["templating"]["list"]}}
    for name, value in variables.items():
        query = query.replace(name, value)
    assert "$" not in query
    return query


@pytest.mark.parametrize("query", QUERIES)
def test_a_panel_asks_for_series_and_labels_that_the_service_has(query: str) -> None:
    assert faults_of(filled_in(query)) == []


@pytest.mark.parametrize("query", QUERIES)
def test_a_panel_shows_what_was_chosen_above_it(query: str) -> None:
    assert asked_by(filled_in(query)).labels >= {"namespace", "instance"}


def test_panels_lie_side_by_side() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for one, other in combinations([panel["gridPos"] for panel in PANELS], 2):
        apart = (one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]) or (
            one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        )
        assert apart
    assert all(0 <= panel["gridPos"]["x"] <= 24 - panel["gridPos"]["w"] for panel in PANELS)


def test_a_legend_names_labels_that_the_query_keeps() -> None:
    for panel in PANELS:
        for target in panel.get("targets", []):
            named = {part.split("}}")[0] for part in target["legendFormat"].split("{{")[1:]}
            assert named <= asked_by(filled_in(target["expr"])).labels
