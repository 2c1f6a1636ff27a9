"""What /metrics says, read as Prometheus reads it."""

import shutil
import subprocess

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.waiting import PATIENCE_SECONDS

Series = dict[tuple[str, ...], float]
PROMTOOL = shutil.which("promtool")


class Scrape:
    """One look at the port."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = {family.name: family for family in text_string_to_metric_families(text)}

    @property
    def names(self) -> set[str]:
        """Of families, counters with their `_total`."""
        return {f"{name}_total" if family.type == "counter" else name for name, family in self.families.items()}

    def value(self, name: str, **labels: str) -> float:
        """Of the series that have these labels, together."""
        samples = (sample for family in self.families.values() for sample in family.samples)
        return sum(
            sample.value
            for sample in samples
            if sample.name == name and all(sample.labels.get(key) == value for key, value in labels.items())
        )


async def scrape(port: int) -> Scrape:
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
        answer = await client.get(f"http://127.0.0.1:{port}/metrics")
    assert answer.status_code == 200
    return Scrape(answer.text)


def complaints(text: str) -> str:
    """What promtool has to say about the names and the form."""
    assert PROMTOOL is not None
    checked = subprocess.run(
        [PROMTOOL, "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    return checked.stdout + checked.stderr
