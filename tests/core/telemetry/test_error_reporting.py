"""What is reported to Sentry, and what isn't."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from pydantic import SecretStr

from audifi.core.telemetry.error_reporting import make_event
from tests.support import api as apis
from tests.support import patient
from tests.support import sentry as sentries
from tests.support.api import Api
from tests.support.clients import Client, asking
from tests.support.sendgrid import SendGrid
from tests.support.sentry import Sentry

pytestmark = pytest.mark.slow

PRODUCTION = {
    "ENVIRONMENT": "production",
    "SENDGRID_API_KEY": "SG.key",
    "FLY_APP_NAME": "audifi-api-staging",
    "FLY_MACHINE_ID": "148e123a456789",
    "AUDIFI_COMMIT": "1a2b3c4d",
    "TRUSTED_PROXIES": "127.0.0.0/8",
}
TEST_ROUTES = "tests.support.api_with_test_routes"
SECRET = "art1_dGhpcy1pcy1hLXRva2VuLW9mLTMyLWJ5dGVzLW9yLW1vcmU"


@pytest.fixture
def sentry() -> Iterator[Sentry]:
    with sentries.running() as sentry:
        yield sentry


def test_report_has_the_error_and_no_data_of_the_request(tmp_path: Path, database_url: str, sentry: Sentry) -> None:
    with apis.running(tmp_path, TEST_ROUTES, DATABASE_URL=database_url, SENTRY_DSN=sentry.dsn, **PRODUCTION) as api:
        answer = httpx2.post(
            f"{api.url}/test/marks?name={SECRET}&fail=true",
            headers={"Authorization": f"Bearer {SECRET}", "Cookie": f"a={SECRET}", "Fly-Client-IP": "203.0.113.7"},
            json={"email": "ana@example.com"},
        )
        assert answer.status_code == 500
        patient.get(f"{api.url}/test/nowhere")
        [event] = sentry.wait_for(1)
        assert api.stop() == 0

    assert event["transaction"] == "POST /test/marks"
    assert event["tags"] == {"request_id": answer.headers["x-request-id"], "code": "internal"}
    assert event["release"] == "audifi-api@0.1.0+1a2b3c4"
    assert (event["environment"], event["server_name"]) == ("audifi-api-staging", "148e123a456789")
    [error] = event["exception"]["values"]
    assert error["type"] == "UndefinedTableError"
    assert error["value"] == "asyncpg.exceptions.UndefinedTableError (sqlstate 42P01)"
    frames = error["stacktrace"]["frames"]
    assert any(frame["function"] == "mark" and "INSERT INTO marks" in frame["context_line"] for frame in frames)
    assert {"filename", "function", "lineno", "context_line", "in_app"} == set(frames[0])
    for received in sentry.received:
        for value in (SECRET, "ana@example.com", "203.0.113.7", "127.0.0.1:" + str(api.port), "httpx"):
            assert value not in received.replace("user-agent: sentry", "")
    assert len(sentry.events()) == 1  # not the 404


def test_failed_job_is_reported(tmp_path: Path, migrated_database_url: str, sentry: Sentry, sendgrid: SendGrid) -> None:
    sendgrid.status = 400
    settings = {**PRODUCTION, "SENDGRID_API_URL": sendgrid.url, "SENTRY_DSN": sentry.dsn}
    with apis.running(tmp_path, DATABASE_URL=migrated_database_url, **settings) as api, asking(api.url) as http:
        client = Client(http, sendgrid)
        assert client.request().status_code == 202
        [event] = sentry.wait_for(1)

    assert event["transaction"] == "job sign_in_email"
    assert (
        event["exception"]["values"][-1]["value"] == "audifi.core.jobs.queue.PermanentJobError: SendGrid answered 400"
    )
    assert client.email not in "".join(sentry.received)


def test_secrets_in_errors_are_redacted() -> None:
    def inner(held: SecretStr) -> None:
        raise ValueError(f"no good: {held.get_secret_value()} of ana@example.com")

    with pytest.raises(ValueError, match="no good") as caught:
        inner(SecretStr(SECRET))
    event = make_event(caught.value, "GET /", {})

    assert event["exception"]["values"][0]["value"] == "ValueError: no good: REDACTED of REDACTED"
    assert SECRET not in str(event)


@pytest.mark.parametrize("is_silent", [False, True])
def test_unavailable_sentry_delays_nothing(
    tmp_path: Path,
    database_url: str,
    is_silent: bool,  # noqa: FBT001
) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
        port = listener.getsockname()[1] if is_silent else apis.free_port()
        settings = {**PRODUCTION, "SENTRY_DSN": f"http://key@127.0.0.1:{port}/1", "DATABASE_URL": database_url}
        with apis.running(tmp_path, TEST_ROUTES, **settings) as api:
            with httpx2.Client(timeout=200) as http:
                for _ in range(20):
                    assert http.post(f"{api.url}/test/marks?name=x&fail=true").status_code == 500
            began = time.monotonic()
            assert api.stop() == 0
    assert time.monotonic() - began < 12
    assert "sentry" not in api.log()


def test_sentry_is_not_imported_without_dsn(health_api: Api) -> None:
    assert health_api.get_health().status_code == 200
    assert imported(apis.environment(**apis.MINIMAL)) == []


def test_invalid_dsn_is_refused_without_its_value() -> None:
    settings = apis.environment(**apis.MINIMAL, SENTRY_DSN="https://s3cr3t@nowhere")
    command = [sys.executable, "-m", "audifi.serve"]
    done = subprocess.run(
        command, env=settings, cwd=apis.ROOT / "server", capture_output=True, text=True, timeout=250, check=False
    )

    assert done.returncode == 1
    assert "SENTRY_DSN: must be a DSN as Sentry shows it" in done.stderr
    assert "s3cr3t" not in done.stderr


def imported(settings: dict[str, str]) -> list[str]:
    """The modules of Sentry's that an app with these settings has."""
    code = (
        "import sys; from audifi.app import create_app; from audifi.core.config.settings import Settings, load;"
        " from audifi.services import build_services;"
        " create_app(build_services(load(Settings)));"
        " print(*[name for name in sys.modules if name.startswith('sentry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True, check=True)
    return done.stdout.split()
