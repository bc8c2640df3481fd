"""HAProxy in the role of Fly's proxy and in front of a real registry, and an HTTPS proxy that leads to it.

Like Fly's proxy, HAProxy terminates TLS, balances requests over machines whose checks pass, sends each at most
`hard_limit` concurrent requests, adds Fly-… headers, and tries another machine if one refuses the connection
(https://fly.io/docs/networking/app-services/, https://fly.io/docs/networking/request-headers/,
https://fly.io/docs/reference/load-balancing/).

The host names (audifi-api.fly.dev, registry.fly.io) don't resolve here: clients use HTTPS_PROXY, with CONNECT.
"""

import base64
import json
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Self

import trustme

from tests.support.api import free_port, listens
from tests.support.waiting import wait_until

SLOTS = 8
REGISTRY_HOST = "registry.fly.io"

CONFIG = """
global
  log stdout format raw local0 notice
  stats socket {socket} mode 600 level admin
  maxconn 4000
defaults
  log global
  mode http
  timeout connect 2s
  timeout client 65s
  timeout server 65s
  timeout queue 10s
  retries 3
  option redispatch 1
  option forwardfor
frontend edge
  bind 127.0.0.1:{port} ssl crt {certificate} alpn http/1.1
  http-request set-header Fly-Client-IP %[src]
  http-request set-header Fly-Forwarded-Proto https
  http-request set-header X-Forwarded-Proto https
  use_backend registry if {{ req.hdr(host),field(1,:) -m str {registry_host} }}
  {routes}
  default_backend nowhere
backend nowhere
  http-request deny deny_status 404
backend registry
  {allowed}
  acl is_allowed var(txn.allowed) -m bool
  http-request deny deny_status 401 hdr WWW-Authenticate 'Basic realm="{registry_host}"' unless is_allowed
  server registry 127.0.0.1:{registry_port}
{backends}
"""
BACKEND = """
backend {app}
  balance leastconn
  server-template machine- 1-{slots} 127.0.0.1:1 disabled
"""


class Edge:
    """The proxy's processes, as a context manager."""

    def __init__(self, folder: Path, tokens: Mapping[str, str]) -> None:
        self._folder = folder
        self._tokens = tokens
        """The deploy token of each app."""
        self._slots: dict[str, list[str | None]] = {app: [None] * SLOTS for app in tokens}
        self._lock = threading.Lock()
        self._socket = folder / "haproxy.sock"
        self.port = free_port()
        self.registry_port = free_port()
        self.ca_file = folder / "ca.pem"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._connect: ThreadingTCPServer | None = None

    @property
    def proxy_url(self) -> str:
        assert self._connect
        return f"http://127.0.0.1:{self._connect.server_address[1]}"

    def __enter__(self) -> Self:
        ca = trustme.CA()
        ca.cert_pem.write_to_path(str(self.ca_file))
        certificate = self._folder / "edge.pem"
        ca.issue_cert("*.fly.dev", REGISTRY_HOST).private_key_and_cert_chain_pem.write_to_path(str(certificate))
        (self._folder / "haproxy.cfg").write_text(self._config(certificate))
        registry = {
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self._folder / "registry")}},
            "http": {"addr": f"127.0.0.1:{self.registry_port}", "relativeurls": True},
        }
        (self._folder / "registry.yml").write_text(json.dumps(registry))  # YAML 1.2 is a superset of JSON
        self._start("docker-registry", "serve", str(self._folder / "registry.yml"))
        self._start("haproxy", "-db", "-f", str(self._folder / "haproxy.cfg"))
        handler = type("Handler", (Connect,), {"edge": self})
        self._connect = Threading(("127.0.0.1", 0), handler)
        threading.Thread(target=self._connect.serve_forever, args=(0.05,), daemon=True).start()
        for port in (self.port, self.registry_port):
            wait_until(partial(listens, port))
        return self

    def __exit__(self, *_: object) -> None:
        if self._connect:
            self._connect.shutdown()
            self._connect.server_close()
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def route(self, app: str, machine: str, port: int, hard_limit: int) -> None:
        """Route requests to a machine."""
        with self._lock:
            slots = self._slots[app]
            number = slots.index(machine) if machine in slots else slots.index(None)
            slots[number] = machine
            server = f"{app}/machine-{number + 1}"
            self._say(f"set server {server} addr 127.0.0.1 port {port}")
            self._say(f"set maxconn server {server} {hard_limit}")
            self._say(f"set server {server} state ready")

    def drain(self, app: str, machine: str) -> None:
        """Send no new requests to a machine; outstanding ones are answered."""
        with self._lock:
            if machine in self._slots[app]:
                self._say(f"set server {app}/machine-{self._slots[app].index(machine) + 1} state drain")

    def forget(self, app: str, machine: str) -> None:
        with self._lock:
            if machine in self._slots[app]:
                number = self._slots[app].index(machine)
                self._slots[app][number] = None
                self._say(f"set server {app}/machine-{number + 1} state maint")

    def may_push(self, app: str) -> str:
        """Return the registry's Authorization header for an app's token (flyctl `internal/command/auth/docker.go`)."""
        return "Basic " + base64.urlsafe_b64encode(f"x:{self._tokens[app]}".encode()).decode()

    def _config(self, certificate: Path) -> str:
        allowed = [
            "http-request set-var(txn.allowed) bool(true) "
            f"if {{ req.hdr(authorization) -m str '{self.may_push(app)}' }} {{ path {path} }}"
            for app in self._tokens
            for path in ("/v2/", f"-m beg /v2/{app}/")
        ]
        return CONFIG.format(
            socket=self._socket,
            port=self.port,
            certificate=certificate,
            registry_host=REGISTRY_HOST,
            registry_port=self.registry_port,
            routes="\n  ".join(
                f"use_backend {app} if {{ req.hdr(host),field(1,:) -m str {app}.fly.dev }}" for app in self._tokens
            ),
            allowed="\n  ".join(allowed),
            backends="".join(BACKEND.format(app=app, slots=SLOTS) for app in self._tokens),
        )

    def _start(self, *command: str) -> None:
        name = Path(command[0]).name
        with (self._folder / f"{name}.log").open("wb") as log:
            self._processes.append(subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL))

    def _say(self, command: str) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._socket))
            connection.sendall(command.encode() + b"\n")
            answer = connection.recv(4096).decode().strip()
        assert not answer or "changed" in answer or "no need" in answer, f"{command}: {answer}"


class Threading(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


class Connect(StreamRequestHandler):
    """CONNECT (RFC 9110, 9.3.6) to the edge's host names only: a rehearsal never reaches the internet."""

    edge: Edge

    def handle(self) -> None:
        line = self.rfile.readline(1024).decode("latin-1")
        while self.rfile.readline(8192) not in {b"\r\n", b"\n", b""}:
            pass
        method, _, rest = line.partition(" ")
        host, _, port = rest.partition(" ")[0].partition(":")
        if method != "CONNECT" or port != "443" or not (host == REGISTRY_HOST or host.endswith(".fly.dev")):
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", self.edge.port)) as there:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=_copy, args=(there, self.connection), daemon=True)
            back.start()
            _copy(self.connection, there)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
