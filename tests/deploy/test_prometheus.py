"""A real Prometheus with the rules that it is given, and a service that it asks."""

import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from sqlalchemy import URL

from app.observability import instruments
from app.observability.metrics import Gauge, Histogram
from tests.committed.server import ROOT, free_port, running
from tests.deploy.queries import FOREIGN, SERIES, asked_by
from tests.deploy.test_alerts import ALERTS, RULES
from tests.deploy.test_dashboard import QUERIES, filled_in
from tests.helpers import make_tenant, send
from tests.own_database import own_database
from tests.waiting import PATIENCE_SECONDS, until

DEPLOY = ROOT / "deploy"
PROMETHEUS = shutil.which("prometheus")
# What a service that has no Redis, no replica and no workers says nothing of.
UNSET = {one.name for one in vars(instruments).values() if isinstance(one, Gauge)}
HISTOGRAMS = [one.name for one in vars(instruments).values() if isinstance(one, Histogram)]
pytestmark = pytest.mark.skipif(
    PROMETHEUS is None, reason="prometheus is not installed (make test installs it for root)"
)


@asynccontextmanager
async def prometheus(directory: Path, target: str) -> AsyncIterator[httpx.AsyncClient]:
    """With compose's configuration, but for where the service is and for how often it asks; a client of its API."""
    config = yaml.safe_load((DEPLOY / "compose" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"}
    (job,) = (one for one in config["scrape_configs"] if "dns_sd_configs" in one)
    config["scrape_configs"] = [{"job_name": job["job_name"], "static_configs": [{"targets": [target]}]}]
    config["rule_files"] = [name.replace("/etc/prometheus", f"{DEPLOY}/prometheus") for name in config["rule_files"]]
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [
            str(PROMETHEUS),
            f"--config.file={directory}/prometheus.yml",
            f"--storage.tsdb.path={directory}/data",
            f"--web.listen-address={address}",
            "--log.level=error",
        ]
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}/api/v1", timeout=PATIENCE_SECONDS) as client:

            async def ready() -> bool:
                assert process.poll() is None
                try:
                    return (await client.get(f"http://{address}/-/ready")).is_success
                except httpx.TransportError:
                    return False

            await until(ready, "Prometheus to be ready")
            yield client
    finally:
        process.terminate()
        process.wait()


async def data_of(client: httpx.AsyncClient, path: str, **parameters: str) -> Any:
    answer = await client.get(path, params=parameters)
    assert answer.is_success, answer.text
    return answer.json()["data"]


async def test_a_service_that_is_well_fires_no_alert_and_each_rule_and_panel_is_answered(
    template_url: URL, tmp_path: Path
) -> None:
    port = free_port()
    async with (
        own_database(template_url) as database,
        running(tmp_path, database_url=database.text, metrics_port=str(port)) as server,
        prometheus(tmp_path, f"127.0.0.1:{port}") as client,
    ):
        async with server.client() as caller:
            await send(caller, (await make_tenant(caller)).user, "hello")

        async def seen() -> Any:
            """The rules, once each has looked at what the service says."""
            found = await data_of(client, "/query", query="sum(rate(llm_saas_http_requests_total[1m])) >= 0")
            rules = [rule for group in (await data_of(client, "/rules"))["groups"] for rule in group["rules"]]
            return found["result"] and all(rule["health"] != "unknown" for rule in rules) and rules

        rules = await until(seen, "Prometheus to have asked and judged")
        assert {rule["name"] for rule in rules} == {rule.get("alert") or rule["record"] for rule in RULES}
        assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []
        assert await data_of(client, "/alerts") == {"alerts": []}
        (asked_of,) = (await data_of(client, "/targets"))["activeTargets"]
        assert f'job="{asked_of["labels"]["job"]}"' in ALERTS["LlmSaasProcessDown"]["expr"]

        asked = set[str]()
        for query in [*(rule["expr"] for rule in RULES), *(filled_in(str(one.values[0])) for one in QUERIES)]:
            assert "result" in await data_of(client, "/query", query=query)
            asked |= asked_by(query).names
        families = set(await data_of(client, "/metadata"))
        assert {name for name in asked & SERIES.keys() if family_of(name) not in families} <= UNSET
        assert {name for name in FOREIGN if family_of(name) not in families} == {"up"}


def family_of(series: str) -> str:
    """As OpenMetrics names it."""
    for histogram in HISTOGRAMS:
        if series.startswith(histogram):
            return histogram
    return series.removesuffix("_total")
