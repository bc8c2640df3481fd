"""Servers that tell the address of the person they call for."""

from collections.abc import Callable

import httpx2
import pytest

from tests.support.app import App, Clock
from tests.support.clients import Client, new_address, new_ip
from tests.support.sendgrid import SendGrid

SECRET, NEXT_SECRET, OTHER_SECRET = (letter * 32 for letter in "abc")
ME = "/api/v1/auth/me"


@pytest.fixture
def called(start_app: Callable[..., App], migrated_database_url: str) -> App:
    clock = Clock()
    clock.stop()  # no minute ends during a test
    return start_app(
        migrated_database_url, clock=clock, trusted_callers=f"web={SECRET},web={NEXT_SECRET},admin={OTHER_SECRET}"
    )


def telling(ip: str, secret: str = SECRET) -> dict[str, str]:
    return {"AudiFi-Caller-Secret": secret, "AudiFi-Client-IP": ip}


def ask(app: App, headers: dict[str, str], path: str = ME) -> httpx2.Response:
    return app.http.get(path, headers={"Fly-Client-IP": "203.0.113.7"} | headers)


def left(answer: httpx2.Response) -> str:
    """Return what is left of the client's minute."""
    return answer.headers["ratelimit"].split(";")[1]


def test_people_of_one_server_have_their_own_limits(called: App, sendgrid: SendGrid) -> None:
    server = Client(called.http, sendgrid)

    def request(ip: str) -> int:
        server.headers = telling(ip)
        return server.request(email=new_address()).status_code

    assert [request(new_ip()) for _ in range(24)] == [202] * 24
    ip = new_ip()
    assert [request(ip) for _ in range(21)] == [202] * 20 + [429]


def test_told_address_is_in_session_and_audit_log(called: App, sendgrid: SendGrid) -> None:
    person = Client(called.http, sendgrid, headers=telling("2001:db8:1:2::7")).sign_in()

    for path in ("/auth/sessions", "/auth/me/activity"):
        rows = person.as_signed_in("GET", path).json()["data"]
        assert {row["ip_prefix"] for row in rows} == {"2001:db8:1:2::/64"}


def test_each_secret_of_each_caller_is_accepted(called: App) -> None:
    ip = new_ip()
    answers = [ask(called, telling(ip, secret)) for secret in (SECRET, NEXT_SECRET, OTHER_SECRET)]

    assert [left(answer) for answer in answers] == ["r=599", "r=598", "r=597"]


@pytest.mark.parametrize("secret", ["", SECRET[:-1], SECRET + "x", SECRET.upper(), f"web={SECRET}", "x" * 5000])
def test_unknown_secret_is_refused_and_counted(called: App, secret: str) -> None:
    answers = [ask(called, telling(new_ip(), secret)) for _ in range(2)]

    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (403, "caller.unknown")
        assert not secret or secret not in answer.text
    assert [left(answer) for answer in answers] == ["r=599", "r=598"], "for the server's own address"


def test_server_without_callers_knows_no_secret(app: App) -> None:
    assert ask(app, telling(new_ip())).json()["code"] == "caller.unknown"


@pytest.mark.parametrize("address", ["", "unknown", "203.0.113.8, 198.51.100.1", "203.0.113.8:80", "fe80::1%eth0"])
def test_invalid_told_address_is_refused(called: App, address: str) -> None:
    answer = ask(called, telling(address))

    assert (answer.status_code, answer.json()["code"]) == (422, "request.invalid")
    assert answer.json()["errors"][0]["parameter"] == "AudiFi-Client-IP"


def test_caller_that_tells_no_address_counts_itself(called: App) -> None:
    answers = [ask(called, {"AudiFi-Caller-Secret": SECRET}), ask(called, {})]

    assert [left(answer) for answer in answers] == ["r=599", "r=598"]


def test_health_looks_at_no_secret(called: App) -> None:
    assert ask(called, telling("unknown", "wrong"), "/api/v1/health").status_code == 200
