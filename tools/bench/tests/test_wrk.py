"""wrk itself, against a server that records what it is sent."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tools.bench import load
from tools.bench.workloads import NUMBER, Workload

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is missing")]

WORKLOAD = Workload(name="", title="", method="POST", path="/x", body={"n": NUMBER}, headers={"Key": f"key-{NUMBER}"})


@contextmanager
def recording(status: int) -> Iterator[tuple[str, list[tuple[str, str, bytes]]]]:
    requests = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append((self.headers["Authorization"], self.headers["Key"], body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 2 * load.CONNECTIONS  # wrk connects all at once

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_wrk_sends_each_user_and_no_number_twice(tmp_path: Path) -> None:
    with recording(200) as (url, requests):
        result = load.finish(load.start(url, WORKLOAD, tokens=["a", "b"], folder=tmp_path, seconds=1), WORKLOAD)

    assert result.requests > 2
    assert result.failed == 0
    assert {authorization for authorization, *_ in requests} == {"Bearer a", "Bearer b"}
    keys = [key for _, key, _ in requests]
    assert len(set(keys)) == len(keys)
    assert all(body == b'{"n": "%s"}' % key.removeprefix("key-").encode() for _, key, body in requests)


def test_wrk_counts_errors(tmp_path: Path) -> None:
    with recording(500) as (url, _):
        result = load.finish(load.start(url, WORKLOAD, tokens=["a"], folder=tmp_path, seconds=1), WORKLOAD)

    assert result.failed >= result.requests > 0
