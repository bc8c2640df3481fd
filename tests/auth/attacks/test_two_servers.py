"""Two real processes on one database: what one of them knows, the other does, and neither is missed."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from signal import SIGKILL, SIGTERM

import httpx2
import pytest

from tests.support import api as apis
from tests.support import databases
from tests.support.api import ROOT, Api, environment
from tests.support.clients import Client, asking, at_once, newest_mail
from tests.support.fixtures import StartApi
from tests.support.sendgrid import SendGrid
from tests.support.waiting import assert_soon, wait_until

pytestmark = pytest.mark.slow

KNOWN_ELSEWHERE_SECONDS = 2


def production(sendgrid: SendGrid) -> dict[str, str]:
    return {
        "ENVIRONMENT": "production",
        "TRUSTED_PROXIES": "127.0.0.0/8",
        "SENDGRID_API_KEY": "SG.x",
        "SENDGRID_API_URL": sendgrid.url,
        "SHUTDOWN_DRAIN_SECONDS": "0",
    }


@dataclass(frozen=True, kw_only=True)
class Pair:
    here: httpx2.Client
    there: httpx2.Client
    database_url: str

    def client(self, sendgrid: SendGrid) -> tuple[Client, Client]:
        """One person, with the two ways that a request may take."""
        one = Client(self.here, sendgrid).sign_in()
        return one, replace(one, http=self.there)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, database_url: str, shared_sendgrid: SendGrid) -> Iterator[Pair]:
    with ExitStack() as stack:

        def start(folder: Path) -> httpx2.Client:
            api = stack.enter_context(apis.running(folder, DATABASE_URL=database_url, **production(shared_sendgrid)))
            return stack.enter_context(asking(api.url))

        folders = [tmp_path_factory.mktemp(name) for name in ("here", "there")]
        here, there = at_once([partial(start, folder) for folder in folders])
        yield Pair(here=here, there=there, database_url=database_url)


def assert_ends(ask: Callable[[], httpx2.Response]) -> None:
    """Within 2 s, and then for good."""
    answers: list[httpx2.Response] = []

    def has_ended() -> bool:
        answers.append(ask())
        return answers[-1].status_code != 200

    assert_soon(has_ended, KNOWN_ELSEWHERE_SECONDS)
    for again in (answers[-1], ask(), ask()):
        assert (again.status_code, again.json()["code"]) == (401, "access_token.invalid")
        assert again.headers["www-authenticate"] == 'Bearer error="invalid_token"'


def test_whoever_signs_out_on_one_is_signed_out_on_the_other_within_two_seconds(pair: Pair, sendgrid: SendGrid) -> None:
    here, there = pair.client(sendgrid)
    assert there.as_signed_in("GET", "/auth/sessions").status_code == 200
    assert here.as_signed_in("POST", "/auth/logout").status_code == 204

    assert here.as_signed_in("GET", "/auth/sessions").status_code == 401
    assert there.as_signed_in("GET", "/auth/me").status_code == 401, "what asks the row knows at once"
    assert_ends(partial(there.as_signed_in, "GET", "/auth/sessions"))
    assert there.refresh().json()["code"] == "refresh_token.revoked"


def test_whoever_an_operator_suspends_is_out_on_both_within_two_seconds(pair: Pair, sendgrid: SendGrid) -> None:
    here, there = pair.client(sendgrid)
    assert there.as_signed_in("GET", "/auth/sessions").status_code == 200
    suspended = subprocess.run(
        [sys.executable, "-m", "audifi", "users", "suspend", here.email, "--reason", "fraud", "--by", "kim"],
        cwd=ROOT / "server",
        env=environment(DATABASE_URL=pair.database_url),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert suspended.returncode == 0, suspended.stderr
    for one in (here, there):
        assert one.as_signed_in("GET", "/auth/me").status_code == 401
        assert_ends(partial(one.as_signed_in, "GET", "/auth/sessions"))
        assert one.refresh().json()["code"] == "refresh_token.revoked"
    mail = here.request_mail()
    refused = there.verify(token=mail.token, confirm=True)
    assert (refused.status_code, refused.json()["code"]) == (403, "account.disabled")


def test_a_refresh_token_that_was_used_on_one_is_used_on_the_other(pair: Pair, sendgrid: SendGrid) -> None:
    here, there = pair.client(sendgrid)
    old = here.tokens["refresh_token"]
    asked = [lambda one=one: one.ask("POST", "/auth/refresh", {"refresh_token": old}) for one in (here, there) * 10]
    [new] = {answer.json()["refresh_token"] for answer in at_once(asked)}
    assert here.refresh(new).status_code == 200

    assert there.ask("POST", "/auth/refresh", {"refresh_token": old}).json()["code"] == "refresh_token.reused"
    assert here.refresh().json()["code"] == "refresh_token.revoked"


def test_a_link_that_was_asked_for_on_one_works_on_the_other_and_once(pair: Pair, sendgrid: SendGrid) -> None:
    here = Client(pair.here, sendgrid)
    mail = here.request_mail()
    there = replace(here, http=pair.there)
    asked = [lambda one=one: one.verify(token=mail.token, **here.secret()) for one in (here, there) * 5]

    assert sorted(answer.status_code for answer in at_once(asked)) == [200] + [401] * 9


def test_limits_count_what_was_asked_on_either(pair: Pair, sendgrid: SendGrid) -> None:
    here = Client(pair.here, sendgrid)
    there = replace(here, http=pair.there)
    assert [one.request().status_code for one in (here, there, here, there, here)] == [202] * 5
    answer = there.request()

    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limit.exceeded")
    assert here.request().status_code == 429


def test_of_two_one_sends_each_mail(pair: Pair, sendgrid: SendGrid) -> None:
    clients = [Client(http, sendgrid) for http in (pair.here, pair.there) * 10]
    assert [answer.status_code for answer in at_once([client.request for client in clients])] == [202] * 20
    for client in clients:
        newest_mail(sendgrid, client.email)
    wait_until(
        lambda: databases.fetch_value(pair.database_url, "SELECT count(*) FROM pgqueuer WHERE status <> 'failed'") == 0
    )

    assert [len(sendgrid.mails_to(client.email)) for client in clients] == [1] * 20


def asked_while_the_provider_hangs(api: Api, database_url: str, sendgrid: SendGrid) -> Client:
    """Somebody whose mail that server is about to hand over."""
    sendgrid.seconds = 60
    with asking(api.url) as http:
        client = Client(http, sendgrid)
        assert client.request().status_code == 202, "which waits for no provider"
    wait_until(lambda: databases.fetch_value(database_url, "SELECT status::text FROM pgqueuer") == "picked")
    return client


def assert_sent_by(api: Api, client: Client, sendgrid: SendGrid) -> None:
    """By another server, and what it sends works there."""
    with asking(api.url) as http:
        client.http = http
        mail = newest_mail(sendgrid, client.email)
        assert client.verify(token=mail.token, **client.secret()).status_code == 200


def test_a_server_that_is_killed_loses_no_mail(
    start_api: StartApi, migrated_database_url: str, sendgrid: SendGrid
) -> None:
    killed = start_api(migrated_database_url, **production(sendgrid))
    client = asked_while_the_provider_hangs(killed, migrated_database_url, sendgrid)
    killed.stop(SIGKILL)
    sendgrid.seconds = 0
    # Instead of the half minute after which its job is anybody's.
    databases.execute(migrated_database_url, "UPDATE pgqueuer SET heartbeat = now() - interval '31 seconds'")

    assert_sent_by(start_api(migrated_database_url, **production(sendgrid)), client, sendgrid)


def test_a_server_that_is_stopped_while_the_provider_is_slow_loses_no_mail(
    start_api: StartApi, migrated_database_url: str, sendgrid: SendGrid
) -> None:
    stopped = start_api(migrated_database_url, **production(sendgrid))
    client = asked_while_the_provider_hangs(stopped, migrated_database_url, sendgrid)
    began = time.monotonic()
    assert stopped.stop(SIGTERM) == 0
    assert time.monotonic() - began < 10, "it waits for no provider, either"
    sendgrid.seconds = 0

    assert_sent_by(start_api(migrated_database_url, **production(sendgrid)), client, sendgrid)
