"""All kinds of errors, over HTTP: status, code, members, and no leaked values."""

import json
import logging
import socket
import time
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from dev.postgres import Postgres
from tests.support import api as apis
from tests.support import databases, patient
from tests.support.edge_app import ORIGIN, ROW_VALUE
from tests.support.waiting import wait_until

TOKEN = "art1_dGhpcy1pcy1hLXRva2VuLW9mLTMyLWJ5dGVzLW9yLW1vcmU"
JSON = {"Content-Type": "application/json"}


def problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """Return the optional members."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    body: dict[str, Any] = answer.json()
    assert body.pop("status") == status
    assert body.pop("code") == code
    assert body.pop("type") == f"urn:audifi:problem:{code}"
    assert body.pop("request_id") == answer.headers["x-request-id"]
    assert body.pop("instance") == answer.request.url.raw_path.decode().partition("?")[0]
    assert body.pop("title")
    return body


def logged(record: logging.LogRecord) -> str:
    """Return a log record's message and traceback."""
    return f"{logging.Formatter('%(message)s').format(record)}\n{record.__dict__.get('exception', '')}"


def test_raised_problem_is_the_response(client: httpx2.Client) -> None:
    answer = client.get("/problem?token=secret")

    assert problem(answer, 401, "link.used") == {"detail": "Ask for another.", "max_age": 300}
    assert answer.json()["title"] == "It was used"
    assert answer.headers.get_list("set-cookie") == ["a=; Max-Age=0", "b=; Max-Age=0"]
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "secret" not in answer.text


def test_unknown_path_is_not_found(client: httpx2.Client) -> None:
    assert problem(client.get("/nowhere/%0D%0A%00%C3%A9?token=secret"), 404, "not_found") == {}
    assert problem(client.get("/things/"), 404, "not_found") == {}


def test_unknown_method_is_answered_with_allow(client: httpx2.Client) -> None:
    """RFC 9110, 15.5.6: Allow has the methods of all of them."""
    for method in ("DELETE", "OPTIONS", "TRACE", "PROPFIND"):
        answer = client.request(method, "/things")

        assert problem(answer, 405, "method_not_allowed") == {}
        assert answer.headers["allow"] == "GET, HEAD, POST"
    assert client.post("/problem").headers["allow"] == "GET, HEAD"


def invalid(client: httpx2.Client, body: Any) -> list[dict[str, str]]:
    answer = client.post("/things", json=body)
    assert TOKEN not in answer.text
    errors: list[dict[str, str]] = problem(answer, 422, "request.invalid")["errors"]
    return errors


def test_body_errors_have_pointers(client: httpx2.Client) -> None:
    assert invalid(client, {"token": "t", "email": "a@b@c", "tags": ["a", "long"]}) == [
        {
            "pointer": "/email",
            "code": "string_pattern_mismatch",
            "detail": "String should match pattern '^[^@]*@[^@]*$'",
        },
        {"pointer": "/tags/1", "code": "string_too_long", "detail": "String should have at most 3 characters"},
    ]
    assert [(error["pointer"], error["code"]) for error in invalid(client, {})] == [("/token", "missing")]
    assert [(error["pointer"], error["code"]) for error in invalid(client, {"token": "t", "other": 1})] == [
        ("/other", "extra_forbidden")
    ]
    assert invalid(client, [])[0]["pointer"] == ""


def test_parameter_errors_have_names(client: httpx2.Client) -> None:
    answer = client.get(f"/things?limit={TOKEN}", headers={"X-Page": TOKEN})

    errors = problem(answer, 422, "request.invalid")["errors"]
    assert [(error["parameter"], error["code"]) for error in errors] == [
        ("limit", "int_parsing"),
        ("x-page", "int_parsing"),
    ]
    assert TOKEN not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        {"token": TOKEN * 3},
        {"token": [TOKEN]},
        {"token": "t", "email": TOKEN},
        {"token": "t", "tags": [TOKEN]},
        {"token": "t", "pet": {"kind": TOKEN}},
        {"token": "t", TOKEN: 1},
        {"token": "t", "tags": {TOKEN: TOKEN}},
        {"token": "t", "unknown": TOKEN},
        [TOKEN],
        TOKEN,
    ],
)
def test_invalid_token_is_never_repeated(client: httpx2.Client, body: Any) -> None:
    assert invalid(client, body)


@pytest.mark.parametrize("name", ["a b", "a/b", "a~b", "", "\ud800", "é", "a" * 33])
def test_unusual_member_name_is_left_out(client: httpx2.Client, name: str) -> None:
    content = json.dumps({"token": "t", name: 1})

    answer = client.post("/things", content=content, headers=JSON)
    assert problem(answer, 422, "request.invalid")["errors"][0]["pointer"] == ""


def test_number_of_errors_is_bounded(client: httpx2.Client) -> None:
    errors = invalid(client, {"token": "t"} | {f"m{number}": 1 for number in range(3000)})

    assert len(errors) == 20


@pytest.mark.parametrize(
    "content",
    [
        b'{"token": "' + TOKEN.encode(),
        b"{",
        b"\0",
        b'{"token": "a\0b"}',
        b'{"token": "\xff\xfe"}',
        b"[" * 30_000,
        b'{"a":' * 10_000,
        b'{"token": ' + b"1" * 5000 + b"}",
        b"token=t",
        b" ",
    ],
)
def test_malformed_json_gets_400(client: httpx2.Client, content: bytes) -> None:
    answer = client.post("/things", content=content, headers=JSON)

    assert problem(answer, 400, "request.malformed")["detail"]
    assert TOKEN not in answer.text


@pytest.mark.parametrize("escape", [rb"\ud800", rb"\u0000"])
def test_unstorable_text_gets_400(client: httpx2.Client, caplog: pytest.LogCaptureFixture, escape: bytes) -> None:
    """A lone surrogate and NUL: JSON and Pydantic accept both."""
    answer = client.post("/text", content=b'{"token": "' + TOKEN.encode() + escape + b'"}', headers=JSON)

    assert problem(answer, 400, "request.malformed")
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("path", ["/things", "/optional"])
@pytest.mark.parametrize(
    "kind",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/json",
        "json",
        "application/octet-stream",
        "text/plain; application/json",
        "\xff",
    ],
)
def test_other_media_type_gets_415(client: httpx2.Client, path: str, kind: str | None) -> None:
    headers = [(b"Content-Type", kind.encode("latin-1"))] if kind else []
    answer = client.post(path, content=json.dumps({"token": TOKEN}).encode(), headers=headers)

    assert problem(answer, 415, "request.unsupported_media_type")["detail"]
    assert answer.headers["accept"] == "application/json"
    assert TOKEN not in answer.text


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
def test_json_media_type_may_have_parameters(client: httpx2.Client, kind: str) -> None:
    assert client.post("/things", content=b'{"token": "t"}', headers={"Content-Type": kind}).is_success


def test_missing_body_gets_422(client: httpx2.Client) -> None:
    assert problem(client.post("/things"), 422, "request.invalid")["errors"] == [
        {"pointer": "", "code": "missing", "detail": "Field required"}
    ]
    assert client.post("/optional").json() is False


def test_unhandled_error_is_logged_with_its_traceback(client: httpx2.Client, caplog: pytest.LogCaptureFixture) -> None:
    answer = client.get("/crash?token=secret", headers={"Origin": ORIGIN, "X-Request-ID": "mine"})

    assert problem(answer, 500, "internal") == {"detail": "The error was logged with this request_id."}
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    line = logged(record)
    assert line.startswith("GET /v1/crash: internal\n")
    assert 'edge_app.py", line ' in line
    assert 'raise RuntimeError("crashed")' in line
    assert line.endswith("\nRuntimeError: crashed")


@pytest.mark.parametrize(
    ("path", "logged_error"),
    [
        ("/database/duplicate", "UniqueViolationError (sqlstate 23505, constraint uq_t_email)"),
        ("/database/not-a-number", "InvalidTextRepresentationError (sqlstate 22P02)"),
        ("/crash/by-validation", "ValidationError"),
    ],
)
def test_logged_errors_hold_no_values(
    client: httpx2.Client, caplog: pytest.LogCaptureFixture, path: str, logged_error: str
) -> None:
    answer = client.get(path)

    assert problem(answer, 500, "internal")
    lines = "\n".join(map(logged, caplog.records))
    assert logged_error in lines
    assert "edge_app.py" in lines
    for value in (ROW_VALUE, ROW_VALUE.replace("@", "")):
        assert value not in lines
        assert value not in answer.text


def test_response_that_fails_half_way_is_cut_off(client: httpx2.Client, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(httpx2.RemoteProtocolError):
        client.get("/crash/while-answering")

    assert any(record.getMessage().startswith("GET /v1/crash/while-answering: internal") for record in caplog.records)
    [by_server] = [record for record in caplog.records if record.name == "uvicorn.error"]
    assert ROW_VALUE not in logging.Formatter().format(by_server)


def test_error_after_the_response_is_logged(client: httpx2.Client, caplog: pytest.LogCaptureFixture) -> None:
    assert client.get("/crash/after-answering").text == "all"
    wait_until(lambda: bool(caplog.records))
    assert client.get("/things").is_success

    assert [record.name for record in caplog.records if record.levelno == logging.ERROR] == [
        "audifi.core.http.middleware.errors"
    ]


def unavailable(client: httpx2.Client, path: str, code: str = "database.unavailable", **parameters: str) -> None:
    began = time.monotonic()
    answer = client.get(path, params=parameters, headers={"Origin": ORIGIN})
    assert time.monotonic() - began < 8  # the time limits are 1.5 s at most; without them it would take 10 s
    assert problem(answer, 503, code) == {"detail": "Try again in a moment."}
    assert answer.headers["retry-after"] == "5"
    assert answer.headers["access-control-allow-origin"] == ORIGIN


def test_unreachable_database_gets_503(client: httpx2.Client, caplog: pytest.LogCaptureFixture) -> None:
    unavailable(client, "/away", url=f"postgres://user:secret@127.0.0.1:{apis.free_port()}/database")
    unavailable(client, "/away", url="postgres://user:secret@nowhere.invalid/database")

    assert "ConnectionRefusedError" in caplog.text
    assert "secret" not in caplog.text
    assert "Traceback" not in caplog.text


def test_silent_database_gets_503(client: httpx2.Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        unavailable(client, "/away", url=f"postgres://user@127.0.0.1:{listener.getsockname()[1]}/database")


def test_refusing_database_gets_503(client: httpx2.Client, own_postgres: Postgres) -> None:
    unavailable(client, "/away", url=f"postgres://postgres:wrong@127.0.0.1:{own_postgres.port}/postgres")
    unavailable(client, "/away", url=f"postgres://postgres:secret@127.0.0.1:{own_postgres.port}/nowhere")


@pytest.mark.parametrize("path", ["/database/terminated", "/database/starting", "/cut"])
def test_database_that_stops_midway_gets_503(client: httpx2.Client, path: str) -> None:
    unavailable(client, path)
    assert client.get("/things").is_success


@pytest.mark.parametrize("path", ["/pool", "/database/too-slow", "/database/deadlock"])
def test_busy_database_gets_503(client: httpx2.Client, path: str) -> None:
    unavailable(client, path, code="database.busy")


CODES = {
    "database.read_only": "25006",
    "database.unavailable": "53000 53100 53200 53300 57000 57P01 57P02 57P03 57P04 57P05 58000 58030",
    "database.busy": "25P03 25P04 55P03 57014",
    "internal": """25000 25001 25002 25003 25004 25005 25007 25008 25P01 25P02 53400 55000 55006 55P02 55P04
        58P01 58P02 58P03""",
}
"""The answer to each SQLSTATE of the classes that aren't the statement's alone."""


def test_every_sqlstate_of_the_server_is_decided() -> None:
    errors = (getattr(asyncpg, name) for name in dir(asyncpg))
    known = {getattr(error, "sqlstate", None) or "" for error in errors}

    assert {state for state in known if state[:2] in {"25", "53", "55", "57", "58"}} == set(
        " ".join(CODES.values()).split()
    )


@pytest.mark.parametrize(
    ("code", "state"), [(code, state) for code, states in CODES.items() for state in states.split()]
)
def test_sqlstate_decides_the_answer(
    client: httpx2.Client, caplog: pytest.LogCaptureFixture, code: str, state: str
) -> None:
    answer = client.get(f"/sqlstate/{state}")

    assert problem(answer, 500 if code == "internal" else 503, code)["detail"]
    assert ("retry-after" in answer.headers) == (code != "internal")
    is_reported = any(hasattr(record, "exception") for record in caplog.records)
    assert is_reported == (code in {"internal", "database.busy"})


def test_database_without_connections_gets_503(client: httpx2.Client, postgres_server: Postgres) -> None:
    url = databases.create_database(postgres_server)
    name = url.split("/")[3].split("?", maxsplit=1)[0]
    databases.execute(postgres_server.url(), f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")

    unavailable(client, "/away", url=url)  # FATAL, and 55000


def test_exhausted_pool_is_logged_without_traceback(client: httpx2.Client, caplog: pytest.LogCaptureFixture) -> None:
    unavailable(client, "/pool", code="database.busy")
    [line] = [record for record in caplog.records if "database.busy" in record.getMessage()]

    assert line.levelname == "WARNING"
    assert "TimeoutError" in line.getMessage()
    assert not hasattr(line, "exception")


@pytest.mark.parametrize("path", ["/crash/by-file", "/in-transaction/file"])
def test_other_system_errors_are_not_the_databases(client: httpx2.Client, path: str) -> None:
    assert not Path("/nowhere").exists()
    assert problem(client.get(path), 500, "internal")


def test_instance_is_bounded_and_names_no_host(client: httpx2.Client) -> None:
    host = str(client.base_url).removesuffix("/v1/")
    long = patient.get(f"{host}/{'%FF' * 5000}").json()
    twice = patient.get(f"{host}//evil.example/x").json()

    assert len(long["instance"]) <= 1024
    assert twice["instance"] == "/evil.example/x"
