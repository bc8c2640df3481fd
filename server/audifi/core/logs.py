"""One form for every log line."""

import logging
import sys
from contextvars import ContextVar
from typing import TextIO

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s%(of_request)s"

current_request_id: ContextVar[str] = ContextVar("current_request_id", default="")
"""Of the request on whose behalf a line is written; empty outside of one."""


def configure(stream: TextIO = sys.stdout) -> None:
    """Send all lines, ours and the libraries', to `stream`; Fly reads standard output and standard error alike."""
    handler = logging.StreamHandler(stream)
    handler.addFilter(_name_request)
    logging.basicConfig(handlers=[handler], level=logging.INFO, format=FORMAT, force=True)


def _name_request(record: logging.LogRecord) -> bool:
    """Unless the line does it itself."""
    name = current_request_id.get()
    record.of_request = f" (request {name})" if name and f"(request {name})" not in record.getMessage() else ""
    return True
