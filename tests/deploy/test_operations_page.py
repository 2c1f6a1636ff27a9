"""The page on operations speaks of what there is: every alert, real commands, headings that it leads to."""

import re

from app.cli import parse
from tests.deploy.chart import ROOT
from tests.deploy.test_alerts import ALERTS

PAGE = (ROOT / "docs" / "operations.md").read_text()


def test_it_says_of_every_alert_what_it_means_and_how_urgent_it_is() -> None:
    rows = re.findall(r"^\| `(LlmSaas\w+)` \| (\w+) \| \S.* \| \S.* \|$", PAGE, re.MULTILINE)
    assert dict(rows) == {name: rule["labels"]["severity"] for name, rule in ALERTS.items()}


def test_its_links_within_the_page_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= headings


def test_its_commands_are_commands() -> None:
    commands = re.findall(r"python -m app\.cli ([^`#>\n]+)", PAGE)
    assert len(commands) >= 4
    for command in commands:
        parse(command.split())
