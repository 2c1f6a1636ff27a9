"""Which of the interfaces a path belongs to: ours, or those of `/v1`, which speak others' protocols."""

from starlette.types import Scope

V1 = "/v1"
ANTHROPIC = "/v1/messages"


def own_path(scope: Scope) -> str:
    """Without what a proxy has put in front."""
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    return path


def is_v1(path: str) -> bool:
    return _is_below(path, V1)


def is_anthropic(path: str) -> bool:
    return _is_below(path, ANTHROPIC)


def _is_below(path: str, prefix: str) -> bool:
    return path.startswith(prefix) and (len(path) == len(prefix) or path[len(prefix)] == "/")
