"""What a query asks of Prometheus: names of series, and the labels by which they are chosen and put together."""

from dataclasses import dataclass, field

import promql_parser as promql

from app.observability import instruments
from app.observability.metrics import Counter, Gauge, Histogram, Instrument

# What Prometheus itself knows of whom it asked.
OF_TARGETS = {"job", "instance", "namespace"}
# Of the client library, for a process on its own, and of Prometheus.
FOREIGN = {
    "up": set[str](),
    "process_start_time_seconds": set[str](),
    "process_cpu_seconds_total": set[str](),
    "process_resident_memory_bytes": set[str](),
}


def _series() -> dict[str, set[str]]:
    """Each series that the service has, and its labels."""
    found: dict[str, set[str]] = {}
    for instrument in vars(instruments).values():
        if not isinstance(instrument, Instrument):
            continue
        labels = set(instrument.labels)
        match instrument:
            case Counter() | Gauge():
                found[instrument.name] = labels
            case Histogram():
                found |= {f"{instrument.name}_{part}": labels for part in ("sum", "count")}
                found[f"{instrument.name}_bucket"] = labels | {"le"}
    return found


SERIES = _series()


@dataclass
class Asked:
    names: set[str] = field(default_factory=set)
    labels: set[str] = field(default_factory=set)


def asked_by(query: str) -> Asked:
    """Raises ValueError for what is no PromQL."""
    asked = Asked()

    def look(node: promql.Expr) -> None:
        match node:
            case promql.MatrixSelector():
                look(node.vector_selector)
            case promql.VectorSelector():
                asked.names.add(node.name or "")
                asked.labels |= {matcher.name for matcher in node.matchers.matchers}
            case promql.AggregateExpr() if node.modifier is not None:
                asked.labels |= set(node.modifier.labels)

    promql.walk(promql.parse(query), pre_visit=look)
    return asked


def faults_of(query: str, recorded: frozenset[str] = frozenset()) -> list[str]:
    """What the query asks for in vain; `recorded` are series that rules make."""
    asked = asked_by(query)
    known = SERIES | FOREIGN | {name: set[str]() for name in recorded}
    unknown = asked.names - known.keys()
    labels = OF_TARGETS.union(*(known[name] for name in asked.names - unknown))
    return sorted(unknown) + sorted(asked.labels - labels)
