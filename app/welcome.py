"""What a first start prints: where the docs and the console are, and the way to a first message."""

from app.core.config import Settings

TEXT = """
  Docs      {base}/docs
{console}  Data      {data}
  Stop      Ctrl-C
  Try it    three lines for a terminal: a tenant with its admin, a login, a message

  curl -s {base}/create-tenant -H 'Content-Type: application/json' \\
    -d '{{"name": "Initech", "admin": {{"email": "admin@initech.com", "password": "s3cur3P@ssw0rd"}}}}'
  TOKEN=$(curl -s {base}/login -H 'Content-Type: application/json' \\
    -d '{{"email": "admin@initech.com", "password": "s3cur3P@ssw0rd"}}' | sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/')
  curl -s {base}/messages -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \\
    -d '{{"content": "What are the benefits of async Python?"}}'
"""


LOCAL = ("127.0.0.1", "0.0.0.0", "::")  # noqa: S104 - names, nothing is bound here


def base_url(settings: Settings) -> str:
    """Where a browser on this machine finds the service."""
    return f"http://{'localhost' if settings.host in LOCAL else settings.host}:{settings.port}"


def welcome(settings: Settings) -> str:
    data = "the database of DATABASE_URL" if settings.database_url else f"{settings.data_dir} (delete it to begin anew)"
    base = base_url(settings)
    console = f"  Console   {base}/console\n" if settings.console_enabled else ""
    return TEXT.format(console=console, base=base, data=data)
