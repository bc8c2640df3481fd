"""Two server processes on one database: shared state, and no lost e-mail."""

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
        """Sign in, and return the same client for each server."""
        here = Client(self.here, sendgrid).sign_in()
        return here, replace(here, http=self.there)


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
    """Check that requests are refused within 2 s and from then on."""
    answers: list[httpx2.Response] = []

    def has_ended() -> bool:
        answers.append(ask())
        return answers[-1].status_code != 200

    assert_soon(has_ended, KNOWN_ELSEWHERE_SECONDS)
    for again in (answers[-1], ask(), ask()):
        assert (again.status_code, again.json()["code"]) == (401, "access_token.invalid")
        assert again.headers["www-authenticate"] == 'Bearer error="invalid_token"'


def test_sign_out_reaches_the_other_server_in_two_seconds(pair: Pair, sendgrid: SendGrid) -> None:
    here, there = pair.client(sendgrid)
    assert there.as_signed_in("GET", "/auth/sessions").status_code == 200
    assert here.as_signed_in("POST", "/auth/logout").status_code == 204

    assert here.as_signed_in("GET", "/auth/sessions").status_code == 401
    assert there.as_signed_in("GET", "/auth/me").status_code == 401, "this route reads the session's row"
    assert_ends(partial(there.as_signed_in, "GET", "/auth/sessions"))
    assert there.refresh().json()["code"] == "refresh_token.revoked"


def test_suspension_reaches_both_servers_in_two_seconds(pair: Pair, sendgrid: SendGrid) -> None:
    here, there = pair.client(sendgrid)
    assert there.as_signed_in("GET", "/auth/sessions").status_code == 200
    suspended = subprocess.run(
        [sys.executable, "-m", "audifi", "users", "suspend", here.email, "--reason", "fraud", "--by", "kim"],
        cwd=ROOT / "server",
        env=environment(DATABASE_URL=pair.database_url),
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )

    assert suspended.returncode == 0, suspended.stderr
    for client in (here, there):
        assert client.as_signed_in("GET", "/auth/me").status_code == 401
        assert_ends(partial(client.as_signed_in, "GET", "/auth/sessions"))
        assert client.refresh().json()["code"] == "refresh_token.revoked"
    mail = here.request_mail()
    refused = there.verify(token=mail.token, confirm=True)
    assert (refused.status_code, refused.json()["code"]) == (403, "account.disabled")


def test_refresh_token_reuse_is_detected_across_servers(pair: Pair, sendgrid: SendGrid) -> None:
    here, there = pair.client(sendgrid)
    old = here.tokens["refresh_token"]
    requests = [
        lambda client=client: client.ask("POST", "/auth/refresh", {"refresh_token": old})
        for client in (here, there) * 10
    ]
    [new] = {answer.json()["refresh_token"] for answer in at_once(requests)}
    assert here.refresh(new).status_code == 200

    assert there.ask("POST", "/auth/refresh", {"refresh_token": old}).json()["code"] == "refresh_token.reused"
    assert here.refresh().json()["code"] == "refresh_token.revoked"


def test_link_works_once_on_either_server(pair: Pair, sendgrid: SendGrid) -> None:
    here = Client(pair.here, sendgrid)
    mail = here.request_mail()
    there = replace(here, http=pair.there)
    requests = [lambda client=client: client.verify(token=mail.token, **here.secret()) for client in (here, there) * 5]

    assert sorted(answer.status_code for answer in at_once(requests)) == [200] + [401] * 9


def test_servers_share_request_limits(pair: Pair, sendgrid: SendGrid) -> None:
    here = Client(pair.here, sendgrid)
    there = replace(here, http=pair.there)
    assert [client.request().status_code for client in (here, there, here, there, here)] == [202] * 5
    answer = there.request()

    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limit.exceeded")
    assert here.request().status_code == 429


def test_only_one_server_sends_each_email(pair: Pair, sendgrid: SendGrid) -> None:
    clients = [Client(http, sendgrid) for http in (pair.here, pair.there) * 10]
    assert [answer.status_code for answer in at_once([client.request for client in clients])] == [202] * 20
    for client in clients:
        newest_mail(sendgrid, client.email)
    wait_until(
        lambda: databases.fetch_value(pair.database_url, "SELECT count(*) FROM pgqueuer WHERE status <> 'failed'") == 0
    )

    assert [len(sendgrid.mails_to(client.email)) for client in clients] == [1] * 20


def request_while_the_provider_hangs(api: Api, database_url: str, sendgrid: SendGrid) -> Client:
    """Return a client whose e-mail the server is sending."""
    sendgrid.seconds = 60
    with asking(api.url) as http:
        client = Client(http, sendgrid)
        assert client.request().status_code == 202, "the request doesn't wait for the provider"
    wait_until(lambda: databases.fetch_value(database_url, "SELECT status::text FROM pgqueuer") == "picked")
    return client


def assert_sent_by(api: Api, client: Client, sendgrid: SendGrid) -> None:
    """Check that this server has sent the e-mail, and that its link works."""
    with asking(api.url) as http:
        client.http = http
        mail = newest_mail(sendgrid, client.email)
        assert client.verify(token=mail.token, **client.secret()).status_code == 200


def test_killed_server_loses_no_email(start_api: StartApi, migrated_database_url: str, sendgrid: SendGrid) -> None:
    killed = start_api(migrated_database_url, **production(sendgrid))
    client = request_while_the_provider_hangs(killed, migrated_database_url, sendgrid)
    killed.stop(SIGKILL)
    sendgrid.seconds = 0
    # Instead of waiting for the heartbeat timeout.
    databases.execute(migrated_database_url, "UPDATE pgqueuer SET heartbeat = now() - interval '31 seconds'")

    assert_sent_by(start_api(migrated_database_url, **production(sendgrid)), client, sendgrid)


def test_stopped_server_loses_no_email(start_api: StartApi, migrated_database_url: str, sendgrid: SendGrid) -> None:
    stopped = start_api(migrated_database_url, **production(sendgrid))
    client = request_while_the_provider_hangs(stopped, migrated_database_url, sendgrid)
    began = time.monotonic()
    assert stopped.stop(SIGTERM) == 0
    assert time.monotonic() - began < 10, "the shutdown doesn't wait for the provider"
    sendgrid.seconds = 0

    assert_sent_by(start_api(migrated_database_url, **production(sendgrid)), client, sendgrid)
