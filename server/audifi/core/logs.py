"""One form for every log line."""

import logging
import sys
from typing import TextIO


class AccessFilter(logging.Filter):
    """Leaves health out of uvicorn's access log, which anyone could flood by it, and the query out of every line."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not isinstance(record.args, tuple) or len(record.args) != 5:  # noqa: PLR2004 - uvicorn's
            return True
        client, method, path, version, status = record.args
        path = str(path).partition("?")[0]
        record.args = (client, method, path, version, status)
        return not path.endswith("/health")


def configure(stream: TextIO = sys.stdout) -> None:
    """Send all lines, ours and the libraries', to `stream`; Fly reads standard output and standard error alike."""
    logging.basicConfig(
        stream=stream, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    logging.getLogger("uvicorn.access").addFilter(AccessFilter())
