from typing import Literal

from pydantic import BaseModel


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Each part that a request needs, and what serves it."""

    status: Literal["ready"] = "ready"
    database: Literal["ok"] = "ok"
    replica: Literal["none", "ok", "behind", "away", "promoted"]
    """Whether reads go to a replica; the primary serves them while it is not `ok`."""
    row_level_security: Literal["active"] = "active"
    llm_provider: str
    rate_limits: Literal["off", "memory", "redis"]
    cache: Literal["off", "redis", "away"]
    """Where answers are kept, for tenants that want it; `away`: Redis does not answer, and messages do without."""
    background: dict[str, Literal["running", "restarting", "failing"]]
    """Each loop of this process. One that died is restarted; `failing`: it keeps dying, or turn after turn fails."""
