"""One form for every line of the log, ours and the libraries': JSON, or in development what a person reads with ease.

Names of fields are OpenTelemetry's, where it has one (docs/decisions/0020-one-line-a-request.md).
"""

import json
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TextIO


@contextmanager
def _without_rich() -> Iterator[None]:
    """structlog imports rich where it finds it, which takes longer than all the rest of it together."""
    hidden = "rich" not in sys.modules
    if hidden:
        sys.modules["rich"] = None  # type: ignore[assignment] # as the import system marks what can't be imported
    try:
        yield
    finally:
        if hidden:
            del sys.modules["rich"]


with _without_rich():
    import structlog
    from structlog.stdlib import ExtraAdder, ProcessorFormatter, add_log_level, add_logger_name

if TYPE_CHECKING:
    from structlog.typing import EventDict, FilteringBoundLogger, Processor

REQUESTS = "audifi.requests"
EXTRA = ["request_id", "exception", "error.type"]
"""What a line may be given by `extra`."""
PLACE = {"host.id": "FLY_MACHINE_ID", "cloud.region": "FLY_REGION"}
"""Fields that tell where the process runs, by the variable that Fly sets."""
IN_MESSAGE = {*PLACE, "http.request.method", "http.route", "http.response.status_code"}
"""A person has read these already, or has only one machine."""
SECRET = re.compile(r"[\w-]{40,}|[^\s@<>\"'(),;:=/]+@[^\s@<>\"'(),;:=/]+\.[A-Za-z]{2,}", re.ASCII)
"""What may be a token, or an address. Those who write lines leave them out; this is for what libraries say."""

current_request_id: ContextVar[str] = ContextVar("current_request_id", default="")
"""Of the request on whose behalf a line is written; empty outside of one."""
current_trace_id: ContextVar[str] = ContextVar("current_trace_id", default="")
"""Of the trace that the request belongs to, 32 hexadecimal digits; empty where nothing is traced."""


def configure(stream: TextIO = sys.stdout) -> None:
    """Send all lines to `stream`; Fly reads standard output and standard error alike.

    They are JSON, unless ENVIRONMENT is `development` or `stream` is a terminal. From the environment itself: settings
    that can't be read have to be told of, too.
    """
    is_terminal = stream.isatty()
    if is_terminal or os.environ.get("ENVIRONMENT") == "development":
        render: list[Processor] = [_shortened, structlog.dev.ConsoleRenderer(colors=is_terminal, pad_event_to=0)]
    else:
        place = {field: value for field, name in PLACE.items() if (value := os.environ.get(name))}
        render = [_JSON(place)]
    now = structlog.processors.TimeStamper(fmt="iso", utc=True)
    chain: Sequence[Processor] = [
        add_log_level,
        add_logger_name,
        ExtraAdder(EXTRA),
        _with_request,
        _with_exception,
        _without_secrets,
        now,
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        ProcessorFormatter(foreign_pre_chain=chain, processors=[ProcessorFormatter.remove_processors_meta, *render])
    )
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[add_log_level, now, *render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )


def requests() -> "FilteringBoundLogger | None":
    """For the lines of requests: a short way to the same stream, in the same form. None before `configure`."""
    return structlog.get_logger().bind(logger=REQUESTS) if structlog.is_configured() else None


def _with_request(_logger: Any, _method: str, line: "EventDict") -> "EventDict":
    for field, value in (("request_id", current_request_id.get()), ("trace_id", current_trace_id.get())):
        if value:
            line.setdefault(field, value)
    return line


def _with_exception(_logger: Any, _method: str, line: "EventDict") -> "EventDict":
    """Without what errors say of values, which Python's own tracebacks repeat."""
    error = line.pop("exc_info", None)
    if isinstance(error, tuple) and error[1] is not None:
        from audifi.core.http.middleware.errors import trace  # noqa: PLC0415 - it imports this module

        line["exception"] = trace(error[1])
    return line


def _without_secrets(_logger: Any, _method: str, line: "EventDict") -> "EventDict":
    for field in ("event", "exception"):
        if field in line:
            line[field] = SECRET.sub("REDACTED", line[field])
    return line


def _shortened(_logger: Any, _method: str, line: "EventDict") -> "EventDict":
    return {field: value for field, value in line.items() if field not in IN_MESSAGE}


class _JSON:
    """A line of JSON, its most telling fields first."""

    def __init__(self, place: dict[str, str]) -> None:
        self._place = place
        self._encode = json.JSONEncoder(default=str).encode

    def __call__(self, _logger: Any, _method: str, line: "EventDict") -> str:
        exception = line.pop("exception", None)
        told = {
            "timestamp": line.pop("timestamp"),
            "level": line.pop("level"),
            "logger": line.pop("logger"),
            "message": line.pop("event"),
            **line,
            **self._place,
        }
        if exception:
            told["exception.stacktrace"] = exception
        return self._encode(told)
