"""What the files of deploy/ say, where nothing has to run for it."""

from app.core.config import Settings
from tests.deploy.nginx import SOURCE


def test_nginx_fits_the_defaults_of_the_service() -> None:
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    body = (SOURCE / "site/body.conf").read_text()
    assert f"client_max_body_size {defaults['max_body_bytes']};" in body
    upstream = (SOURCE / "site/upstream.conf").read_text()
    kept = int(upstream.partition("keepalive_timeout ")[2].partition("s;")[0])
    assert kept < defaults["keep_alive_seconds"]
    service = (SOURCE / "service.conf").read_text()
    waited = int(service.partition("location /messages")[2].partition("proxy_read_timeout ")[2].partition("s;")[0])
    assert waited > max(defaults["llm_timeout_seconds"], defaults["stream_heartbeat_seconds"])
