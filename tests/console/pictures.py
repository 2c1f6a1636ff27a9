"""`python -m tests.console.pictures`: what the README shows of the console, made of what `make demo` serves."""

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from playwright.async_api import Browser

from demo.firm import ADMIN
from tests.committed.server import ROOT, free_port
from tests.console.chromium import CHROMIUM, chromium
from tests.console.pages import settled
from tests.console.window import Window

FOLDER = ROOT / "docs" / "pictures"
SIZE = {"width": 1280, "height": 820}
MOST_BYTES = 150_000


async def main() -> None:
    if CHROMIUM is None:
        sys.exit("There is no Chromium: tests/install_servers.sh chromium installs it for root, on Debian")
    FOLDER.mkdir(exist_ok=True)
    async with demo() as (base, password), chromium() as browser:
        person = (ADMIN.email, password)
        await picture(browser, base, person, "", "overview", "light")
        message = await answered_from_documents(base, *person)
        await picture(browser, base, person, f"messages/{message}", "message", "dark")
    for path in sorted(FOLDER.glob("*.png")):
        size = path.stat().st_size
        print(f"{path.relative_to(ROOT)}: {size} bytes")
        if size > MOST_BYTES:
            sys.exit(f"{path.name} is larger than {MOST_BYTES} bytes")


@asynccontextmanager
async def demo() -> AsyncIterator[tuple[str, str]]:
    """Its address and the password of its people; it lives in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="console-pictures-") as folder:
        port = free_port()
        environment = {"PATH": os.environ["PATH"], "DATA_DIR": folder, "PORT": str(port), "BCRYPT_ROUNDS": "4"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "demo", cwd=ROOT, env=environment,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stderr is not None
        try:
            told = ""
            while not (said := re.search(r"Password +(\S+)", told)):
                line = await process.stderr.readline()
                if not line:
                    sys.exit(told)
                told += line.decode()
            rest = asyncio.create_task(process.stderr.read())
            yield f"http://127.0.0.1:{port}", said[1]
        finally:
            process.terminate()
            await process.wait()
            await rest


async def answered_from_documents(base: str, email: str, password: str) -> str:
    """The newest message whose answer has citations."""
    async with httpx.AsyncClient(base_url=base) as client:
        token = (await client.post("/login", json={"email": email, "password": password})).json()["access_token"]
        page, headers = "/messages?limit=100", {"Authorization": f"Bearer {token}"}
        while page:
            answer = await client.get(page, headers=headers)
            for message in answer.json():
                if message["citations"]:
                    return str(message["id"])
            page = answer.links.get("next", {}).get("url", "")
    sys.exit("No answer of the demo has citations")


async def picture(browser: Browser, base: str, person: tuple[str, str], path: str, name: str, scheme: str) -> None:
    context = await browser.new_context(viewport=SIZE, color_scheme=scheme)
    window = await Window.open(context, base)
    await window.go(f"/console/{path}")
    await window.sign_in(*person)
    await settled(window)
    await window.page.wait_for_load_state("networkidle")
    await window.page.screenshot(path=FOLDER / f"{name}.png", animations="disabled")
    await context.close()
    window.is_quiet()


if __name__ == "__main__":
    asyncio.run(main())
