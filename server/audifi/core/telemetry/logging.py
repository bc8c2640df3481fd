"""The log: one JSON object per line, or readable text in development.

Fields have OpenTelemetry's names where it has one (docs/decisions/0020-telemetry.md).
"""

import asyncio
import atexit
import json
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO, override

import orjson

from audifi.core.telemetry.context import current_request_id, current_trace_id
from audifi.core.telemetry.redaction import format_traceback, redact

type Fields = dict[str, Any]
type Render = Callable[[Fields], str]

REQUESTS = "audifi.requests"
FLUSH_SECONDS = 0.1
"""How long a request's line waits for others. A killed process loses the lines of this time."""
MAX_BUFFERED_LINES = 1000
EXTRA_FIELDS = ("request_id", "error.type")
"""Fields that a log call may pass in `extra`, beside `exception`, a formatted traceback."""
HOST_FIELDS = {"host.id": "FLY_MACHINE_ID", "cloud.region": "FLY_REGION"}
"""Fields that identify the machine, and the environment variables that hold them."""
OMITTED_IN_DEVELOPMENT = {
    *("timestamp", "level", "logger", "message"),  # have places of their own
    *("http.request.method", "http.route", "http.response.status_code"),  # are in the message
    *HOST_FIELDS,
    "exception.stacktrace",
}


class Formatter(logging.Formatter):
    """Formats the records of our loggers and of libraries' alike."""

    def __init__(self, render: Render) -> None:
        super().__init__()
        self._render = render

    @override
    def format(self, record: logging.LogRecord) -> str:
        fields: Fields = {
            "timestamp": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        context = {"request_id": current_request_id.get(), "trace_id": current_trace_id.get()}
        fields |= {name: value for name, value in context.items() if value}
        fields |= {name: record.__dict__[name] for name in EXTRA_FIELDS if name in record.__dict__}
        exception = record.__dict__.get("exception")
        if record.exc_info and record.exc_info[1]:
            exception = format_traceback(record.exc_info[1])
        if exception:
            fields["exception.stacktrace"] = redact(exception)
        return self._render(fields)


class RequestLog:
    """Writes a line per request. Lines are collected and written together: a system call each costs more than the rest.

    For use in one event loop, whose thread also writes.
    """

    def __init__(self, handler: logging.StreamHandler[TextIO], render: Render) -> None:
        """
        Args:
            handler: whose stream and lock are used, so that no line ends up within another.
            render: makes a line of fields.
        """
        self._handler = handler
        self._render = render
        self._lines: list[str] = []

    def write(self, message: str, fields: Fields) -> None:
        head = {"timestamp": datetime.now(UTC), "level": "info", "logger": REQUESTS, "message": message}
        self._lines.append(self._render(head | fields) + "\n")
        if len(self._lines) == 1:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
        elif len(self._lines) >= MAX_BUFFERED_LINES:
            self.flush()

    def flush(self) -> None:
        lines, self._lines = self._lines, []
        if not lines:
            return
        self._handler.acquire()
        try:
            with suppress(OSError, ValueError):  # the stream was closed: requests go on without a log
                self._handler.stream.write("".join(lines))
                self._handler.flush()
        finally:
            self._handler.release()


_request_log: RequestLog | None = None


def configure(stream: TextIO = sys.stdout) -> None:
    """Write all log lines to `stream`; Fly reads standard output and standard error alike.

    They are JSON, unless ENVIRONMENT is `development` or `stream` is a terminal. This reads the environment itself,
    because errors in the settings are logged, too.
    """
    global _request_log  # noqa: PLW0603 - one log per process, as of Python's own
    is_development = stream.isatty() or os.environ.get("ENVIRONMENT") == "development"
    render = render_text if is_development else _json_renderer()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Formatter(render))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.captureWarnings(capture=True)
    _request_log = RequestLog(handler, render)
    atexit.register(flush)


def request_log() -> RequestLog | None:
    """Return where requests are logged; None before `configure`."""
    return _request_log


def flush() -> None:
    """Write the lines of requests that wait. The interpreter calls it at its end; `os._exit` doesn't."""
    if _request_log:
        _request_log.flush()


def render_text(fields: Fields) -> str:
    """Return a line for a person's eyes: `2026-01-31T12:00:00Z [info     ] message [logger] name=value`."""
    details = "".join(f" {name}={value}" for name, value in fields.items() if name not in OMITTED_IN_DEVELOPMENT)
    timestamp = fields["timestamp"].isoformat().replace("+00:00", "Z")
    line = f"{timestamp} [{fields['level']:<9}] {fields['message']} [{fields['logger']}]{details}"
    exception = fields.get("exception.stacktrace")
    return f"{line}\n{exception}" if exception else line


def _json_renderer() -> Render:
    host = {field: value for field, name in HOST_FIELDS.items() if (value := os.environ.get(name))}

    def render_json(fields: Fields) -> str:
        fields = fields | host
        try:
            return orjson.dumps(fields, default=str, option=orjson.OPT_UTC_Z).decode()
        except TypeError:  # half of a surrogate pair, say in a file's name
            return json.dumps(fields, default=str)

    return render_json
