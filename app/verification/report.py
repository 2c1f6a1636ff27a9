"""What a run came to: proofs, each of so many tries, and whatever was found, not seen or could not be tried."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Verdict = Literal["holds", "leak", "not verified"]
STATUSES: dict[Verdict, int] = {"holds": 0, "leak": 1, "not verified": 2}
# More of a kind say no more.
MOST_FOUND = 50


@dataclass(slots=True)
class Proof:
    """`title` says what must hold; `found` what shows that it does not; `failed` what could not be tried."""

    title: str
    tried: int = 0
    found: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def leak(self, what: str) -> None:
        if what not in self.found and len(self.found) < MOST_FOUND:
            self.found.append(what)

    def failure(self, what: str) -> None:
        if what not in self.failed and len(self.failed) < MOST_FOUND:
            self.failed.append(what)


@dataclass(slots=True)
class Report:
    """`unseen`: what this deployment does not let this command look at, by name. `gave_up`: why the run ended early."""

    url: str
    version: str
    began_at: str
    proofs: list[Proof] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    not_called: list[str] = field(default_factory=list)
    gave_up: str = ""
    seconds: float = 0.0
    requests: int = 0
    messages: int = 0
    waited_seconds: float = 0.0
    operations: int = 0
    called: dict[str, int] = field(default_factory=dict)
    """Requests by operation."""

    def proof(self, title: str) -> Proof:
        proof = Proof(title)
        self.proofs.append(proof)
        return proof

    def not_seen(self, what: str) -> None:
        if what not in self.unseen:
            self.unseen.append(what)

    @property
    def verdict(self) -> Verdict:
        """A leak that was found stays one, however the run ended."""
        if any(proof.found for proof in self.proofs):
            return "leak"
        if self.gave_up or any(proof.failed for proof in self.proofs) or not any(p.tried for p in self.proofs):
            return "not verified"
        return "holds"

    @property
    def status(self) -> int:
        """Of the process."""
        return STATUSES[self.verdict]

    def to_json(self) -> dict[str, Any]:
        return {"verdict": self.verdict, **asdict(self)}

    def lines(self) -> list[str]:
        """For a terminal."""
        lines = []
        for proof in self.proofs:
            mark = "LEAK" if proof.found else "????" if proof.failed else "ok"
            lines.append(f"{mark:>4}  {proof.title} ({proof.tried})")
            lines += [f"      FOUND {what}" for what in proof.found]
            lines += ["      FOUND more, which is left out"] * (len(proof.found) == MOST_FOUND)
            lines += [f"      NOT TRIED {what}" for what in proof.failed]
        lines += [f"      not seen: {what}" for what in self.unseen]
        lines += [f"      not called: {what}" for what in self.not_called]
        if self.gave_up:
            lines.append(f"      GAVE UP: {self.gave_up}")
        lines.append(
            f"{self.verdict.upper()}: {self.url}, {self.operations} operations, {self.requests} requests in"
            f" {self.seconds:.1f} s ({self.waited_seconds:.0f} s of them waiting), {self.messages} messages to a model"
        )
        return lines
