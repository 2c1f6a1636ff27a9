"""Clients that are programs: llm, aider, codex, opencode, Continue. Each is asked once, as a user would at a prompt."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cells import BASE, BROKE_KEY, KEY, MODEL, PROMPT, WRONG_KEY, run

SECONDS = 120


def command(words: list[str], home: Path, key: str, **environment: str) -> str:
    """What it prints; raises with that where it fails."""
    given = {"PATH": os.environ["PATH"], "HOME": str(home), "OPENAI_API_KEY": key, "NO_COLOR": "1", **environment}
    done = subprocess.run(
        words, cwd=home, env=given, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS
    )
    said = done.stdout + done.stderr
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}: {said[-400:]}")
    return said


def llm(home: Path, key: str, model: str) -> str:
    known = home / "llm"
    known.mkdir(exist_ok=True)
    entry = f"- model_id: here\n  model_name: {model}\n  api_base: {BASE}/v1\n  api_key_name: openai\n"
    (known / "extra-openai-models.yaml").write_text(entry)
    return command(["llm", "-m", "here", "--key", key, PROMPT], home, key, LLM_USER_PATH=str(known))


def aider(home: Path, key: str, model: str) -> str:
    words = [
        "aider",
        "--model",
        f"openai/{model}",
        "--message",
        PROMPT,
        "--no-git",
        "--yes-always",
        "--no-check-update",
    ]
    words += ["--no-show-model-warnings", "--no-analytics", "--map-tokens", "0", "--edit-format", "ask"]
    return command(words, home, key, OPENAI_API_BASE=f"{BASE}/v1", LITELLM_LOCAL_MODEL_COST_MAP="True")


def codex(home: Path, key: str, model: str) -> str:
    (home / ".codex").mkdir(exist_ok=True)
    settings = f'model = "{model}"\nmodel_provider = "here"\n[model_providers.here]\nname = "here"\n'
    settings += f'base_url = "{BASE}/v1"\nenv_key = "OPENAI_API_KEY"\nwire_api = "responses"\nrequest_max_retries = 0\n'
    (home / ".codex" / "config.toml").write_text(settings)
    return command(["codex", "exec", "--skip-git-repo-check", PROMPT], home, key)


def opencode(home: Path, key: str, model: str) -> str:
    provider = {"npm": "@ai-sdk/openai-compatible", "options": {"baseURL": f"{BASE}/v1", "apiKey": key}}
    settings = {"provider": {"here": {**provider, "models": {model: {}}}}, "autoupdate": False, "share": "disabled"}
    (home / "opencode.json").write_text(json.dumps(settings))
    return command(["opencode", "run", "-m", f"here/{model}", PROMPT], home, key)


def continue_cli(home: Path, key: str, model: str) -> str:
    entry = (
        f"name: here\nversion: 1.0.0\nschema: v1\nmodels:\n  - name: here\n    provider: openai\n    model: {model}\n"
    )
    (home / "config.yaml").write_text(f"{entry}    apiBase: {BASE}/v1\n    apiKey: {key}\n    roles: [chat]\n")
    words = ["cn", "--config", str(home / "config.yaml"), "-p", PROMPT]
    return command(words, home, key, CONTINUE_TELEMETRY_ENABLED="0")


ask = {"llm": llm, "aider": aider, "codex": codex, "opencode": opencode, "continue": continue_cli}[sys.argv[1]]


def answers() -> None:
    with tempfile.TemporaryDirectory() as home:
        said = ask(Path(home), KEY, MODEL)
    assert "[mock]" in said, said[-400:]


def refuses(key: str = KEY, model: str = MODEL) -> None:
    """It must say that it failed: by its status, or in words."""
    with tempfile.TemporaryDirectory() as home:
        try:
            said = ask(Path(home), key, model)
        except (RuntimeError, subprocess.TimeoutExpired):
            return
    assert "[mock]" not in said, said[-400:]


run(
    stream=answers,
    unauthorized=lambda: refuses(key=WRONG_KEY),
    over_budget=lambda: refuses(key=BROKE_KEY),
    unknown_model=lambda: refuses(model="no-such-model"),
)
