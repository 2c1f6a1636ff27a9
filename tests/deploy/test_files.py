"""What the files of deploy/ and the Dockerfile say, where nothing has to run for it."""

import re
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from app.core.config import Settings
from tests.committed.server import ROOT
from tests.deploy.nginx import SOURCE

DEFAULTS = {name: field.default for name, field in Settings.model_fields.items()}


@pytest.mark.parametrize("site", ["site", "compose"])
def test_nginx_lets_go_of_a_connection_before_the_service_does(site: str) -> None:
    upstream = (SOURCE / site / "upstream.conf").read_text()
    kept = int(upstream.partition("keepalive_timeout ")[2].partition("s;")[0])
    assert kept < DEFAULTS["keep_alive_seconds"]


def test_nginx_takes_what_the_service_takes_and_waits_for_as_long_as_an_answer_takes() -> None:
    assert f"client_max_body_size {DEFAULTS['max_body_bytes']};" in (SOURCE / "site/body.conf").read_text()
    messages = (SOURCE / "service.conf").read_text().partition("location /messages")[2]
    waited = int(messages.partition("proxy_read_timeout ")[2].partition("s;")[0])
    assert waited > max(DEFAULTS["message_timeout_seconds"], DEFAULTS["stream_heartbeat_seconds"])
    reloading = (SOURCE / "nginx.conf").read_text().partition("worker_shutdown_timeout ")[2]
    assert int(reloading.partition("s;")[0]) > DEFAULTS["message_timeout_seconds"]


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-documents.txt"])
def test_what_the_image_leaves_out_is_needed_by_nothing_that_it_has(lock: str) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    always = re.search(r"left_out='(.*?)'", dockerfile)
    besides = re.search(rf'grep -vE "\^\(\$left_out(.*?)\)==" {re.escape(lock)}', dockerfile)
    assert always is not None
    assert besides is not None
    left_out = set(f"{always[1]}{besides[1]}".split("|"))
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / lock).read_text(), re.MULTILINE))
    assert left_out <= locked
    for name in locked - left_out:
        try:
            needed = [Requirement(text) for text in metadata.requires(name) or ()]
        except metadata.PackageNotFoundError:  # of another platform
            continue
        of_this = {need.name.lower() for need in needed if need.marker is None or need.marker.evaluate({"extra": ""})}
        assert not of_this & left_out, name
