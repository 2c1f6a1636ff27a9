"""What is imported at the start is paid for by everybody who starts it, with whichever provider."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SDKS = ("aiohttp", "anthropic", "openai")
LOADED = f"""
import sys
import main
from app.llm.factory import create_provider
create_provider(main.app.state.settings)
print(*sorted(set({SDKS!r}) & set(sys.modules)))
"""


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
