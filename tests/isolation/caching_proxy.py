"""An nginx before the service that keeps every answer by its URL, whoever asked: a mistake that is easily made."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.committed.server import free_port
from tests.deploy.nginx import NGINX
from tests.waiting import until

CONFIGURATION = """
{user}daemon off; pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  proxy_cache_path {directory}/kept keys_zone=kept:1m;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass {url};
      {caching}
    }}
  }}
}}
"""
BY_URL = "proxy_cache kept; proxy_cache_key $request_uri; proxy_cache_valid 200 1m; proxy_ignore_headers Cache-Control;"


@asynccontextmanager
async def proxy_before(url: str, directory: Path, caching: str = BY_URL) -> AsyncIterator[str]:
    """Its URL."""
    port, file = free_port(), directory / "nginx.conf"
    user = "user root; " if os.geteuid() == 0 else ""
    file.write_text(CONFIGURATION.format(user=user, directory=directory, port=port, url=url, caching=caching))
    process = subprocess.Popen([NGINX or "", "-p", str(directory), "-c", str(file), "-e", str(directory / "error.log")])

    async def accepts() -> bool:
        assert process.poll() is None, (directory / "error.log").read_text()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    try:
        await until(accepts, "nginx to listen")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
