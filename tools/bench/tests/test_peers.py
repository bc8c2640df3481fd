"""The comparison is fair only if all do the same."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import jwt
import pytest

from tests.support import databases
from tools.bench import database
from tools.bench.contenders import CONTENDERS, SETTINGS, Running, running
from tools.bench.database import Database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


CHANGED = "SELECT string_agg(email, ' ') FROM users WHERE display_name = 'Ána'"
RECORDED = """
    SELECT string_agg(concat_ws(' ', email, event, detail, ip, user_agent, substr(auth_events.id::text, 15, 1)), E'\\n')
    FROM auth_events JOIN users ON users.id = user_id
"""


@dataclass(frozen=True)
class Answer:
    status: int
    media_type: str
    body: bytes
    challenge: str | None
    cache_control: str


@dataclass(frozen=True, kw_only=True)
class All:
    """All contenders, on one database."""

    servers: list[Running]
    database: Database
    local_url: str
    tokens: list[str]

    def ask(self, method: str, path: str, token: str | None = None, body: Any = None) -> list[Answer]:
        return [self.ask_one(server, method, path, token, body) for server in self.servers]

    def ask_one(self, server: Running, method: str, path: str, token: str | None, body: Any) -> Answer:
        headers = {"User-Agent": "test"} | ({"Authorization": f"Bearer {token}"} if token else {})
        answer = httpx2.request(method, server.url + path, json=body, headers=headers, timeout=20)
        return Answer(
            answer.status_code,
            answer.headers["content-type"].partition(";")[0],
            answer.content,
            answer.headers.get("www-authenticate"),
            answer.headers["cache-control"],
        )


@pytest.fixture(scope="module")
def everyone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[All]:
    folder = tmp_path_factory.mktemp("bench")
    with ExitStack() as stack:
        server = stack.enter_context(database.running(pinned=False))
        made = database.create(server, 20)
        servers = [stack.enter_context(running(contender, made.url, folder, pinned=False)) for contender in CONTENDERS]
        tokens = made.write_tokens(folder / "tokens").read_text().split()
        yield All(servers=servers, database=made, local_url=server.url(f"users_{made.users}"), tokens=tokens)


def same(answers: list[Answer]) -> Answer:
    first, *others = answers
    assert others == [first] * len(others)
    return first


def test_health_is_the_same(everyone: All) -> None:
    when = re.compile(rb'"timestamp":"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"')
    answers = everyone.ask("GET", "/api/v1/health")

    assert all(when.search(answer.body) for answer in answers)
    assert same([replace(answer, body=when.sub(b"", answer.body)) for answer in answers]).status == 200


def test_the_authenticated_read_is_the_same_byte_for_byte(everyone: All) -> None:
    for token in everyone.tokens[:5]:
        answer = same(everyone.ask("GET", "/api/v1/auth/me", token))

        assert answer.status == 200
        assert json.loads(answer.body)["email"].endswith("@example.com")


def test_the_write_is_the_same_byte_for_byte_and_is_recorded_once_by_each(everyone: All) -> None:
    token = everyone.tokens[5]
    email = json.loads(same(everyone.ask("GET", "/api/v1/auth/me", token)).body)["email"]

    answers = []
    for server in everyone.servers:
        databases.execute(everyone.local_url, "UPDATE users SET display_name = 'old'")
        answers.append(everyone.ask_one(server, "PATCH", "/api/v1/auth/me", token, {"display_name": " Ána "}))
        assert databases.fetch_value(everyone.local_url, CHANGED) == email

    assert json.loads(same(answers).body)["display_name"] == "Ána"
    told = str(databases.fetch_value(everyone.local_url, RECORDED)).splitlines()
    assert told == [f"{email} user.updated display_name 127.0.0.1 test 7"] * len(everyone.servers)


def test_the_401_has_the_same_members_in_the_same_order(everyone: All) -> None:
    answers = everyone.ask("GET", "/api/v1/auth/me")

    problems = [json.loads(answer.body, object_pairs_hook=list) for answer in answers]
    names = [dict(problem).pop("request_id") for problem in problems]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in names)
    rest = [[pair for pair in problem if pair[0] != "request_id"] for problem in problems]
    assert rest == [rest[0]] * len(rest)
    assert same([replace(answer, body=b"") for answer in answers]).status == 401


def forged(token: str, **changes: Any) -> str:
    head = jwt.get_unverified_header(token)
    key = changes.pop("key", SETTINGS["jwt_secret"])
    claims = jwt.decode(token, options={"verify_signature": False}) | changes.pop("claims", {})
    return jwt.encode(claims, key, headers=head | changes, algorithm="HS256")


WRONG: dict[str, dict[str, Any]] = {
    "signature": {"key": "another secret, of 32 characters or more, but another"},
    "type": {"typ": "JWT"},
    "issuer": {"claims": {"iss": "https://another.fly.dev"}},
    "audience": {"claims": {"aud": "another"}},
    "session": {"claims": {"sid": "00000001-0000-7000-9000-000000000000"}},
}


def test_a_token_that_is_not_right_is_refused_by_all(everyone: All) -> None:
    token = everyone.tokens[6]
    assert same(everyone.ask("GET", "/api/v1/auth/me", forged(token))).status == 200

    for what, changes in WRONG.items():
        answers = everyone.ask("GET", "/api/v1/auth/me", forged(token, **changes))
        codes = [json.loads(answer.body)["code"] for answer in answers]
        assert codes == ["access_token.invalid"] * len(codes), what
        assert same([replace(answer, body=b"") for answer in answers]).status == 401


def test_an_expired_token_is_refused_by_all(everyone: All) -> None:
    answers = everyone.ask("GET", "/api/v1/auth/me", forged(everyone.tokens[6], claims={"exp": 1}))

    assert [answer.status for answer in answers] == [401] * len(answers)
