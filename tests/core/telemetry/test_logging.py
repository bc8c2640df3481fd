"""The form of log lines, and the line of each request."""

import asyncio
import io
import json
import logging
import re
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx2
import pytest

from audifi.core.telemetry import logging as logs
from tests.support import api as apis
from tests.support import patient
from tests.support.api import Api
from tests.support.clients import Client, asking
from tests.support.lines import lines, wait_for_line, wait_for_request
from tests.support.sendgrid import SendGrid

ACCOUNT_FIELDS = {"user.id"}
FIELDS = {
    "timestamp",
    "level",
    "logger",
    "message",
    "request_id",
    "http.request.method",
    "http.route",
    "http.response.status_code",
    "duration_ms",
    "host.id",
    "cloud.region",
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, database_url: str, shared_sendgrid: SendGrid) -> Iterator[Api]:
    """As in production, on a machine of Fly's."""
    settings = {
        "ENVIRONMENT": "production",
        "SENDGRID_API_KEY": "SG.key",
        "SENDGRID_API_URL": shared_sendgrid.url,
        "FLY_MACHINE_ID": "148e123a456789",
        "FLY_REGION": "iad",
        "DATABASE_URL": database_url,
    }
    folder = tmp_path_factory.mktemp("api")
    with apis.running(folder, "tests.support.api_with_test_routes", **settings) as running:
        yield running


def ask(api: Api, path: str, name: str, method: str = "GET", **headers: str) -> httpx2.Response:
    return patient.request(method, api.url + path, headers={"X-Request-ID": name, **headers})


def test_request_has_one_line(api: Api) -> None:
    ask(api, "/test/slow?seconds=0.05&token=s3cr3t", "one-line")
    line = wait_for_request(api, "one-line")

    assert set(line) == FIELDS
    assert line["message"] == "GET /test/slow 200"
    assert (line["http.request.method"], line["http.route"]) == ("GET", "/test/slow")
    assert line["http.response.status_code"] == 200
    assert 50 <= line["duration_ms"] < 5000
    assert (line["host.id"], line["cloud.region"]) == ("148e123a456789", "iad")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{6}Z", line["timestamp"])
    assert [each for each in lines(api) if each.get("request_id") == "one-line"] == [line]
    assert "s3cr3t" not in api.log()


def test_line_of_signed_in_user_has_their_id(api: Api, shared_sendgrid: SendGrid) -> None:
    with asking(api.url) as http:
        client = Client(http, shared_sendgrid)
        client.sign_in()
        me = client.as_signed_in("GET", "/auth/me")
        session = "01a20b63-0000-7000-8000-000000000000"
        gone = client.as_signed_in("DELETE", f"/auth/sessions/{session}")

    line = wait_for_request(api, me.headers["x-request-id"])
    assert set(line) == FIELDS | ACCOUNT_FIELDS
    assert UUID(line["user.id"]) == UUID(me.json()["id"])
    line = wait_for_request(api, gone.headers["x-request-id"])
    assert line["http.route"] == "/api/v1/auth/sessions/{session_id}"
    assert session not in json.dumps(line)


@pytest.mark.parametrize(
    ("method", "path", "route", "status", "error"),
    [
        ("GET", "/api/v1/somewhere", "unmatched", 404, "not_found"),
        ("PUT", "/api/v1/health", "/api/v1/health", 405, "method_not_allowed"),
        ("PROPFIND", "/api/v1/auth/me", "/api/v1/auth/me", 405, "method_not_allowed"),
        ("GET", "/api/v1/auth/me", "/api/v1/auth/me", 401, "access_token.missing"),
    ],
)
def test_line_of_refusal_has_route_and_code(
    api: Api, method: str, path: str, route: str, status: int, error: str
) -> None:
    name = f"refused-{method}-{status}"
    answer = ask(api, path, name, method)
    line = wait_for_request(api, name)

    assert answer.status_code == line["http.response.status_code"] == status
    assert (line["http.route"], line["error.type"]) == (route, error)
    assert answer.json()["code"] == error
    assert line["http.request.method"] == (method if method != "PROPFIND" else "_OTHER")


def test_only_failing_health_has_a_line(api: Api, tmp_path: Any) -> None:
    assert ask(api, "/api/v1/health", "good-health").status_code == 200
    ask(api, "/api/v1/nowhere", "after-good-health")
    wait_for_request(api, "after-good-health")
    assert "good-health" not in api.log().replace("after-good-health", "")

    away = f"postgres://nobody@127.0.0.1:{apis.free_port()}/nothing"
    with apis.running(tmp_path, DATABASE_URL=away, ENVIRONMENT="production", SENDGRID_API_KEY="SG.key") as ill:
        assert ask(ill, "/api/v1/health", "bad-health").status_code == 503
        assert wait_for_request(ill, "bad-health")["http.response.status_code"] == 503


def test_provoked_warnings_are_logged_once(api: Api) -> None:
    for number in range(3):
        ask(api, "/api/v1/auth/me", f"upgrade-{number}", Connection="Upgrade", Upgrade="websocket")
        with socket.create_connection(("127.0.0.1", api.port), timeout=10) as connection:
            connection.sendall(b"s3cr3t nonsense\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")
    wait_for_request(api, "upgrade-2")

    assert api.log().count("Invalid HTTP request") == 1
    assert api.log().count("Unsupported upgrade request") == 1
    assert "s3cr3t nonsense" not in api.log()


def test_line_of_client_that_hung_up_has_499(api: Api) -> None:
    with socket.create_connection(("127.0.0.1", api.port), timeout=10) as connection:
        connection.sendall(b"GET /test/slow?seconds=3 HTTP/1.1\r\nHost: a\r\nX-Request-ID: hung-up\r\n\r\n")
        time.sleep(0.1)

    assert wait_for_request(api, "hung-up")["http.response.status_code"] == 499


def test_request_cut_off_by_shutdown_has_a_line(tmp_path: Any, database_url: str) -> None:
    settings = {
        "DATABASE_URL": database_url,
        "ENVIRONMENT": "production",
        "SENDGRID_API_KEY": "SG.key",
        "SHUTDOWN_TIMEOUT_SECONDS": "1",
        "SHUTDOWN_DRAIN_SECONDS": "0",
    }
    with (
        apis.running(tmp_path, "tests.support.api_with_test_routes", **settings) as stopping,
        socket.create_connection(("127.0.0.1", stopping.port), timeout=30) as connection,
    ):
        connection.sendall(b"GET /test/slow?seconds=60 HTTP/1.1\r\nHost: a\r\nX-Request-ID: cut-off\r\n\r\n")
        time.sleep(0.5)
        assert stopping.stop() == 0
        line = wait_for_request(stopping, "cut-off")

    assert line["http.response.status_code"] == 503
    assert line["error.type"] == "server.stopping"


def test_error_has_its_own_line_with_the_request_id(api: Api) -> None:
    assert ask(api, "/test/marks?name=x&fail=true", "failing", "POST").status_code == 500
    wait_for_request(api, "failing")
    [failure, request] = [line for line in lines(api) if line.get("request_id") == "failing"]

    assert (failure["level"], failure["logger"]) == ("error", "audifi.core.http.middleware.errors")
    assert "api_with_test_routes.py" in failure["exception.stacktrace"]
    assert request["http.response.status_code"] == 500
    assert request["error.type"] == "internal"


def test_library_lines_have_the_same_form(api: Api) -> None:
    line = wait_for_line(api, lambda line: line["logger"] == "uvicorn.error")

    assert set(line) == {"timestamp", "level", "logger", "message", "host.id", "cloud.region"}


# The form, without a server


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What is written to the log while the test runs; then all is as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.delenv("ENVIRONMENT", raising=False)
    yield io.StringIO()
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(capture=False)
    monkeypatch.setattr(logs, "_request_log", None)


def test_secrets_in_library_lines_are_redacted(stream: io.StringIO) -> None:
    logs.configure(stream)
    token = "art1_dGhpcy1pcy1hLXRva2VuLW9mLTMyLWJ5dGVzLW9yLW1vcmU"
    try:
        raise ValueError(f"no good: {token} of ana@example.com")  # noqa: TRY301 - with a traceback of its own
    except ValueError:
        logging.getLogger("library").exception("can't do with %s of Ana <ana@example.com>", token)
    [line] = map(json.loads, stream.getvalue().splitlines())

    assert line["message"] == "can't do with REDACTED of Ana <REDACTED>"
    assert line["exception.stacktrace"].endswith("ValueError: no good: REDACTED of REDACTED")


def test_host_name_is_not_redacted(stream: io.StringIO) -> None:
    logs.configure(stream)
    sentence = "database ep-cool-darkness-123456.us-east-2.aws.neon.tech/neondb is disconnected: TimeoutError"
    logging.getLogger("library").warning(sentence)

    assert json.loads(stream.getvalue())["message"] == sentence


def test_python_warning_is_a_line(stream: io.StringIO) -> None:
    logs.configure(stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old\nand new", stacklevel=1)

    assert "old\nand new" in json.loads(stream.getvalue())["message"]


def test_development_log_is_text(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "development")
    logs.configure(stream)
    fields = {"http.route": "/api/v1/auth/me", "duration_ms": 3.1}
    asyncio.run(write(["GET /api/v1/auth/me 200"], fields))
    logs.flush()

    assert re.fullmatch(
        r"\S+Z \[info     \] GET /api/v1/auth/me 200 \[audifi.requests\] duration_ms=3.1\n", stream.getvalue()
    )


async def write(messages: list[str], fields: dict[str, Any]) -> None:
    log = logs.request_log()
    assert log
    for message in messages:
        log.write(message, fields)


def test_request_lines_are_written_together(stream: io.StringIO) -> None:
    logs.configure(stream)

    async def run() -> None:
        await write(["one", "two"], {})
        assert stream.getvalue() == ""
        async with asyncio.timeout(10):
            while not stream.getvalue():  # noqa: ASYNC110 - a timer writes
                await asyncio.sleep(0.01)

    asyncio.run(run())
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["one", "two"]


def test_full_buffer_of_request_lines_is_written(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_BUFFERED_LINES", 3)
    logs.configure(stream)
    asyncio.run(write(["line"] * 4, {}))

    assert len(stream.getvalue().splitlines()) == 3
    logs.flush()
    assert len(stream.getvalue().splitlines()) == 4


def test_closed_stream_loses_lines_without_error(stream: io.StringIO) -> None:
    logs.configure(stream)
    asyncio.run(write(["line"], {}))
    stream.close()
    logs.flush()


def test_text_that_is_no_unicode_is_logged(stream: io.StringIO) -> None:
    logs.configure(stream)
    logging.getLogger("library").warning("file %s", "a\udcff")

    assert json.loads(stream.getvalue())["message"] == "file a\udcff"


@pytest.mark.parametrize("end", ["pass", "sys.exit(0)", "raise RuntimeError"])
def test_end_of_the_process_loses_no_line(end: str) -> None:
    code = f"""
import asyncio, sys
from audifi.core.telemetry import logging

async def run():
    logging.request_log().write("the last line", {{}})
    {end}

logging.configure()
asyncio.run(run())
"""
    done = subprocess.run([sys.executable, "-c", code], env=apis.environment(), capture_output=True, check=False)

    assert b"the last line" in done.stdout
