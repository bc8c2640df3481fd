"""The metrics that a running server exports, and to whom."""

import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase

import pytest

from dev.postgres import Postgres
from tests.support import api as apis
from tests.support import patient
from tests.support.api import ROOT, Api
from tests.support.clients import Client, asking, new_ip
from tests.support.exported import exported, wait_for
from tests.support.sendgrid import SendGrid

pytestmark = pytest.mark.slow  # a server for each

REQUESTS = "http_request_duration_seconds_count"


@dataclass(frozen=True, kw_only=True)
class Watched:
    api: Api
    port: int
    """Where the metrics are."""


@pytest.fixture
def watched(tmp_path: Path, migrated_database_url: str, sendgrid: SendGrid) -> Iterator[Watched]:
    port = apis.free_port()
    settings = {
        "DATABASE_URL": migrated_database_url,
        "DATABASE_POOL_SIZE": "1",
        "ENVIRONMENT": "production",
        "METRICS_PORT": str(port),
        "SENDGRID_API_KEY": "SG.key",
        "SENDGRID_API_URL": sendgrid.url,
        "TRUSTED_PROXIES": "127.0.0.0/8",
    }
    with apis.running(tmp_path, "tests.support.api_with_test_routes", **settings) as api:
        yield Watched(api=api, port=port)


def test_requests_are_counted_by_route_and_status(watched: Watched) -> None:
    for _ in range(3):
        assert patient.get(f"{watched.api.url}/test/slow?seconds=0.03").is_success
    patient.get(f"{watched.api.url}/api/v1/auth/me")
    now = wait_for(watched.port, lambda now: now.value(REQUESTS) == 4)

    assert now.value(REQUESTS, method="GET", route="/test/slow", status="200") == 3
    assert now.value(REQUESTS, method="GET", route="/api/v1/auth/me", status="401") == 1
    assert now.value("http_errors_total", code="access_token.missing") == 1
    name = "http_request_duration_seconds"
    assert 0.09 <= now.value(f"{name}_sum", route="/test/slow") < 10
    assert now.value(f"{name}_bucket", route="/test/slow", le="0.025") == 0
    assert now.value(f"{name}_bucket", route="/test/slow", le="10.0") == 3


def test_requests_in_flight_are_counted(watched: Watched) -> None:
    with socket.create_connection(("127.0.0.1", watched.api.port), timeout=10) as connection:
        connection.sendall(b"GET /test/slow?seconds=6 HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(watched.port, lambda now: now.value("http_requests_in_flight") == 1)

    now = wait_for(watched.port, lambda now: now.value("http_requests_in_flight") == 0)
    assert now.value(REQUESTS, route="/test/slow", status="499") == 1


def test_clients_can_add_no_series(watched: Watched) -> None:
    def make_up() -> None:
        word = "".join(random.choices(ascii_lowercase, k=12))
        patient.get(f"{watched.api.url}/{word}")
        patient.get(f"{watched.api.url}/api/v1/auth/sessions/{word}")
        patient.delete(f"{watched.api.url}/api/v1/auth/sessions/{word}")
        for method in ("PROPFIND", "MKCOL", "UNLOCK"):
            patient.request(method, f"{watched.api.url}/docs/{word}")
        patient.get(f"{watched.api.url}/api/v1/auth/me?{word}", headers={"X-Request-ID": word, "Host": word})
        patient.get(f"{watched.api.url}/docs/assets/{word}")

    make_up()
    wait_for(watched.port, lambda now: now.value(REQUESTS) >= 8)
    before = exported(watched.port)
    for _ in range(5):
        make_up()
    now = wait_for(watched.port, lambda now: now.value(REQUESTS) >= before.value(REQUESTS) + 40)

    assert now.values.keys() == before.values.keys()
    assert {labels["method"] for labels in now.labels(REQUESTS)} == {"GET", "DELETE", "_OTHER"}


def test_pool_shows_connections_and_waits(watched: Watched) -> None:
    def ask() -> None:
        patient.get(f"{watched.api.url}/test/slow-query?seconds=4")

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_for(watched.port, lambda now: now.value("database_pool_connections", pool="transactions", state="used") == 1)
    for thread in threads:
        thread.join()
    now = wait_for(watched.port, lambda now: now.value("database_pool_connections", state="used") == 0)

    assert now.value("database_pool_connections", pool="transactions", state="idle") == 1
    assert now.value("database_pool_connections_max", pool="transactions") == 1
    assert now.value("database_pool_wait_seconds_sum", pool="transactions") > 0.5


def test_emails_jobs_and_rate_limits_are_counted(watched: Watched, sendgrid: SendGrid) -> None:
    with asking(watched.api.url) as http:
        client = Client(http, sendgrid)
        client.request_mail()
        wait_for(watched.port, lambda now: now.value("emails_total", result="sent") == 1)
        sendgrid.status = 400
        client.ip = new_ip()
        assert client.request().status_code == 202
        now = wait_for(watched.port, lambda now: now.value("jobs_total", result="failed") == 1)
        assert now.value("emails_total", result="failed") == 1
        assert now.value("jobs_total", job="sign_in_email", result="succeeded") == 1
        while client.request().status_code == 202:
            pass
    now = wait_for(watched.port, lambda now: now.value("rate_limit_exceeded_total") == 1)
    assert [labels["limit"].startswith("sign-in-") for labels in now.labels("rate_limit_exceeded_total")] == [True]
    assert now.value("http_errors_total", code="rate_limit.exceeded") == 1


def test_probes_are_counted_by_result(tmp_path: Path, own_postgres: Postgres) -> None:
    port = apis.free_port()
    with apis.running(tmp_path, DATABASE_URL=own_postgres.url(), METRICS_PORT=str(port)) as api:
        results = {labels["result"] for labels in exported(port).labels("database_probes_total")}
        assert results == {"connected", "read_only", "saturated", "disconnected"}
        assert exported(port).value("database_probes_total") == 0
        assert api.get_health().status_code == 200
        assert exported(port).value("database_probes_total", result="connected") == 1
        own_postgres.signal(signal.SIGSTOP)
        time.sleep(1.1)  # for as long the last probe's result is used again
        assert api.get_health().status_code == 503
        now = wait_for(port, lambda now: now.value("database_probes_total", result="disconnected") == 1)
        own_postgres.signal(signal.SIGCONT)
    assert now.value("database_probes_total", result="connected") == 1


def test_process_loop_and_version_are_exported(watched: Watched) -> None:
    now = wait_for(watched.port, lambda now: now.value("event_loop_lag_seconds_count") >= 1)

    assert now.value("process_resident_memory_bytes") > 10_000_000
    assert now.value("process_cpu_seconds_total") > 0
    assert [labels["version"] for labels in now.labels("audifi_build_info")] == ["0.1.0"]


# Access


def test_public_port_has_no_metrics(watched: Watched) -> None:
    for path in ("/metrics", "/api/v1/metrics", "/docs/metrics"):
        assert patient.get(watched.api.url + path).status_code == 404


def test_without_port_nothing_listens(health_api: Api) -> None:
    """Two servers on one machine don't fight for it."""
    listening = [line.split() for line in Path(f"/proc/{health_api.process.pid}/net/tcp").read_text().splitlines()[1:]]
    sockets = {
        link.readlink().name for link in Path(f"/proc/{health_api.process.pid}/fd").iterdir() if link.is_symlink()
    }
    ports = {
        int(line[1].split(":")[1], 16) for line in listening if line[3] == "0A" and f"socket:[{line[9]}]" in sockets
    }

    assert ports == {health_api.port}


def test_taken_metrics_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        settings = apis.environment(
            HOST="127.0.0.1",
            PORT=str(apis.free_port()),
            METRICS_PORT=str(port),
            **apis.MINIMAL,
        )
        command = [sys.executable, "-m", "audifi.serve"]
        done = subprocess.run(
            command, env=settings, cwd=ROOT / "server", capture_output=True, text=True, timeout=250, check=False
        )

    assert done.returncode == 1
    assert done.stderr.endswith(
        f"METRICS_PORT: can't listen on 127.0.0.1:{port}: Address already in use."
        " Stop what listens there, or set METRICS_PORT to another.\n"
    )


def test_hanging_scrape_does_not_delay_shutdown(watched: Watched) -> None:
    with socket.create_connection(("127.0.0.1", watched.port)) as connection:
        connection.sendall(b"GET /metrics HT")
        began = time.monotonic()
        assert watched.api.stop(signal.SIGTERM) == 0
    assert time.monotonic() - began < 15
