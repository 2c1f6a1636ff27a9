"""What a cluster gets from the chart: probes that exist, settings that the service takes, pods that may do little."""

import json
import secrets
from pathlib import Path
from typing import Any

import pytest
import yaml

import main
from app.core.config import Settings
from app.core.credentials.keys import make_private_key
from tests.deploy.chart import EXAMPLES, ROOT, Release, container_of, example, needs_helm, render

pytestmark = needs_helm
SETTINGS = {name.upper() for name in Settings.model_fields}
# Variables that are no settings of ours.
FOREIGN = {"SSL_CERT_FILE"}
# Who is given the owner's login.
OWNERS = {"migration", "indexing"}
# Who opens texts: the operator's commands run in pods of the migration's kind.
READERS = {"migration", "api", "worker"}
KEYS = "/var/lib/llm-saas/text-keys"
# What the Secrets hold.
SECRETS = {
    "SECRET_KEY": secrets.token_hex(32),
    "PREVIOUS_SECRET_KEYS": secrets.token_hex(32),
    "JWT_PRIVATE_KEY": make_private_key("ES256"),
    "OPERATOR_TOKEN": secrets.token_hex(32),
    "MASTER_KEY": secrets.token_hex(32),
    "PREVIOUS_MASTER_KEYS": secrets.token_hex(32),
    "REDIS_URL": "redis://:password@redis:6379/0",
    **dict.fromkeys(("DATABASE_PASSWORD", "MIGRATION_DATABASE_PASSWORD"), "p@ss:w/rd"),
    **dict.fromkeys(("DATABASE_SHARD_PASSWORDS", "MIGRATION_DATABASE_SHARD_PASSWORDS"), "eu=p@ss:w/rd,us=p@ss"),
    **dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY"), "sk-1"),
}


@pytest.fixture(scope="module")
def releases() -> dict[str, Release]:
    return {name: render(example(name)) for name in EXAMPLES}


@pytest.fixture(params=EXAMPLES)
def release(request: pytest.FixtureRequest, releases: dict[str, Release]) -> Release:
    return releases[request.param]


def environment_of(pod: dict[str, Any]) -> dict[str, str]:
    """The variables of a pod's container, those from Secrets included."""
    found = {}
    for variable in container_of(pod)["env"]:
        assert variable["name"] not in found
        if "value" in variable:
            found[variable["name"]] = variable["value"]
        else:
            assert variable["valueFrom"]["secretKeyRef"]["name"]
            found[variable["name"]] = SECRETS[variable["name"]]
    return found


def probes_of(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    container = container_of(pod)
    return {name: container[name] for name in ("startupProbe", "readinessProbe", "livenessProbe") if name in container}


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def test_every_probe_asks_for_a_route_that_exists_where_the_service_listens(release: Release) -> None:
    routes = {getattr(route, "path", None) for route in main.app.routes}
    for component, pod in release.pods().items():
        probes = probes_of(pod)
        assert len(probes) == (0 if component in OWNERS else 3)
        for probe in probes.values():
            assert probe["httpGet"]["path"] in routes
            ports = {port["name"]: port["containerPort"] for port in container_of(pod)["ports"]}
            assert str(ports[probe["httpGet"]["port"]]) == environment_of(pod)["PORT"]


def test_a_database_that_is_away_takes_pods_out_of_service_and_restarts_none(release: Release) -> None:
    for pod in release.pods().values():
        asked = {name: probe["httpGet"]["path"] for name, probe in probes_of(pod).items()}
        assert asked in ({}, {"startupProbe": "/health", "livenessProbe": "/health", "readinessProbe": "/health/ready"})


def test_every_variable_is_a_setting(release: Release) -> None:
    for pod in release.pods().values():
        assert environment_of(pod).keys() <= SETTINGS | FOREIGN


def test_the_service_takes_every_value_as_it_was_meant(
    release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.crt").touch()
    (tmp_path / "text-keys").mkdir()
    for pod in release.pods().values():
        for name in SETTINGS:
            monkeypatch.delenv(name, raising=False)
        given = environment_of(pod)
        for name, value in given.items():
            here = value.replace("/etc/llm-saas", str(tmp_path)).replace(KEYS, str(tmp_path / "text-keys"))
            monkeypatch.setenv(name, here)
        taken = Settings(_env_file=None)
        assert taken.environment == "production"
        numbers = {name: getattr(taken, name.lower(), None) for name in given}
        numbers = {name: value for name, value in numbers.items() if type(value) in (int, float)}
        assert {name: float(given[name]) for name in numbers} == numbers


def test_every_region_is_known_to_all_and_its_owner_to_the_migration(
    releases: dict[str, Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    for component, pod in releases["regions"].pods().items():
        for name, value in environment_of(pod).items():
            monkeypatch.setenv(name, value)
        taken = Settings(_env_file=None)
        assert list(taken.region_urls()) == ["eu", "us"]
        assert ("llm_saas_owner" in str(taken.owner_urls())) == (component in OWNERS)
        for name in environment_of(pod):
            monkeypatch.delenv(name)


def test_who_works_as_the_owner_alone_knows_the_owner_and_no_provider(releases: dict[str, Release]) -> None:
    pods = releases["everything"].pods()
    knowing = {part for part, pod in pods.items() if "MIGRATION_DATABASE_PASSWORD" in environment_of(pod)}
    assert knowing == OWNERS
    assert not any("API_KEY" in name for part in OWNERS for name in environment_of(pods[part]))
    assert "OPENAI_API_KEY" in environment_of(pods["api"])


def test_the_migration_comes_before_everything_with_all_that_it_needs(release: Release) -> None:
    hooks = [one for one in release.objects if "helm.sh/hook" in one["metadata"].get("annotations", {})]
    assert {one["metadata"]["annotations"]["helm.sh/hook"] for one in hooks} == {"pre-install,pre-upgrade"}
    weights = {one["kind"]: int(one["metadata"]["annotations"]["helm.sh/hook-weight"]) for one in hooks}
    assert weights["ServiceAccount"] < weights["Job"] > weights["NetworkPolicy"]
    account = release.pods()["migration"]["serviceAccountName"]
    assert account in {one["metadata"]["name"] for one in hooks if one["kind"] == "ServiceAccount"}


def test_no_pod_may_more_than_it_needs(release: Release) -> None:
    """The restricted Pod Security Standard, and a file system that nobody writes to."""
    for pod in release.pods().values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        container = container_of(pod)
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert writable - {KEYS} == {"/tmp"}  # noqa: S108
        assert "memory" in container["resources"]["limits"]
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}


def test_who_opens_texts_shares_the_claim_and_what_wraps_its_keys(releases: dict[str, Release]) -> None:
    assert f"install -d -o app -g app -m 700 {KEYS}" in (ROOT / "Dockerfile").read_text()
    for component, pod in releases["everything"].pods().items():
        mounted = {mount["name"]: mount["mountPath"] for mount in container_of(pod)["volumeMounts"]}
        claims = [one["persistentVolumeClaim"] for one in pod["volumes"] if "persistentVolumeClaim" in one]
        given = environment_of(pod)
        if component in READERS:
            assert (mounted["text-keys"], given["TEXT_KEYS_DIR"]) == (KEYS, KEYS)
            assert claims == [{"claimName": "llm-saas-text-keys"}]
            assert given.keys() >= {"MASTER_KEY", "PREVIOUS_MASTER_KEYS"}
            assert given["ENCRYPT_TEXT"] == "true"
        else:
            assert not claims
            assert not given.keys() & {"MASTER_KEY", "ENCRYPT_TEXT", "TEXT_KEYS_DIR"}
    assert "text-keys" not in str(releases["scale"].objects)


def test_who_takes_documents_in_has_room_for_it_and_large_tenants_have_indexes(releases: dict[str, Release]) -> None:
    pods = releases["everything"].pods()
    memory = {part: container_of(pod)["resources"]["limits"]["memory"] for part, pod in pods.items()}
    assert (memory["worker"], memory["api"]) == ("3Gi", "768Mi")
    assert container_of(pods["indexing"])["command"] == ["python", "-m", "app.cli", "index-documents"]
    alone = render(example("minimal") | {"documents": {"enabled": True}}).pods()
    assert container_of(alone["api"])["resources"]["limits"] == {"memory": "2Gi"}
    assert container_of(releases["minimal"].pods()["api"])["resources"]["limits"] == {"memory": "768Mi"}
    assert "indexing" not in releases["minimal"].pods()


def test_an_upgrade_takes_no_pod_away_before_another_one_serves(release: Release) -> None:
    for deployment in release.all("Deployment"):
        assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    api = release.pods()["api"]
    grace = api["terminationGracePeriodSeconds"]
    assert container_of(api)["lifecycle"]["preStop"]["sleep"]["seconds"] < grace


def test_a_drained_node_never_takes_all_pods(release: Release) -> None:
    for budget in release.all("PodDisruptionBudget"):
        component = budget["metadata"]["labels"]["app.kubernetes.io/component"]
        scalers = {one["spec"]["scaleTargetRef"]["name"]: one["spec"] for one in release.all("HorizontalPodAutoscaler")}
        deployment = release.one("Deployment", component)
        least = scalers.get(deployment["metadata"]["name"], {}).get("minReplicas") or deployment["spec"]["replicas"]
        assert 0 < budget["spec"]["maxUnavailable"] < least
    assert release.one("PodDisruptionBudget", "api")


def test_who_is_scaled_has_no_fixed_number_of_pods(releases: dict[str, Release]) -> None:
    for release in releases.values():
        scaled = {one["spec"]["scaleTargetRef"]["name"] for one in release.all("HorizontalPodAutoscaler")}
        for deployment in release.all("Deployment"):
            assert ("replicas" in deployment["spec"]) == (deployment["metadata"]["name"] not in scaled)


def test_every_selector_finds_pods(release: Release) -> None:
    pods = [template["metadata"]["labels"] for template in release.templates().values()]
    for one in release.objects:
        selector = one["spec"].get("selector") or one["spec"].get("podSelector")
        if selector is None or one["kind"] == "ServiceMonitor":
            continue
        assert any(selects(selector.get("matchLabels", selector), labels) for labels in pods), one["metadata"]["name"]


def test_a_service_leads_to_the_api_alone_and_to_no_metrics(release: Release) -> None:
    service = release.one("Service", "api")["spec"]
    assert service["selector"]["app.kubernetes.io/component"] == "api"
    assert [port["targetPort"] for port in service["ports"]] == ["http"]


def test_metrics_are_scraped_through_the_port_that_the_processes_listen_on(releases: dict[str, Release]) -> None:
    release = releases["everything"]
    service = release.one("Service", "metrics")
    monitor = release.one("ServiceMonitor", "metrics")
    assert selects(monitor["spec"]["selector"]["matchLabels"], service["metadata"]["labels"])
    assert {port["name"] for port in service["spec"]["ports"]} == {one["port"] for one in monitor["spec"]["endpoints"]}
    for component in ("api", "worker"):
        pod = release.pods()[component]
        ports = {port["name"]: str(port["containerPort"]) for port in container_of(pod)["ports"]}
        assert ports["metrics"] == environment_of(pod)["METRICS_PORT"]
        assert environment_of(pod)["METRICS_HOST"] == "0.0.0.0"  # noqa: S104
    assert not releases["scale"].all("ServiceMonitor")


def test_rules_and_dashboard_reach_the_cluster_as_they_are(releases: dict[str, Release]) -> None:
    rule = releases["everything"].one("PrometheusRule", "metrics")
    assert rule["spec"] == yaml.safe_load((ROOT / "deploy/prometheus/rules/alerts.yml").read_text())
    board = releases["everything"].one("ConfigMap", "dashboard")["data"]["llm-saas-backend.json"]
    assert json.loads(board) == json.loads((ROOT / "deploy/grafana/dashboards/llm-saas-backend.json").read_text())
    assert not releases["scale"].all("PrometheusRule") + releases["scale"].all("ConfigMap")
