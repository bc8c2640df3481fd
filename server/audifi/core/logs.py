"""One form for every log line."""

import logging
import sys
from typing import TextIO


def configure(stream: TextIO = sys.stdout) -> None:
    """Send all lines, ours and the libraries', to `stream`; Fly reads standard output and standard error alike."""
    logging.basicConfig(
        stream=stream, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
