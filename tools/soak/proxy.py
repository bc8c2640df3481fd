"""HAProxy in the role of Fly's proxy: it sends the server at most fly.toml's `hard_limit` requests at a time.

Above the limit, requests wait in the proxy, as on Fly (https://fly.io/docs/reference/concurrency/), and any idle
connection to the server is used again: the server accepts one in each turn of its event loop, which are long under load
(https://github.com/libuv/libuv/pull/3696). `soft_limit` chooses between machines, and here is only one. Without TLS,
which would cost the load more than the server.
"""

import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.api import ROOT, free_port, listens
from tests.support.waiting import wait_until

ADVICE = "the overload needs HAProxy: apt-get install --no-install-recommends haproxy"
QUEUE_SECONDS = 20
"""Then the proxy itself answers 503."""
CONFIG = """
global
  maxconn 4000
defaults
  mode http
  timeout connect 5s
  timeout client 65s
  timeout server 65s
  timeout queue {queue_seconds}s
  option forwardfor
  http-reuse always
listen fly
  bind 127.0.0.1:{port}
  server machine 127.0.0.1:{server_port} maxconn {hard_limit}
"""


def is_installed() -> bool:
    return shutil.which("haproxy") is not None


def hard_limit() -> int:
    fly = tomllib.loads((ROOT / "server" / "fly.toml").read_text())
    return int(fly["http_service"]["concurrency"]["hard_limit"])


@contextmanager
def running(server_port: int) -> Iterator[int]:
    """Run it in front of a server while the block runs, and yield its port."""
    port = free_port()
    with TemporaryDirectory(prefix="audifi-soak-") as folder:
        file = Path(folder) / "haproxy.cfg"
        file.write_text(
            CONFIG.format(port=port, server_port=server_port, hard_limit=hard_limit(), queue_seconds=QUEUE_SECONDS)
        )
        with subprocess.Popen(["haproxy", "-db", "-q", "-f", file], stdin=subprocess.DEVNULL) as process:
            try:
                wait_until(partial(listens, port))
                yield port
            finally:
                process.terminate()
