"""The comparison is fair only if all contenders do the same work."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx2
import jwt
import pytest

from tests.support import databases
from tools.bench import contenders, database
from tools.bench.contenders import CONTENDERS, HEALTH_PATH, SETTINGS, Running, running
from tools.bench.database import Database
from tools.bench.ratios import OURS
from tools.bench.workloads import APP_URL, WORKLOADS, Workload

pytestmark = pytest.mark.slow

LOG_TIMEOUT_SECONDS = 20
EQUIPPED = [name for name in contenders.TITLES if name != "bare"]
HEADERS = [
    "Content-Security-Policy",
    "Cross-Origin-Resource-Policy",
    "Referrer-Policy",
    "X-Content-Type-Options",
    "Access-Control-Allow-Credentials",
    "Access-Control-Expose-Headers",
    "Vary",
    "Cache-Control",
]
LIMITED = re.compile(r"(x-)?ratelimit(-limit)?", re.IGNORECASE)

each_workload = pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
each_contender = pytest.mark.parametrize("name", list(contenders.TITLES))
each_equipped = pytest.mark.parametrize("name", EQUIPPED)


@dataclass(frozen=True, kw_only=True)
class All:
    """All contenders on one database."""

    servers: dict[str, Running]
    database: Database

    def send(self, name: str, workload: Workload, token: str) -> httpx2.Response:
        headers = workload.all_headers(token, "000000000001")
        url = self.servers[name].url + workload.path
        body = workload.body_bytes("000000000001")
        return httpx2.request(workload.method, url, content=body, headers=headers, timeout=20)

    def token(self, number: int) -> str:
        return database.access_token(*self.database.sessions[number])


@pytest.fixture(scope="module")
def everyone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[All]:
    folder = tmp_path_factory.mktemp("bench")
    with ExitStack() as stack:
        server = stack.enter_context(database.running(pinned=False))
        made = database.create(server, users=20)
        servers = {
            contender.name: stack.enter_context(running(contender, made.url, folder, pinned=False))
            for contender in CONTENDERS
        }
        yield All(servers=servers, database=made)


def workload_of(name: str) -> Workload:
    return next(workload for workload in WORKLOADS if workload.name == name)


def comparable(workload: Workload, answer: httpx2.Response) -> object:
    """Return what must be the same in each answer: all bytes except times, signatures and the words of errors."""
    members = json.loads(answer.content, object_pairs_hook=lambda pairs: pairs)
    if workload.name in {"health", "401"}:
        hidden = {"timestamp", "version", "title", "detail", "code", "type", "request_id"}
        return [(name, None if name in hidden else value) for name, value in members]
    if workload.name == "list":
        text, cursor = re.subn(rb'"next_cursor":"[\w-]+"', b"", answer.content)
        assert cursor == 1
        return text
    return answer.content


@each_workload
@each_contender
def test_peer_answers_as_the_server_does(everyone: All, workload: Workload, name: str) -> None:
    token = everyone.token(0)
    ours, theirs = everyone.send(OURS, workload, token), everyone.send(name, workload, token)

    assert theirs.status_code == ours.status_code == workload.status
    for header in ("content-type", "www-authenticate"):
        first, second = (answer.headers.get(header, "").partition(";")[0] for answer in (ours, theirs))
        assert first == second
    if workload.name == "list":  # the events that the writes of this test recorded have come in between
        ours = everyone.send(OURS, workload, everyone.token(1))
        theirs = everyone.send(name, workload, everyone.token(1))
        assert len(json.loads(theirs.content)["data"]) == 20
    assert comparable(workload, theirs) == comparable(workload, ours)


@each_workload
@each_equipped
def test_peer_sends_the_headers_of_the_server(everyone: All, workload: Workload, name: str) -> None:
    token = everyone.token(0)
    ours, theirs = (everyone.send(each, workload, token).headers for each in (OURS, name))

    assert theirs["Access-Control-Allow-Origin"] == APP_URL
    assert re.fullmatch("[0-9a-f]{32}", theirs["X-Request-ID"])
    missing = {header for header in HEADERS if header in ours} - {header for header in HEADERS if header in theirs}
    assert not missing
    assert any(map(LIMITED.fullmatch, theirs)) == (workload.path != HEALTH_PATH)


@each_contender
def test_write_renames_user_and_records_it_once(everyone: All, name: str) -> None:
    user_id, _ = everyone.database.sessions[2]
    url = everyone.database.local_url
    databases.fetch_value(url, "UPDATE users SET display_name = 'old' WHERE id = $1", user_id)
    count = "SELECT count(*) FROM auth_events WHERE user_id = $1 AND event = 'user.updated' AND detail = 'display_name'"
    before = databases.fetch_value(url, count, user_id)

    everyone.send(name, workload_of("write"), everyone.token(2))

    renamed = databases.fetch_value(url, "SELECT display_name FROM users WHERE id = $1", user_id)
    assert renamed == "Ana 000000000001"
    assert databases.fetch_value(url, count, user_id) == int(str(before)) + 1
    last = "SELECT concat_ws(' ', host(ip), user_agent) FROM auth_events WHERE user_id = $1 ORDER BY id DESC LIMIT 1"
    assert databases.fetch_value(url, last, user_id) == "127.0.0.1 bench"


@each_workload
@each_equipped
def test_peer_logs_a_line_and_counts_a_metric(everyone: All, workload: Workload, name: str) -> None:
    server = everyone.servers[name]
    before = counted(server, workload)
    request_id = everyone.send(name, workload, everyone.token(3)).headers["X-Request-ID"]
    marker = everyone.send(name, workload_of("401"), "").headers["X-Request-ID"]

    lines = {line.get("request_id"): line for line in log_until(server, marker)}

    assert counted(server, workload) == before + (2 if workload.name == "401" else 1)
    if workload.path == HEALTH_PATH:
        assert request_id not in lines
        return
    values = {str(value) for value in lines[request_id].values()}
    assert {workload.method, workload.path.partition("?")[0], str(workload.status)} <= values
    assert (str(everyone.database.sessions[3][0]) in values) == workload.signed_in
    assert "duration_ms" in lines[request_id]


def counted(server: Running, workload: Workload) -> int:
    """Return how many requests of a workload the metrics have counted."""
    port = server.metrics_port if server.contender.name == OURS else server.port
    text = httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=20).text
    path = re.escape(workload.path.partition("?")[0])
    status = str(workload.status)
    return sum(
        int(float(line.rpartition(" ")[2]))
        for line in text.splitlines()
        if re.match(r"http_request(_duration_seconds_count|s_total)\{", line)
        and f'method="{workload.method}"' in line
        and re.search(rf'(route|handler)="{path}"', line)
        and re.search(rf'status(_code)?="({status}|{status[0]}xx)"', line)
    )


def log_until(server: Running, request_id: str) -> list[dict[str, Any]]:
    """Return the lines of a log once it has the one of this request."""
    deadline = time.monotonic() + LOG_TIMEOUT_SECONDS
    while request_id not in (text := server.log_file.read_text()):
        assert time.monotonic() < deadline, "the line is missing"
        time.sleep(0.02)
    return [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]


def forged(token: str, *, key: str = SETTINGS["jwt_secret"], typ: str = "at+jwt", **claims: Any) -> str:
    header = jwt.get_unverified_header(token)
    all_claims = jwt.decode(token, options={"verify_signature": False}) | claims
    return jwt.encode(all_claims, key, headers=header | {"typ": typ}, algorithm="HS256")


WRONG: dict[str, dict[str, Any]] = {
    "signature": {"key": "another secret of at least 32 characters"},
    "type": {"typ": "JWT"},
    "issuer": {"iss": "https://another.fly.dev"},
    "audience": {"aud": "another"},
    "time": {"exp": 1},
    "session": {"sid": "00000001-0000-7000-9000-000000000000"},
}


@pytest.mark.parametrize("wrong", WRONG)
@each_contender
def test_wrong_token_is_rejected(everyone: All, name: str, wrong: str) -> None:
    token = everyone.token(4)
    read = workload_of("read")
    assert everyone.send(name, read, forged(token)).status_code == 200

    answer = everyone.send(name, read, forged(token, **WRONG[wrong]))

    assert answer.status_code == 401
    assert "invalid_token" in answer.headers["WWW-Authenticate"]


ENDINGS = {
    "revoked": "UPDATE sessions SET revoked_at = now(), revoked_reason = 'signed_out' WHERE id = $2 AND user_id = $1",
    "idle": "UPDATE sessions SET idle_expires_at = now() WHERE id = $2 AND user_id = $1",
    "disabled": "UPDATE users SET disabled_at = now() WHERE id = $1 AND $2::uuid IS NOT NULL",
    "deleted": "UPDATE users SET deleted_at = now() WHERE id = $1 AND $2::uuid IS NOT NULL",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_read_needs_a_live_session_and_user(everyone: All, ending: str) -> None:
    number = 5 + list(ENDINGS).index(ending)
    read, token = workload_of("read"), everyone.token(number)
    databases.fetch_value(everyone.database.local_url, ENDINGS[ending], *everyone.database.sessions[number])

    statuses = {name: everyone.send(name, read, token).status_code for name in everyone.servers}

    assert statuses == dict.fromkeys(everyone.servers, 401)
