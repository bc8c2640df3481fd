"""The object storage that all workers of a test run share. The first test that needs it starts it."""

import fcntl
import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from dev import files
from tests.support.api import FILES
from tests.support.databases import data_folder


@contextmanager
def shared() -> Iterator[None]:
    """Keep a place for the storage while the block runs, in TEST_FILES; then end it, if it was started."""
    with TemporaryDirectory(prefix="audifi-files-", dir=data_folder(), ignore_cleanup_errors=True) as folder:
        os.environ["TEST_FILES"] = folder
        yield
        with suppress(FileNotFoundError, psutil.NoSuchProcess):
            process = psutil.Process(json.loads(_state(Path(folder)).read_text())["pid"])
            process.send_signal(signal.SIGKILL)  # its data is deleted, too
            process.wait(10)


def variables() -> Mapping[str, str]:
    """Return the settings for the shared storage, once it serves."""
    folder = Path(os.environ["TEST_FILES"])
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _state(folder).exists():
            started = files.start(folder / "data", key_id=FILES["FILES_KEY_ID"], secret=FILES["FILES_SECRET"])
            _state(folder).write_text(json.dumps({"pid": started.process.pid, **started.variables}))
            STARTED.append(started)
            started.wait()
    return {name: value for name, value in json.loads(_state(folder).read_text()).items() if name != "pid"}


STARTED: list[files.Files] = []  # a Popen that is collected while its process runs warns


def _state(folder: Path) -> Path:
    return folder / "storage.json"
