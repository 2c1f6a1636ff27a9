"""Settings: what starts, what refuses to."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import make_url

from app.core.config import Settings
from app.core.credentials.secret_key import load_or_create
from app.core.ids import new_id

GOOD = {
    "environment": "production",
    "database_url": "postgresql://u:p@localhost/x",
    "secret_key": secrets.token_hex(32),
}


def settings(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)


def test_production_starts_on_a_database_and_a_key() -> None:
    assert settings(**GOOD).database_url == "postgresql+asyncpg://u:p@localhost/x"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"database_url": ""}, "DATABASE_URL is required"),
        ({"secret_key": ""}, "at least 32 bytes"),
        ({"secret_key": "short"}, "at least 32 bytes"),
        ({"secret_key": "change-me-change-me-change-me-change-me"}, "placeholder"),
        ({"secret_key": "your-secret-key-here-0123456789abcdef"}, "placeholder"),
        ({"secret_key": "a" * 64}, "placeholder"),
        ({"bcrypt_rounds": 11}, "BCRYPT_ROUNDS"),
        ({"database_url": "sqlite:///x"}, "only PostgreSQL"),
        ({"database_url": "localhost"}, "must be a URL"),
        ({"message_timeout_seconds": 10}, "MESSAGE_TIMEOUT_SECONDS"),
        ({"llm_provider": "openai"}, "OPENAI_API_KEY"),
        ({"llm_provider": "openai", "openai_api_key": "sk-\nsk"}, "a header cannot"),
        ({"llm_provider": "openai", "openai_api_key": "sk\u2010sk"}, "a header cannot"),
        ({"openai_base_url": "llm.example.com/v1"}, "must be a URL"),
        ({"openai_base_url": "localhost:8000/v1"}, "must be a URL"),
        ({"anthropic_base_url": "ftp://llm.example.com"}, "must be a URL"),
        ({"ollama_base_url": "http://:11434"}, "must be a URL"),
        ({"ollama_base_url": "http://ollama:port"}, "must be a URL"),
        ({"openai_base_url": "https://llm.example.com/v1?key=x"}, "must be a URL"),
        ({"jwt_algorithm": "none"}, "HS256"),
        ({"rate_limit_user": "often"}, "rate limit"),
        ({"rate_limit_user": "0/minute"}, "100/minute"),
        ({"rate_limit_user": "1/second;9/minute"}, "100/minute"),
        ({"redis_url": "localhost:6379"}, "must be a URL"),
        ({"redis_url": "redis://localhost"}, "with a port"),
        ({"redis_url": "redis://:pass/word@localhost:6379"}, "with a port"),
        ({"trusted_proxies": "10.0.0.0/33"}, "IPv4|IPv6"),
    ],
)
def test_production_refuses_what_is_weak_or_missing(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        settings(**{**GOOD, **change})


def test_metrics_have_a_port_of_their_own() -> None:
    assert settings(port=0, metrics_port=0).metrics_port == 0
    with pytest.raises(ValidationError, match="METRICS_PORT must be another than PORT"):
        settings(port=8123, metrics_port=8123)


def test_the_white_space_around_a_setting_is_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    key = secrets.token_hex(32)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-a-file\n")
    monkeypatch.setenv("OPERATOR_TOKEN", f" {key}\r\n")
    monkeypatch.setenv("LLM_PROVIDER", "openai ")
    monkeypatch.setenv("OPENAI_BASE_URL", " https://llm.example.com/v1 ")
    made = settings(**GOOD)
    assert made.openai_api_key.get_secret_value() == "sk-from-a-file"
    assert made.operator_token.get_secret_value() == key
    assert (made.llm_provider, made.openai_base_url) == ("openai", "https://llm.example.com/v1")


def test_what_flows_may_go_on_until_its_time_is_nearly_over() -> None:
    assert settings().longest_stream_seconds == pytest.approx(216)
    assert settings(llm_fallbacks="mock:,mock:").longest_stream_seconds == pytest.approx(108)
    assert settings(message_timeout_seconds=61).longest_stream_seconds == 60


def test_development_makes_a_key_once_and_keeps_it(tmp_path: Path) -> None:
    (first,) = settings(data_dir=tmp_path).secret_keys()
    assert len(first) == 64
    assert settings(data_dir=tmp_path).secret_keys() == [first]
    assert (tmp_path / "secret_key").stat().st_mode & 0o077 == 0


def test_processes_that_start_together_agree_on_the_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        tries = [threads.submit(load_or_create, tmp_path / "secret_key", new_id) for _ in range(32)]
        keys = {future.result() for future in tries}
    assert len(keys) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


def test_origins_come_as_one_comma_separated_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGINS", "https://a.example, https://b.example/")
    assert settings().cors_origins == ["https://a.example", "https://b.example"]


PASSWORD_OF_ALL_KINDS = "p@ss/w#rd:%41 $x?'\\"


@pytest.mark.parametrize("name", ["database", "migration_database"])
def test_a_password_apart_from_the_url_may_hold_any_character(name: str) -> None:
    values = {
        f"{name}_url": "postgresql://user@host:5432/db?sslmode=disable",
        f"{name}_password": PASSWORD_OF_ALL_KINDS,
    }
    url = make_url(getattr(settings(**values), f"{name}_url"))
    assert (url.username, url.password, url.host, url.port, url.database) == (
        "user", PASSWORD_OF_ALL_KINDS, "host", 5432, "db",
    )  # fmt: skip


@pytest.mark.parametrize("url", ["postgresql://user:other@host/db", "postgresql://host/db"])
def test_a_second_password_or_one_of_nobody_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(ValidationError, match="apart from the URL") as refused:
        settings(database_url=url, database_password="hidden")
    assert "hidden" not in str(refused.value)


def test_without_a_url_a_password_is_nobodys() -> None:
    assert settings(database_password="hidden").database_url == ""


@pytest.mark.parametrize("changes", [{}, {"message_timeout_seconds": 61}, {"llm_fallbacks": "mock:one,mock:two"}])
def test_who_waited_for_an_equal_call_has_the_time_for_its_own(changes: dict[str, Any]) -> None:
    settings = Settings(_env_file=None, **changes)
    own = settings.llm_timeout_seconds * len(settings.llm_fallbacks) + settings.longest_stream_seconds
    assert settings.equal_call_seconds >= 0
    assert settings.equal_call_seconds + own <= settings.message_timeout_seconds
