"""`DATABASE_URL` as hosting providers hand it out: each parameter of libpq is translated or refused by name.

A parameter that nobody knows would otherwise be a TypeError, or a setting that the server refuses, at each connection.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from pydantic import SecretStr

APPLICATION_NAME = "llm-saas-backend"
SCHEMES = {"postgres", "postgresql", "postgresql+asyncpg"}
SSL_MODES = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}
SESSION_ATTRIBUTES = {"any", "primary", "standby", "prefer-standby", "read-write", "read-only"}
# The driver knows these itself.
TLS_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
PASSED = {
    "host", "port", "passfile", "sslmode", *TLS_FILES, "sslpassword", "sslnegotiation", "ssl_min_protocol_version",
    "ssl_max_protocol_version", "target_session_attrs", "krbsrvname", "gsslib",
}  # fmt: skip
# The values of parameters that ask for what happens anyway.
HARMLESS = {
    "channel_binding": {"disable", "prefer"},
    "gssencmode": {"disable", "prefer"},
    "load_balance_hosts": {"disable"},
    "client_encoding": {"utf8", "utf-8", "auto"},
}
TRANSLATED = {"connect_timeout", "application_name", "fallback_application_name", "options"}
INSTEAD = {
    "channel_binding": "the driver has no channel binding; sslmode=verify-full shuts out a man in the middle too",
    "pgbouncer": "leave it out, a pooler is recognised",
    "statement_cache_size": "set DB_STATEMENT_CACHE_SIZE instead",
    "prepared_statement_cache_size": "set DB_STATEMENT_CACHE_SIZE instead",
    "connection_limit": "set DB_POOL_SIZE instead",
    "pool_timeout": "leave it out",
    "statement_timeout": "set DB_STATEMENT_TIMEOUT_SECONDS instead",
    "user": "write it before the @",
    "password": "write it before the @",
    "dbname": "write it after the /",
}


def with_password(url: str, password: str | SecretStr) -> str:
    """The URL with the password, which may hold any character; raises `ValueError` if there is one, or no user."""
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    user, at, host = authority.rpartition("@")
    if not user or ":" in user:
        raise ValueError("a password apart from the URL needs a user in the URL, and no password there")
    given = password.get_secret_value() if isinstance(password, SecretStr) else password
    return f"{scheme}{separator}{user}:{quote(given, safe='')}{at}{host}{slash}{path}"


def checked_url(value: str) -> str:
    """The URL in the form that is used here; raises `ValueError`, which names what is wrong and quotes nothing."""
    scheme, separator, rest = value.partition("://")
    if not separator:
        raise ValueError("must be a URL such as postgresql+asyncpg://user:password@host:5432/name")
    if scheme not in SCHEMES:
        raise ValueError("only PostgreSQL is supported: use a postgresql+asyncpg:// URL")
    address, _, query = rest.partition("?")
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    authority, slash, name = address.partition("/")
    user, at, hosts = authority.rpartition("@")
    if "," in hosts:  # the driver tries them in order; a URL of SQLAlchemy's names them as a parameter
        parameters.setdefault("host", hosts)
        authority = user + at
    _check_port(authority)
    if (tls := parameters.pop("ssl", None)) is not None:  # as other drivers name it
        parameters.setdefault("sslmode", {"true": "require", "1": "require", "false": "disable"}.get(tls, tls))
    for parameter, given in parameters.items():
        _check(parameter, given)
    _check_authorities(parameters)
    address = authority + slash + name
    return f"postgresql+asyncpg://{address}" + (f"?{urlencode(parameters)}" if parameters else "")


def driver_options(query: Mapping[str, str], connect_timeout: float) -> dict[str, Any]:
    """What a checked URL's parameters are to `asyncpg.connect`; `sslrootcert=system` is left to the caller."""
    name = query.get("application_name") or query.get("fallback_application_name") or APPLICATION_NAME
    settings = {"application_name": name}
    if query.get("options"):
        settings["options"] = query["options"]
    options: dict[str, Any] = {
        "timeout": float(query.get("connect_timeout") or 0) or connect_timeout,
        "server_settings": settings,
    }
    passed = {name: value for name, value in query.items() if name in PASSED}
    if trusts_the_system(passed):
        passed = {name: value for name, value in passed.items() if not name.startswith("ssl")}
    if passed:
        options["dsn"] = f"postgresql://?{urlencode(passed)}"
    return options


def trusts_the_system(query: Mapping[str, str]) -> bool:
    """Whether the server's certificate is held to the authorities that this machine trusts."""
    root = query.get("sslrootcert")
    if query.get("sslmode") != "verify-full":
        return False
    return root == "system" or (root is None and not _default_root().is_file())


def _check_port(authority: str) -> None:
    try:
        _ = urlsplit(f"postgresql://{authority.rpartition('@')[2]}").port
    except ValueError:
        raise ValueError("the port must be a number") from None


def _check(parameter: str, value: str) -> None:
    if parameter in HARMLESS and value.lower() in HARMLESS[parameter]:
        return
    if parameter not in PASSED | TRANSLATED:
        known = parameter if parameter.isidentifier() and len(parameter) < 40 else "a parameter"
        raise ValueError(f"{known} in the URL is not supported: {INSTEAD.get(parameter, 'leave it out')}")
    choices = {"sslmode": SSL_MODES, "target_session_attrs": SESSION_ATTRIBUTES}.get(parameter)
    if choices and value not in choices:
        raise ValueError(f"{parameter} in the URL must be one of {', '.join(sorted(choices))}")
    if parameter == "connect_timeout" and not value.isdecimal():
        raise ValueError("connect_timeout in the URL must be whole seconds")
    if parameter in TLS_FILES and value != "system" and not Path(value).is_file():
        raise ValueError(f"{parameter} in the URL names a file that is not there")


def _check_authorities(parameters: Mapping[str, str]) -> None:
    mode, root = parameters.get("sslmode"), parameters.get("sslrootcert")
    if root == "system" and mode != "verify-full":
        raise ValueError("sslrootcert=system in the URL needs sslmode=verify-full")
    if mode == "verify-ca" and root is None and not _default_root().is_file():
        raise ValueError("sslmode=verify-ca in the URL needs sslrootcert; sslmode=verify-full trusts this machine's")
    if trusts_the_system(parameters):
        for parameter in ("sslcrl", "ssl_min_protocol_version", "ssl_max_protocol_version"):
            if parameter in parameters:
                raise ValueError(f"{parameter} in the URL needs sslrootcert")


def _default_root() -> Path:
    return Path.home() / ".postgresql" / "root.crt"
