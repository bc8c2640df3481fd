"""The spans of requests, statements and jobs, and an unavailable collector."""

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support import api as apis
from tests.support import collector as collectors
from tests.support import patient
from tests.support.api import Api
from tests.support.clients import Client, asking
from tests.support.collector import Collector
from tests.support.lines import wait_for_request
from tests.support.sendgrid import SendGrid

pytestmark = pytest.mark.slow

SERVER, CLIENT, CONSUMER = 2, 3, 5  # opentelemetry.proto.trace.v1.Span.SpanKind
TEST_ROUTES = "tests.support.api_with_test_routes"
TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"  # the specification's
PRODUCTION = {
    "ENVIRONMENT": "production",
    "SENDGRID_API_KEY": "SG.key",
    "FLY_APP_NAME": "audifi-api-staging",
    "FLY_MACHINE_ID": "148e123a456789",
    "FLY_REGION": "iad",
    "TRUSTED_PROXIES": "127.0.0.0/8",
    "OTEL_BSP_SCHEDULE_DELAY": "200",
}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collectors.running() as collector:
        yield collector


@pytest.fixture(scope="module")
def api(
    tmp_path_factory: pytest.TempPathFactory, database_url: str, shared_sendgrid: SendGrid, collector: Collector
) -> Iterator[Api]:
    settings = {
        **PRODUCTION,
        "DATABASE_URL": database_url,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "SENDGRID_API_URL": shared_sendgrid.url,
    }
    with apis.running(tmp_path_factory.mktemp("api"), TEST_ROUTES, **settings) as running:
        yield running


def test_request_span_is_in_the_callers_trace(api: Api, collector: Collector) -> None:
    headers = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01", "X-Request-ID": "traced"}
    patient.get(f"{api.url}/test/slow?seconds=0&token=s3cr3t", headers=headers)
    span = collector.wait_for(lambda span: span.trace_id == TRACE_ID)

    assert (span.name, span.kind, span.parent_id) == ("GET /test/slow", SERVER, PARENT_ID)
    assert span.attributes == {
        "http.request.method": "GET",
        "http.route": "/test/slow",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "network.protocol.name": "http",
    }
    assert not span.is_error
    assert wait_for_request(api, "traced")["trace_id"] == TRACE_ID
    expected = {
        "service.name": "audifi-api",
        "service.version": "0.1.0",
        "deployment.environment.name": "audifi-api-staging",
        "cloud.region": "iad",
        "host.id": "148e123a456789",
    }
    assert expected.items() <= span.resource.items()


def test_statement_span_has_no_values(api: Api, collector: Collector) -> None:
    patient.get(f"{api.url}/test/slow-query?seconds=0.25", headers={"X-Request-ID": "with-a-query"})
    trace_id = wait_for_request(api, "with-a-query")["trace_id"]
    request = collector.wait_for(lambda span: span.trace_id == trace_id and span.kind == SERVER)
    statement = collector.wait_for(lambda span: span.trace_id == trace_id and span.kind == CLIENT)

    assert (statement.name, statement.parent_id) == ("SELECT", request.span_id)
    assert re.fullmatch(r"SELECT pg_sleep\(\$1\S*\)", statement.attributes["db.query.text"])
    assert statement.attributes["db.system.name"] == "postgresql"
    assert "0.25" not in str(statement.attributes)


def test_read_is_a_span(api: Api, collector: Collector) -> None:
    patient.get(f"{api.url}/test/read?value=a-private-value", headers={"X-Request-ID": "with-a-read"})
    trace_id = wait_for_request(api, "with-a-read")["trace_id"]
    statement = collector.wait_for(lambda span: span.trace_id == trace_id and span.kind == CLIENT)

    assert statement.name == "SELECT"
    assert statement.attributes["db.query.text"].startswith("SELECT $1")
    assert "a-private-value" not in str(statement.attributes)


def test_failed_span_has_the_error_type_alone(api: Api, collector: Collector) -> None:
    name = {"X-Request-ID": "failing-traced"}
    assert patient.post(f"{api.url}/test/marks?name=s3cr3t&fail=true", headers=name).status_code == 500
    trace_id = wait_for_request(api, "failing-traced")["trace_id"]
    request = collector.wait_for(lambda span: span.trace_id == trace_id and span.kind == SERVER)
    statement = collector.wait_for(lambda span: span.trace_id == trace_id and span.kind == CLIENT)

    assert request.is_error
    assert request.attributes["error.type"] == "internal"
    assert statement.is_error
    assert statement.attributes["error.type"] == "42P01"  # undefined_table
    assert "s3cr3t" not in str(collector.bodies)


def test_job_is_a_trace_without_secrets(api: Api, collector: Collector, shared_sendgrid: SendGrid) -> None:
    with asking(api.url) as http:
        client = Client(http, shared_sendgrid)
        mail = client.request_mail()
        client.sign_in()
    job = collector.wait_for(lambda span: span.name == "job sign_in_email")
    collector.wait_for(lambda span: span.name == "POST /api/v1/auth/magic-link/verify")
    within = collector.wait_for(lambda span: span.parent_id == job.span_id)

    assert (job.kind, job.parent_id, within.trace_id) == (CONSUMER, "", job.trace_id)
    sent = b"".join(collector.bodies)
    for secret in (client.email, mail.token, mail.code, *client.tokens.values(), client.ip):
        assert str(secret).encode() not in sent


def test_pollers_are_not_traced(api: Api, collector: Collector) -> None:
    """Looking for jobs, putting counts together: many times a minute."""
    patient.get(f"{api.url}/test/slow?seconds=1.5")
    collector.wait_for(lambda span: span.name == "GET /test/slow")

    roots = {span.name for span in collector.spans if not span.parent_id}
    assert all(re.match(r"[A-Z_]+ (/|unmatched)|job ", name) for name in roots), roots


def test_last_spans_are_exported_at_shutdown(tmp_path: Path, database_url: str, collector: Collector) -> None:
    settings = {**PRODUCTION, "DATABASE_URL": database_url, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    with apis.running(
        tmp_path, TEST_ROUTES, **settings | {"OTEL_BSP_SCHEDULE_DELAY": "60000", "FLUSH_SECONDS": "10"}
    ) as api:
        last = "af7651916cd43dd8448eb211c80319c7"
        patient.get(f"{api.url}/test/slow?seconds=0", headers={"traceparent": f"00-{last}-{PARENT_ID}-01"})
        assert api.stop() == 0

    assert [span.name for span in collector.spans if span.trace_id == last] == ["GET /test/slow"]


@pytest.mark.parametrize("kind", ["refuses", "is silent"])
def test_unavailable_collector_delays_nothing(tmp_path: Path, database_url: str, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
        port = listener.getsockname()[1] if kind == "is silent" else apis.free_port()
        away = f"http://127.0.0.1:{port}"
        settings = {**PRODUCTION, "DATABASE_URL": database_url, "OTEL_EXPORTER_OTLP_ENDPOINT": away}
        with apis.running(tmp_path, TEST_ROUTES, **settings) as api:
            with httpx2.Client(timeout=200) as http:
                for _ in range(100):
                    assert http.get(f"{api.url}/test/slow?seconds=0").status_code == 200
            time.sleep(7)  # over an attempt, and the waits between several
            began = time.monotonic()
            assert api.stop() == 0
    assert time.monotonic() - began < 12
    assert api.log().count("trace export failed") == 1
    assert "opentelemetry" not in api.log()


def test_sdk_is_not_imported_without_endpoint() -> None:
    """FastAPI imports OpenTelemetry's API by itself, which does nothing without it."""
    code = (
        "import sys; from audifi.app import create_app; from audifi.core.config.settings import Settings, load;"
        " from audifi.services import build_services;"
        " create_app(build_services(load(Settings))); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=apis.environment(**apis.MINIMAL), capture_output=True, text=True, check=True
    )
    imported = done.stdout.split()

    assert "fastapi" in imported
    unwanted = (
        "opentelemetry.sdk",
        "opentelemetry.exporter",
        "google.protobuf",
        "requests",
        "audifi.core.telemetry.tracing",
    )
    assert [name for name in imported if name.startswith(unwanted)] == []
