"""Imports point down only; each framework stays in its rooms."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted([*ROOT.glob("app/**/*.py"), ROOT / "main.py", ROOT / "create_tables.py"])

# Highest first. A room may import from its own layer and from those below.
LAYERS = [
    ["main", "create_tables", "app.cli", "app.commands", "app.worker", "app.welcome"],
    ["app.application", "app.serving", "app.arguments"],
    ["app.reach"],
    ["app.api"],
    ["app.dependencies", "app.callers"],
    ["app.regions"],
    ["app.container"],
    ["app.background", "app.gauges", "app.shared"],
    ["app.verification"],
    ["app.services"],
    ["app.schemas"],
    ["app.messages"],
    ["app.documents"],
    ["app.cache"],
    ["app.models", "app.llm", "app.webhooks", "app.residency", "app.services.llm_service"],
    ["app.db", "app.server"],
    ["app.core", "app.observability"],
]
# Below its room on purpose: the one way to a language model keeps the place that the layout promises.
WEB = ("app.application", "app.serving", "app.worker", "app.api", "app.callers", "app.dependencies")
SERVER = ("app.serving", "app.server")
SQL = (
    "app.db",
    "app.models",
    "app.documents",
    "app.messages",
    "app.residency",
    "app.services",
    "app.verification",
    "create_tables",
)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def within(module: str, rooms: tuple[str, ...] | list[str]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def layer_of(module: str) -> int | None:
    depths = {room: depth for depth, rooms in enumerate(LAYERS) for room in rooms if within(module, [room])}
    return depths[max(depths, key=len)] if depths else None


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_point_down(path: Path) -> None:
    own = layer_of(module_of(path))
    if own is None:
        assert module_of(path) == "app"
        return
    for imported in imports_of(path):
        layer = layer_of(imported)
        assert layer is None or layer >= own, f"{module_of(path)} must not import {imported}"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_frameworks_stay_in_their_rooms(path: Path) -> None:
    module = module_of(path)
    for imported in imports_of(path):
        if within(imported, ("fastapi", "starlette")):
            assert within(module, WEB), f"{module} imports {imported}"
        if within(imported, ("sqlalchemy", "asyncpg")):
            assert within(module, SQL), f"{module} imports {imported}"
        if within(imported, ("uvicorn", "httptools")):
            assert within(module, SERVER), f"{module} imports {imported}"


def test_services_do_not_know_schemas() -> None:
    for path in FILES:
        if within(module_of(path), ("app.services", "app.messages")):
            assert not any(within(name, ("app.schemas", "app.api")) for name in imports_of(path)), path


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300
