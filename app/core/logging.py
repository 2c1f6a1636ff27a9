"""Structured logs: one JSON object a line, uvicorn's and every library's included; in a terminal, lines to read."""

import logging
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from app.core.config import Settings
from app.observability import tracing


def configure_logging(settings: Settings) -> None:
    """Route structlog and the standard library's loggers through one formatter to stdout."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _safe_exception,
    ]
    if settings.traces:
        shared.append(_name_trace)
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())
        if _is_read_by_a_person(settings)
        else structlog.processors.JSONRenderer()
    )
    # A logger that was used before keeps the list of processors that it found.
    processors = structlog.get_config()["processors"]
    processors[:] = [*shared, renderer]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    # What libraries say below this holds hosts, headers and statements. Our own lines do not pass by here.
    root.setLevel(max(logging.INFO, logging.getLevelNamesMapping()[settings.log_level]))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "alembic"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
    # The middleware writes the one line a request; these would repeat it or quote URLs and bodies.
    for name in ("uvicorn.access", "httpx", "httpx2", "openai", "anthropic", "httpcore", "httpcore2", "opentelemetry"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _name_trace(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The trace that the line belongs to, and the span."""
    if ids := tracing.ids():
        event["trace_id"], event["span_id"] = ids
    return event


def _is_read_by_a_person(settings: Settings) -> bool:
    if settings.log_format == "auto":
        return settings.environment == "development" and sys.stdout.isatty()
    return settings.log_format == "console"


def _safe_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace an exception by its type and frames: its message may quote a prompt, a row or a key."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event["exception"] = describe_exception(error)
    return event


def describe_exception(error: BaseException) -> dict[str, Any]:
    """The type, the chain of causes and the frames of an exception, without any message or value."""
    chain: list[str] = []
    frames: list[str] = []
    current: BaseException | None = error
    while current is not None and len(chain) < 5:
        chain.append(type(current).__name__)
        current = current.__cause__ or current.__context__
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        frames.append(f"{code.co_filename}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return {"type": chain[0], "causes": chain[1:], "frames": frames[-20:]}
