"""Debian's Chromium, driven by Playwright, which brings none of its own."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# No name is looked up: what would leave the machine fails, and is seen to.
OPTIONS = ("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--force-color-profile=srgb")


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    # Its sandbox needs a user that is not root.
    sandbox = os.getuid() != 0
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=list(OPTIONS), chromium_sandbox=sandbox
        )
        try:
            yield browser
        finally:
            await browser.close()
