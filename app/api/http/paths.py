"""Which of the interfaces a path belongs to: ours, or those of `/v1`, which speak others' protocols."""

from starlette.types import Scope

V1 = "/v1"


def own_path(scope: Scope) -> str:
    """Without what a proxy has put in front."""
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    return path


def is_v1(path: str) -> bool:
    return path.startswith(V1) and (len(path) == len(V1) or path[len(V1)] == "/")
