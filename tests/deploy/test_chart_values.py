"""What values become, and which the chart refuses before anything is installed."""

import copy
import re
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from tests.deploy.chart import Refused, container_of, example, needs_helm, render

pytestmark = needs_helm
# Of a cluster, of a cloud's metadata, of the pod itself.
INNER = (
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "172.20.1.1",
    "192.168.1.1",
    "::1",
    "fd00::1",
    "fe80::1",
)


def changed(**changes: Any) -> dict[str, Any]:
    """The example for scale, with these keys (a__b: b within a) set."""
    values = copy.deepcopy(example("scale"))
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = values
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return values


def environment(values: dict[str, Any], component: str = "api") -> dict[str, Any]:
    variables = container_of(render(values).pods()[component])["env"]
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in variables}


def test_values_reach_the_environment_as_they_were_written() -> None:
    given = {
        "MAX_BODY_BYTES": 123456789,
        "LLM_TIMEOUT_SECONDS": 7.5,
        "DOCS_ENABLED": False,
        "CORS_ORIGINS": ["https://a.example.com", "https://b.example.com"],
        "LLM_MODEL": 'a "quoted" {{ model }}: #1',
        "RATE_LIMIT_KEY": "10/minute",
    }
    found = environment(
        changed(settings__DATABASE_URL="postgresql://u@h/d", **{f"settings__{k}": v for k, v in given.items()})
    )
    assert {name: found[name] for name in given} == {
        "MAX_BODY_BYTES": "123456789",
        "LLM_TIMEOUT_SECONDS": "7.5",
        "DOCS_ENABLED": "false",
        "CORS_ORIGINS": "https://a.example.com,https://b.example.com",
        "LLM_MODEL": 'a "quoted" {{ model }}: #1',
        "RATE_LIMIT_KEY": "10/minute",
    }


def test_a_components_own_settings_win_also_when_they_are_false_or_null() -> None:
    values = changed(
        settings__DOCS_ENABLED=True,
        settings__DB_POOL_SIZE=10,
        settings__LOG_LEVEL="DEBUG",
        api__settings={"DOCS_ENABLED": False, "DB_POOL_SIZE": 20, "LOG_LEVEL": None},
    )
    api, worker = environment(values), environment(values, "worker")
    assert (api["DOCS_ENABLED"], api["DB_POOL_SIZE"], api.get("LOG_LEVEL")) == ("false", "20", None)
    assert (worker["DOCS_ENABLED"], worker["DB_POOL_SIZE"], worker["LOG_LEVEL"]) == ("true", "10", "DEBUG")


def test_with_workers_the_api_leaves_their_work_to_them() -> None:
    def work(values: dict[str, Any], component: str) -> tuple[Any, Any]:
        given = environment(values, component)
        return given.get("MESSAGE_WORKERS"), given.get("BACKGROUND_WORK")

    assert work(changed(), "api") == ("true", "false")
    assert work(changed(), "worker") == (None, None)
    assert work(changed(worker={"enabled": False}), "api") == (None, None)
    assert work(changed(api__settings={"BACKGROUND_WORK": True}), "api") == ("true", "true")


def test_a_secret_is_named_and_one_that_is_null_is_not_asked_for() -> None:
    values = changed(secretSettings__DATABASE_PASSWORD=None, secretSettings__DATABASE_URL={"key": "url"})
    del values["settings"]["DATABASE_URL"]
    found = environment(values)
    assert "DATABASE_PASSWORD" not in found
    assert found["DATABASE_URL"] == {"secretKeyRef": {"name": "llm-saas", "key": "url"}}
    assert found["OPENAI_API_KEY"] == {"secretKeyRef": {"name": "providers", "key": "openai"}}
    assert found["SECRET_KEY"] == {"secretKeyRef": {"name": "llm-saas", "key": "SECRET_KEY"}}


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({"repository": "r"}, "r:0.1.0"),
        ({"repository": "r", "tag": "1.2"}, "r:1.2"),
        ({"repository": "r", "tag": "1.2", "digest": "sha256:" + "a" * 64}, "r@sha256:" + "a" * 64),
    ],
)
def test_a_digest_wins_over_a_tag(image: dict[str, str], expected: str) -> None:
    assert {container_of(pod)["image"] for pod in render(changed(image=image)).pods().values()} == {expected}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"settings__DATABASE_URL": "postgresql://user:hunter2@db/name"}, "/settings/DATABASE_URL"),
        ({"settings__LLM_FALLBACKS": ["redis://:hunter2@host:6379"]}, "/settings/LLM_FALLBACKS"),
        ({"settings__DATABASE_SHARDS": {"eu": "postgresql://user:hunter2@db/name"}}, "/settings/DATABASE_SHARDS/eu"),
        ({"settings__OPENAI_API_KEY": "hunter2"}, "OPENAI_API_KEY"),
        ({"api__settings": {"SECRET_KEY": "hunter2"}}, "SECRET_KEY"),
        ({"settings__HOST": "127.0.0.1"}, "HOST is the chart's to set"),
        ({"settings__REDIS_URL": "redis://redis:6379"}, "REDIS_URL stands in settings and in secretSettings"),
        ({"settings__database_url": "postgresql://db/name"}, "database_url"),
        ({"settings": {}}, "settings.DATABASE_URL is required"),
        ({"existingSecret": ""}, "existingSecret is required"),
        ({"image__digest": "sha256:abc"}, "/image/digest"),
        ({"image__tag": "latest"}, "/image/tag"),
        ({"api__replica": 3}, "replica"),
        ({"disruptionBudget": {"maxUnavailable": 2}}, "lets all 2 pods of the worker go at once"),
        ({"worker__autoscaling__maxReplicas": 1}, "worker.autoscaling.maxReplicas is below minReplicas"),
        ({"metrics": {"serviceMonitor": {"enabled": True}}}, "metrics.serviceMonitor needs metrics.enabled"),
        ({"metrics": {"enabled": True, "port": 8000}}, "/metrics/port"),
        ({"ingress": {"enabled": True}}, "ingress.host is required"),
        ({"textKeys": {"enabled": True, "existingClaim": "keys"}}, "textKeys.enabled needs secretSettings.MASTER_KEY"),
        ({"textKeys": {"enabled": True}, "secretSettings__MASTER_KEY": {}}, "textKeys.existingClaim is required"),
        ({"settings__ENCRYPT_TEXT": True}, "settings.ENCRYPT_TEXT needs textKeys.enabled"),
    ],
)
def test_what_cannot_work_is_refused_by_its_name(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused, match=re.escape(reason)) as refused:
        render(changed(**changes))
    assert "hunter2" not in str(refused.value)


def test_a_single_pod_has_no_disruption_budget() -> None:
    release = render({**example("minimal"), "api": {"replicas": 1}})
    assert release.all("PodDisruptionBudget") == []


def test_an_upgrade_leaves_the_number_of_pods_to_a_scaler_outside_the_chart() -> None:
    release = render(changed(worker={"enabled": True, "replicas": None}))
    assert "replicas" not in release.one("Deployment", "worker")["spec"]
    assert release.one("PodDisruptionBudget", "worker")["spec"]["maxUnavailable"] == 1


def test_pods_reach_the_public_their_database_and_nothing_else_of_the_cluster() -> None:
    release = render(changed())
    rules = release.one("NetworkPolicy", "")["spec"]["egress"]
    by_port = {port["port"]: rule for rule in rules for port in rule["ports"]}
    assert by_port.keys() == {53, 443, 5432, 6432, 6379}
    assert not any(reaches(by_port[443], address) for address in INNER)
    assert all(reaches(by_port[443], address) for address in ("203.0.113.1", "2001:db8::1"))
    for port, namespace in ((5432, "database"), (6379, "redis")):
        labels = {"kubernetes.io/metadata.name": namespace}
        assert by_port[port]["to"] == [{"namespaceSelector": {"matchLabels": labels}}]


def reaches(rule: dict[str, Any], address: str) -> bool:
    """Whether a rule of egress lets this address be called."""

    def within(network: str) -> bool:
        return ip_address(address) in ip_network(network)

    blocks = [peer["ipBlock"] for peer in rule["to"]]
    return any(within(block["cidr"]) and not any(map(within, block["except"])) for block in blocks)


def test_the_migration_reaches_the_database_alone_and_nobody_reaches_it() -> None:
    policy = render(changed()).one("NetworkPolicy", "migration")["spec"]
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {53, 5432, 6432}
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert not policy.get("ingress")


def test_redis_is_reachable_where_it_is_used() -> None:
    values = changed()
    del values["secretSettings"]["REDIS_URL"]
    rules = render(values).one("NetworkPolicy", "")["spec"]["egress"]
    assert 6379 not in {port["port"] for rule in rules for port in rule["ports"]}
