"""The Helm chart, and what it makes of values; by the Helm library that `make helm` installs."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
HELM = ROOT / "deploy" / "helm"
CHART = HELM / "llm-saas-backend"
EXAMPLES = sorted(path.stem for path in (HELM / "examples").glob("*.yaml"))
PYTHON = ROOT / ".venv-helm" / "bin" / "python"
needs_helm = pytest.mark.skipif(not PYTHON.exists(), reason="Helm's library is not installed (make helm does)")


class Refused(Exception):
    """Helm would install nothing."""


@dataclass(frozen=True)
class Release:
    objects: list[dict[str, Any]]

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [one for one in self.objects if one["kind"] == kind]

    def one(self, kind: str, component: str) -> dict[str, Any]:
        (found,) = (one for one in self.all(kind) if component_of(one) == component)
        return found

    def pods(self) -> dict[str, dict[str, Any]]:
        """The specification of each component's pod."""
        return {component: template["spec"] for component, template in self.templates().items()}

    def templates(self) -> dict[str, dict[str, Any]]:
        """Each component's pods, with their labels."""
        specs = [(component_of(one), one["spec"].get("jobTemplate", one)["spec"]) for one in self.objects]
        return {component: spec["template"] for component, spec in specs if "template" in spec}


def component_of(one: dict[str, Any]) -> str:
    component: str = one["metadata"]["labels"].get("app.kubernetes.io/component", "")
    return component


def container_of(pod: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod["containers"]
    return dict(container)


def example(name: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((HELM / "examples" / f"{name}.yaml").read_text())
    return values


def render(values: dict[str, Any]) -> Release:
    """What a cluster would get. Raises Refused, with Helm's own words."""
    run = subprocess.run(
        [PYTHON, HELM / "render.py", "-"], input=yaml.safe_dump(values), capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise Refused(run.stderr)
    return Release([{"spec": {}, **one} for one in yaml.safe_load_all(run.stdout) if one])
