"""`python -m demo [--beside-others]`: the service, with the firm in its database, ready to be looked at."""

import argparse
import asyncio
import os
import secrets
import sys
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import make_url

from app.application import create_app, lifespan
from app.core.config import Settings
from app.db.provision import ready_database
from app.serving import serve, settings_or_exit
from app.welcome import base_url
from demo.firm import ADMIN, SETTINGS, USER
from demo.seed import Refused, is_there, seed

DATA_DIR = Path(".data/demo")
"""Of its own: what `make run` keeps stays as it is."""
TEXT = """
  Console   {base}/console
  Docs      {base}/docs
  Sign in   {admin} (admin), {user} (user)
  Password  {password}
  Data      {data}
  Stop      Ctrl-C
"""
UNKNOWN = "the one that was printed where the firm was made"
say = partial(print, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--beside-others", action="store_true", help="although other tenants live in the database")
    options = parser.parse_args()
    settings = settings_or_exit(_settings)
    if settings.environment != "development":
        raise SystemExit("A demo is for development: ENVIRONMENT is production")
    if len(settings.region_urls()) > 1:
        raise SystemExit("A demo has one database: DATABASE_SHARDS names several")
    try:
        password = asyncio.run(_fill(settings, beside_others=options.beside_others))
    except Refused as refusal:
        raise SystemExit(str(refusal)) from None
    data = "the database of DATABASE_URL" if settings.database_url else f"{settings.data_dir} (delete it to begin anew)"
    shown = TEXT.format(
        base=base_url(settings), admin=ADMIN.email, user=USER.email, password=password or UNKNOWN, data=data
    )
    app = create_app(settings)
    app.state.on_ready = partial(say, shown)
    serve(app)


def _settings() -> Settings:
    own: dict[str, Any] = {} if "DATA_DIR" in os.environ else {"data_dir": DATA_DIR}
    return Settings(**SETTINGS, **own)


async def _fill(settings: Settings, *, beside_others: bool) -> str | None:
    """Put the firm there, unless it is; the password of its people, None where it was made elsewhere."""
    kept = settings.data_dir / "demo-password"
    async with ready_database(settings) as url:
        owner = await asyncpg.connect(_dsn(settings.migration_database_url or settings.database_direct_url or url))
        try:
            if await is_there(owner, beside_others=beside_others):
                return kept.read_text() if kept.exists() else None
            password = _keep(kept, secrets.token_urlsafe(12))
            app = create_app(settings.model_copy(update={"log_level": "WARNING"}))
            async with lifespan(app):
                await seed(app, owner, password, say)
            return password
        finally:
            await owner.close()


def _keep(path: Path, password: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(password)
    return password


def _dsn(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


if __name__ == "__main__":
    main()
