"""The pages that there are, as the console's own list has them, and when one of them has settled."""

import re
from pathlib import Path
from typing import NamedTuple

from tests.console.window import Window

LIST = Path(__file__).resolve().parents[2] / "app" / "console" / "static" / "pages.js"


class Page(NamedTuple):
    path: str
    title: str
    hidden: bool
    """From the navigation of those who are signed in, or without a place in it."""


def pages() -> list[Page]:
    entries = re.split(r"\{\s*path:", LIST.read_text())[1:]
    found = []
    for entry in entries:
        path, title = re.match(r" '([^']*)', title: '([^']*)'", entry).groups()  # type: ignore[union-attr]
        found.append(Page(path, title, "open: true" in entry))
    return found


PAGES = pages()


async def settled(window: Window) -> None:
    """Nothing is loading any more, and something is there."""
    await window.page.locator("main").wait_for()
    await window.page.wait_for_function(
        """() => document.querySelector("main h1, main h2") && !document.querySelector("main .loading")"""
    )
