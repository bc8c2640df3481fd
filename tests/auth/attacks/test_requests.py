"""What is done with requests for links: to learn who has an account, to flood people with mail, to lead them astray."""

import random
import time
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network
from random import randrange
from statistics import median, quantiles

import httpx2
import pytest

from tests.support import databases
from tests.support import sendgrid as sendgrids
from tests.support.app import App
from tests.support.clients import Client, at_once, count_rows, elsewhere, new_address, new_ip
from tests.support.sendgrid import SendGrid
from tests.support.waiting import wait_until

HOUR = "3600"
DAY = "86400"
EVERYBODYS_NETWORK = IPv6Network("2001:db8::/32")


def accounts(app: App, count: int, *, suspended: bool) -> list[str]:
    """The addresses of new accounts."""
    emails = [new_address() for _ in range(count)]
    disabled_at = "now()" if suspended else "NULL"
    values = ", ".join(f"(gen_random_uuid(), '{email}', '{email}', now(), {disabled_at})" for email in emails)
    databases.execute(
        app.database_url,
        f"INSERT INTO users (id, email, email_key, created_at, disabled_at) VALUES {values}",
    )
    return emails


def assert_limited(answer: httpx2.Response, policy: str, quota: int, window: str) -> int:
    """It says so with the fields of the standards, and tells nothing else. Returns for how long."""
    assert answer.status_code == 429, answer.text
    assert answer.json()["code"] == "rate_limit.exceeded"
    assert answer.headers.get_list("ratelimit-policy")[0] == f'"{policy}";q={quota};w={window}'
    wait = int(answer.headers["retry-after"])
    assert 0 < wait <= int(window) + 1
    assert answer.headers.get_list("ratelimit")[0] == f'"{policy}";r=0;t={wait}'
    assert answer.headers["cache-control"] == "no-store"
    assert "@" not in answer.text
    assert "set-cookie" not in answer.headers
    return wait


@pytest.mark.slow
def test_a_request_tells_nobody_whether_there_is_an_account(
    start_app: Callable[..., App], migrated_database_url: str, sendgrid: SendGrid
) -> None:
    """Neither in what it answers nor in how long that takes.

    Measured by turns, in changing order, so that a busy machine delays all; and again, if it didn't.
    """
    app = start_app(migrated_database_url, mail_limit_per_hour=1_000_000)
    rounds = 40
    kinds = {
        "known": accounts(app, rounds, suspended=False),
        "unknown": [new_address() for _ in range(rounds)],
        "suspended": accounts(app, rounds, suspended=True),
    }
    Client(app.http, sendgrid).request_mail()  # the first of a server takes longer
    looks = set()

    def slowest_by_fastest() -> float:
        """Of the kinds' lower quartiles, which a busy machine moves less than their medians."""
        seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
        for number in range(rounds):
            for kind in sorted(kinds, key=lambda _: random.random()):
                client = Client(app.http, sendgrid, email=kinds[kind][number])
                start = time.perf_counter()
                answer = client.request()
                seconds[kind].append(time.perf_counter() - start)
                body = answer.json()
                looks.add((answer.status_code, tuple(body), tuple(answer.headers), body["resend_after"]))
        quartiles = [quantiles(each)[0] for each in seconds.values()]
        return max(quartiles) / min(quartiles)

    assert any(slowest_by_fastest() < 1.5 for _ in range(3))
    assert len(looks) == 1, looks
    assert next(iter(looks))[0] == 202


def test_a_request_looks_nobody_up(
    start_app: Callable[..., App], migrated_database_url: str, sendgrid: SendGrid
) -> None:
    """So that no time can be measured: it doesn't even need the table of accounts."""
    app = start_app(migrated_database_url)
    databases.execute(migrated_database_url, "ALTER TABLE users RENAME TO mislaid")
    client = Client(app.http, sendgrid)
    assert client.request().status_code == 202
    databases.execute(migrated_database_url, "ALTER TABLE mislaid RENAME TO users")


def test_a_suspended_account_isnt_signed_in_to_and_only_its_owner_learns_why(client: Client, app: App) -> None:
    client.sign_in()
    databases.execute(app.database_url, f"UPDATE users SET disabled_at = now() WHERE email_key = '{client.email}'")
    mail = client.request_mail()
    by_code = {"flow_id": client.flow["flow_id"], "code": mail.code, **client.secret()}
    assert client.verify(token=mail.token).status_code == 409
    answer = client.verify(token=mail.token, **client.secret())

    assert (answer.status_code, answer.json()["code"]) == (403, "account.disabled")
    assert answer.json().keys() <= {"type", "title", "status", "detail", "instance", "code", "request_id"}
    assert "set-cookie" not in answer.headers
    assert count_rows(app.database_url, "sessions", client.email) == 1, "the one of before"
    assert client.verify(**by_code).json()["code"] == "magic_link.used"
    mail = client.request_mail()
    by_code = {"flow_id": client.flow["flow_id"], "code": mail.code, **client.secret()}
    assert client.verify(**by_code).json()["code"] == "account.disabled"


def test_a_mail_provider_that_hangs_keeps_nobody_waiting(
    start_app: Callable[..., App], migrated_database_url: str, sendgrid: SendGrid
) -> None:
    """Nor do mails that wait for it hold connections to the database, of which there are fewer here."""
    app = start_app(migrated_database_url, database_pool_size=2, database_background_pool_size=2)
    sendgrid.seconds = 1.5
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        assert Client(app.http, sendgrid).request().status_code == 202
        seconds.append(time.perf_counter() - start)

    assert median(seconds) < 1, seconds


@pytest.mark.slow
def test_a_mail_provider_that_is_down_gets_the_mail_when_it_is_back(
    start_app: Callable[..., App], migrated_database_url: str
) -> None:
    with sendgrids.running() as own:
        client = Client(start_app(migrated_database_url, sendgrid_api_url=own.url).http, own)
        own.status = 500
        assert client.request().status_code == 202
        wait_until(lambda: own.requests > 0)
        assert own.mails_to(client.email) == []
        own.status = 202
        time.sleep(1.2)  # the wait before the first retry
        Client(client.http, own).request_mail()  # has the queue look at what is due, which else it does each 5 s

        own.wait_for(client.email)
        assert len(own.mails_to(client.email)) == 1


def test_the_sixth_request_of_a_client_for_an_address_in_an_hour_is_refused(client: Client, app: App) -> None:
    answers = [client.request() for _ in range(5)]
    assert [answer.status_code for answer in answers] == [202] * 5
    wait = assert_limited(client.request(), "sign-in-address-client", 5, HOUR)

    assert wait > 3500
    assert count_rows(app.database_url, "sign_in_flows", client.email) == 5
    assert elsewhere(client).request().status_code == 202, "another client may go on"
    app.clock.advance(seconds=wait - 10)
    assert client.request().status_code == 429
    app.clock.advance(seconds=10)
    assert client.request().status_code == 202, "and the first, as soon as it was told"


def test_the_twenty_first_request_of_a_client_in_an_hour_is_refused(client: Client, app: App) -> None:
    for _ in range(20):
        assert client.request(email=new_address()).status_code == 202
    wait = assert_limited(client.request(email=new_address()), "sign-in-client", 20, HOUR)

    assert elsewhere(client).request(email=new_address()).status_code == 202
    app.clock.advance(seconds=wait)
    assert client.request(email=new_address()).status_code == 202


def test_the_twenty_first_request_for_an_address_in_a_day_is_refused_whoever_asks(client: Client, app: App) -> None:
    for _ in range(20):
        assert elsewhere(client).request().status_code == 202
    wait = assert_limited(elsewhere(client).request(), "sign-in-address", 20, DAY)

    assert wait > 86000
    app.clock.advance(hours=23)
    assert elsewhere(client).request().status_code == 429
    app.clock.advance(seconds=wait - 23 * 3600)
    assert elsewhere(client).request().status_code == 202


def test_of_thirty_requests_at_once_five_get_through(client: Client, app: App) -> None:
    answers = at_once([client.request] * 30)

    assert Counter(answer.status_code for answer in answers) == {202: 5, 429: 25}
    assert count_rows(app.database_url, "sign_in_flows", client.email) == 5


def test_all_addresses_of_one_ipv6_network_are_one_client(client: Client) -> None:
    """A host may choose any of a /64 (RFC 4291, 2.5.4)."""
    network = int(EVERYBODYS_NETWORK.network_address) + (randrange(2**32) << 64)
    for _ in range(5):
        client.ip = str(IPv6Address(network + randrange(2**64)))
        assert client.request().status_code == 202
    client.ip = str(IPv6Address(network + randrange(2**64)))
    assert_limited(client.request(), "sign-in-address-client", 5, HOUR)

    client.ip = str(IPv6Address(network + (1 << 64)))
    assert client.request().status_code == 202


def test_whoever_has_many_ipv6_networks_gets_no_more_than_sixty_mails_an_hour(
    client: Client, sendgrid: SendGrid
) -> None:
    """A /48 has 65,536 of them, which would be enough to use up everybody's mails."""
    site = int(EVERYBODYS_NETWORK.network_address) + (1 << 126) + (randrange(2**16) << 80)
    for number in range(60):
        one = Client(client.http, sendgrid, ip=str(IPv6Address(site + (number << 64) + 1)))
        assert one.request().status_code == 202
    another = Client(client.http, sendgrid, ip=str(IPv6Address(site + (60 << 64) + 1)))
    assert_limited(another.request(), "sign-in-site", 60, HOUR)

    another.ip = str(IPv6Address(site + (1 << 80)))
    assert another.request().status_code == 202


def test_an_ipv4_address_is_one_client_even_when_it_is_written_as_ipv6(client: Client) -> None:
    ip = client.ip
    for _ in range(5):
        assert client.request().status_code == 202
    client.ip = f"::ffff:{ip}"

    assert_limited(client.request(), "sign-in-address-client", 5, HOUR)


@pytest.mark.parametrize(
    "header", "X-Forwarded-For X-Real-IP X-Client-IP True-Client-IP CF-Connecting-IP X-Envoy-External-Address".split()
)
def test_a_client_cant_give_itself_another_address(client: Client, header: str) -> None:
    for _ in range(5):
        client.headers = {header: new_ip(), "Forwarded": f"for={new_ip()}"}
        assert client.request().status_code == 202
    client.headers = {header: new_ip()}

    assert_limited(client.request(), "sign-in-address-client", 5, HOUR)


def test_flys_header_is_believed_from_flys_proxy_alone(
    start_app: Callable[..., App], migrated_database_url: str, sendgrid: SendGrid
) -> None:
    client = Client(start_app(migrated_database_url, trusted_proxies="").http, sendgrid)
    for _ in range(5):
        assert elsewhere(client).request().status_code == 202

    assert_limited(elsewhere(client).request(), "sign-in-address-client", 5, HOUR)


def test_all_together_get_no_more_mail_than_is_paid_for(
    start_app: Callable[..., App], migrated_database_url: str, sendgrid: SendGrid
) -> None:
    app = start_app(migrated_database_url, mail_limit_per_hour=7)
    client = Client(app.http, sendgrid)
    for _ in range(12):
        client.request()
    assert count_rows(app.database_url, "sign_in_flows", client.email) == 5
    for _ in range(2):
        assert Client(app.http, sendgrid).request().status_code == 202, "what was refused before didn't count"
    wait = assert_limited(Client(app.http, sendgrid).request(), "sign-in-emails", 7, HOUR)

    app.clock.advance(seconds=wait)
    assert Client(app.http, sendgrid).request().status_code == 202


def test_machines_count_together(app: App, start_app: Callable[..., App], client: Client, sendgrid: SendGrid) -> None:
    other = Client(start_app(app.database_url).http, sendgrid, ip=client.ip, email=client.email)
    statuses = [each.request().status_code for each in (client, other, client, other, client)]
    assert statuses == [202] * 5

    assert_limited(other.request(), "sign-in-address-client", 5, HOUR)
    assert_limited(client.request(), "sign-in-address-client", 5, HOUR)


def test_what_isnt_a_request_doesnt_count(client: Client) -> None:
    for _ in range(25):
        assert client.request(redirect_to="//evil.example").status_code == 422

    assert client.request().status_code == 202


ELSEWHERE = r"""
    //evil.example ///evil.example /\evil.example \\evil.example /\/evil.example %2f%2fevil.example /%2fevil.example
    /%2F%2Fevil.example /%5cevil.example /%5C/evil.example https://evil.example HTTPS:evil.example https:/evil.example
    javascript:alert(1) JaVaScRiPt:alert(1) data:text/html,<script>alert(1)</script>
    /%0d%0aSet-Cookie:x /%0ASet-Cookie:x /%09/evil.example /%00 /%7f /%e2%80%a8 studio ?a=b
    #a @evil.example .evil.example
"""
CONTROLS = ["/\r\nSet-Cookie: x", "/\t/evil.example", "/\n/evil.example", "\t//evil.example", " //evil.example", "/\0"]
NEITHER = ["/\x7f", "/\u2028", "/\u0430", "", "/" + "a" * 2048, 5, ["/studio"], {"path": "/studio"}]

DOTTED = ["/.//evil.example", "/a/..//evil.example", "/%2e//evil.example"]  # WHATWG URL takes dots out


@pytest.mark.parametrize("redirect_to", [*ELSEWHERE.split(), *CONTROLS, *NEITHER, *DOTTED])
def test_nobody_is_led_elsewhere_after_signing_in(client: Client, app: App, redirect_to: object) -> None:
    answer = client.request(redirect_to=redirect_to)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/redirect_to"
    assert "evil" not in answer.text
    assert count_rows(app.database_url, "sign_in_flows", client.email) == 0, "so there is no mail"


@pytest.mark.parametrize(
    "redirect_to", ["/", "/ok", "/studio?tab=2&q=a%20b#top", "/search?q=%C3%A9", "/" + "a" * 2047, None]
)
def test_a_path_of_the_frontend_is_where_one_gets(client: Client, redirect_to: str | None) -> None:
    mail = client.request_mail(redirect_to=redirect_to)
    answer = client.verify(token=mail.token, **client.secret())

    assert answer.json()["redirect_to"] == redirect_to
    assert redirect_to is None or len(redirect_to) < 3 or redirect_to not in mail.text, (
        "kept here; it isn't in the mail"
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("delivery", value) for value in ("Cookie", "both", "", None, 1, ["body"])),
        *((field, "x") for field in "role user_id created flow_secret app_url expires_at ip".split()),
    ],
)
def test_a_request_takes_nothing_that_it_doesnt_know(client: Client, app: App, field: str, value: object) -> None:
    answer = client.request(**{field: value})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == f"/{field}"
    assert count_rows(app.database_url, "sign_in_flows", client.email) == 0
