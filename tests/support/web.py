"""HTTP servers in a thread of the tests, which replace external services."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import override


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # the kernel drops more concurrent connections, and clients retry after a second


class Handler(BaseHTTPRequestHandler):
    def read(self) -> bytes:
        """Return the decompressed request body."""
        body = self.rfile.read(int(self.headers["content-length"]))
        return gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @override
    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def running[S: Server](server: S) -> Iterator[S]:
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def serving(handler: type[Handler], port: int = 0) -> Iterator[str]:
    """Serve on 127.0.0.1 while the block runs; yield the URL."""
    with running(Server(("127.0.0.1", port), handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}"
