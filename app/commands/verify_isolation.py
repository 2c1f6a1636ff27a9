"""`verify-isolation`: proofs on a deployment that is there, or on the installed code in this process."""

import argparse
import asyncio
import hashlib
import hmac
import json
import os
import signal
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from urllib.parse import urlsplit

from app import __version__
from app.application import create_app
from app.core.config import Settings
from app.core.errors import EmailTaken, TenantNameTaken
from app.core.filelock import FileLock
from app.core.principal import Origin
from app.core.security import PasswordHasher
from app.db.provision import ready_database
from app.reach import HOME, places_of
from app.residency.places import Places
from app.services.tenant_service import CreationPolicy, FirstAdmin, TenantService
from app.serving import served_on_loopback
from app.verification.database import Site
from app.verification.page import page_of
from app.verification.progress import Progress
from app.verification.report import Report
from app.verification.run import Verification
from app.verification.statements import heard
from app.verification.tenants import Credentials, ThrowawayTenants
from app.verification.wire import Wire

# Without a URL of a database a service of this machine has the embedded one; another machine's is not to be had.
HERE = ("localhost", "127.0.0.1", "::1")
# Of a process that is there for these requests alone: no port but its own, and nothing to read but the report.
ALONE = {"log_level": "ERROR", "metrics_port": 0, "otel_exporter_otlp_endpoint": "", "trusted_hosts": []}


def verify_isolation(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print the report, and write it where it is wanted; the exit status: 0 holds, 1 a leak, 2 not verified."""
    report = asyncio.run(_interruptible(arguments, settings))
    print("\n".join(report.lines()))
    if arguments.report is not None:
        write(report, Path(arguments.report))
    return report.status


def write(report: Report, directory: Path) -> None:
    """As JSON, and as a page to read; raises `OSError`."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "isolation.json").write_text(json.dumps(report.to_json(), indent=2) + "\n", "utf-8")
    (directory / "isolation.html").write_text(page_of(report), "utf-8")


async def _interruptible(arguments: argparse.Namespace, settings: Settings) -> Report:
    """SIGTERM ends the run as Ctrl-C does: what was made is erased first."""
    task = asyncio.current_task()
    if task is not None and sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await verified(settings, arguments.url, arguments.model)


async def verified(settings: Settings, url: str | None = None, model: str = "") -> Report:
    """`url`: of the service; None: the installed code is served for these requests, in this process.

    Raises AppError, UnusableSetting.
    """
    progress = Progress()
    async with AsyncExitStack() as stack:
        of_its_own = bool(settings.database_url or settings.region_urls())
        places = None
        if url is None or of_its_own or urlsplit(url).hostname in HERE:
            if not of_its_own:  # the embedded server, which is not to be begun twice
                embedded = await stack.enter_async_context(ready_database(settings))
                settings = settings.model_copy(update={"database_url": embedded})
            places = await stack.enter_async_context(places_of(settings))
        app = create_app(settings.model_copy(update=ALONE))
        statements = stack.enter_context(heard()) if url is None else None
        served = await stack.enter_async_context(served_on_loopback(app)) if url is None else url
        wire = Wire(served, progress.tell)
        stack.push_async_callback(wire.close)
        create = None
        if places is not None:
            passwords = PasswordHasher(settings.bcrypt_rounds)
            stack.callback(passwords.close)
            create = partial(_create, places, passwords, settings.default_registration)
        token = settings.operator_token.get_secret_value()
        tenants = ThrowawayTenants(wire, settings.secret_keys(), token, create)
        report = Report(served, __version__, datetime.now(UTC).isoformat(timespec="seconds"))
        sites = [] if places is None else _sites(settings, places, login_counts=of_its_own)
        lock = lock_of(settings, served)
        if not lock.try_acquire():
            report.gave_up = "another run looks at this service from here: they would erase each other's tenants"
            return report
        stack.callback(lock.release)
        run = Verification(wire, tenants, report, app.openapi(), sites, model, progress, statements)
        return await run.run()


async def _create(places: Places, passwords: PasswordHasher, registration: str, credentials: Credentials) -> bool:
    policy = CreationPolicy(registration=registration)
    try:
        await TenantService(places, passwords, Origin(), policy).create_by_operator(
            credentials.tenant_name, FirstAdmin(credentials.email, credentials.password)
        )
    except (TenantNameTaken, EmailTaken):
        return False
    return True


def lock_of(settings: Settings, url: str) -> FileLock:
    """Of who runs this here, on this service."""
    what = hmac.new(settings.secret_keys()[0].encode(), f"lock {url}".encode(), hashlib.sha256).hexdigest()[:16]
    owner = os.getuid() if sys.platform != "win32" else 0
    return FileLock(Path(gettempdir()) / f"verify-isolation-{owner}-{what}.lock")


def _sites(settings: Settings, places: Places, *, login_counts: bool) -> list[Site]:
    urls = settings.region_urls() or {HOME: settings.database_url}
    return [Site(url, places.chosen(region or None), login_counts) for region, url in urls.items()]
