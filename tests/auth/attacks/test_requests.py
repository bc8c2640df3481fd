"""Attacks with requests for links: account enumeration, floods of e-mail, open redirects."""

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
    """Create accounts and return their addresses."""
    emails = [new_address() for _ in range(count)]
    disabled_at = "now()" if suspended else "NULL"
    values = ", ".join(f"(gen_random_uuid(), '{email}', '{email}', now(), {disabled_at})" for email in emails)
    databases.execute(
        app.database_url,
        f"INSERT INTO users (id, email, email_key, created_at, disabled_at) VALUES {values}",
    )
    return emails


def assert_limited(answer: httpx2.Response, policy: str, quota: int, window: str) -> int:
    """Check the 429 with its headers, and return Retry-After."""
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
def test_request_does_not_reveal_an_account(
    start_app: Callable[..., App], migrated_database_url: str, sendgrid: SendGrid
) -> None:
    """Neither by the response nor by its duration.

    The kinds are measured in random order, so that a busy machine delays all of them, and again if the result is bad.
    """
    app = start_app(migrated_database_url, mail_limit_per_hour=1_000_000)
    rounds = 40
    kinds = {
        "known": accounts(app, rounds, suspended=False),
        "unknown": [new_address() for _ in range(rounds)],
        "suspended": accounts(app, rounds, suspended=True),
    }
    Client(app.http, sendgrid).request_mail()  # warms up the server
    looks = set()

    def slowest_by_fastest() -> float:
        """Compare lower quartiles, which a busy machine affects less than medians."""
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


def test_request_reads_no_account(
    start_app: Callable[..., App], migrated_database_url: str, sendgrid: SendGrid
) -> None:
    """The request works without the table of accounts, so its duration can't depend on it."""
    app = start_app(migrated_database_url)
    databases.execute(migrated_database_url, "ALTER TABLE users RENAME TO mislaid")
    client = Client(app.http, sendgrid)
    assert client.request().status_code == 202
    databases.execute(migrated_database_url, "ALTER TABLE mislaid RENAME TO users")


def test_suspended_account_is_refused_after_proof(client: Client, app: App) -> None:
    client.sign_in()
    databases.execute(app.database_url, f"UPDATE users SET disabled_at = now() WHERE email_key = '{client.email}'")
    mail = client.request_mail()
    by_code = {"flow_id": client.flow["flow_id"], "code": mail.code, **client.secret()}
    assert client.verify(token=mail.token).status_code == 409
    answer = client.verify(token=mail.token, **client.secret())

    assert (answer.status_code, answer.json()["code"]) == (403, "account.disabled")
    assert answer.json().keys() <= {"type", "title", "status", "detail", "instance", "code", "request_id"}
    assert "set-cookie" not in answer.headers
    assert count_rows(app.database_url, "sessions", client.email) == 1, "the first session"
    assert client.verify(**by_code).json()["code"] == "magic_link.used"
    mail = client.request_mail()
    by_code = {"flow_id": client.flow["flow_id"], "code": mail.code, **client.secret()}
    assert client.verify(**by_code).json()["code"] == "account.disabled"


def test_hanging_email_provider_delays_no_request(
    start_app: Callable[..., App], migrated_database_url: str, sendgrid: SendGrid
) -> None:
    """E-mails that wait for the provider hold no database connections, of which there are only few here."""
    app = start_app(migrated_database_url, database_pool_size=2, database_background_pool_size=2)
    sendgrid.seconds = 1.5
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        assert Client(app.http, sendgrid).request().status_code == 202
        seconds.append(time.perf_counter() - start)

    assert median(seconds) < 1, seconds


@pytest.mark.slow
def test_email_is_retried_after_a_provider_outage(start_app: Callable[..., App], migrated_database_url: str) -> None:
    with sendgrids.running() as provider:
        client = Client(start_app(migrated_database_url, sendgrid_api_url=provider.url).http, provider)
        provider.status = 500
        assert client.request().status_code == 202
        wait_until(lambda: provider.requests > 0)
        assert provider.mails_to(client.email) == []
        provider.status = 202
        time.sleep(1.2)  # the wait before the first retry
        Client(client.http, provider).request_mail()  # wakes the worker, which otherwise polls every 5 s

        provider.wait_for(client.email)
        assert len(provider.mails_to(client.email)) == 1


def test_sixth_request_for_an_address_and_client_is_limited(client: Client, app: App) -> None:
    answers = [client.request() for _ in range(5)]
    assert [answer.status_code for answer in answers] == [202] * 5
    wait = assert_limited(client.request(), "sign-in-address-client", 5, HOUR)

    assert wait > 3500
    assert count_rows(app.database_url, "sign_in_flows", client.email) == 5
    assert elsewhere(client).request().status_code == 202, "another client may go on"
    app.clock.advance(seconds=wait - 10)
    assert client.request().status_code == 429
    app.clock.advance(seconds=10)
    assert client.request().status_code == 202, "the first client after Retry-After"


def test_twenty_first_request_of_a_client_is_limited(client: Client, app: App) -> None:
    for _ in range(20):
        assert client.request(email=new_address()).status_code == 202
    wait = assert_limited(client.request(email=new_address()), "sign-in-client", 20, HOUR)

    assert elsewhere(client).request(email=new_address()).status_code == 202
    app.clock.advance(seconds=wait)
    assert client.request(email=new_address()).status_code == 202


def test_twenty_first_request_for_an_address_is_limited(client: Client, app: App) -> None:
    for _ in range(20):
        assert elsewhere(client).request().status_code == 202
    wait = assert_limited(elsewhere(client).request(), "sign-in-address", 20, DAY)

    assert wait > 86000
    app.clock.advance(hours=23)
    assert elsewhere(client).request().status_code == 429
    app.clock.advance(seconds=wait - 23 * 3600)
    assert elsewhere(client).request().status_code == 202


def test_counters_hold_no_address_in_clear(
    start_app: Callable[..., App], migrated_database_url: str, sendgrid: SendGrid
) -> None:
    Client(start_app(migrated_database_url).http, sendgrid).request_mail()
    query = "SELECT count(*) >= 4 AND bool_and(key ~ '^[0-9a-f]{32}$') FROM rate_limit_counters"

    assert databases.fetch_value(migrated_database_url, query) is True


def test_concurrent_requests_respect_the_limit(client: Client, app: App) -> None:
    answers = at_once([client.request] * 30)

    assert Counter(answer.status_code for answer in answers) == {202: 5, 429: 25}
    assert count_rows(app.database_url, "sign_in_flows", client.email) == 5


def test_ipv6_network_counts_as_one_client(client: Client) -> None:
    """A host can use any address of its /64 (RFC 4291, 2.5.4)."""
    network = int(EVERYBODYS_NETWORK.network_address) + (randrange(2**32) << 64)
    for _ in range(5):
        client.ip = str(IPv6Address(network + randrange(2**64)))
        assert client.request().status_code == 202
    client.ip = str(IPv6Address(network + randrange(2**64)))
    assert_limited(client.request(), "sign-in-address-client", 5, HOUR)

    client.ip = str(IPv6Address(network + (1 << 64)))
    assert client.request().status_code == 202


def test_ipv6_site_gets_sixty_emails_an_hour(client: Client, sendgrid: SendGrid) -> None:
    """A /48 has 65,536 networks, enough to exhaust the limit on all e-mails."""
    site = int(EVERYBODYS_NETWORK.network_address) + (1 << 126) + (randrange(2**16) << 80)
    for number in range(60):
        neighbour = Client(client.http, sendgrid, ip=str(IPv6Address(site + (number << 64) + 1)))
        assert neighbour.request().status_code == 202
    another = Client(client.http, sendgrid, ip=str(IPv6Address(site + (60 << 64) + 1)))
    assert_limited(another.request(), "sign-in-site", 60, HOUR)

    another.ip = str(IPv6Address(site + (1 << 80)))
    assert another.request().status_code == 202


def test_ipv4_mapped_address_counts_as_ipv4(client: Client) -> None:
    ip = client.ip
    for _ in range(5):
        assert client.request().status_code == 202
    client.ip = f"::ffff:{ip}"

    assert_limited(client.request(), "sign-in-address-client", 5, HOUR)


@pytest.mark.parametrize(
    "header",
    [
        *"AudiFi-Client-IP X-Forwarded-For X-Real-IP X-Client-IP".split(),
        *"True-Client-IP CF-Connecting-IP X-Envoy-External-Address".split(),
    ],
)
def test_client_cannot_forge_its_address(client: Client, header: str) -> None:
    for _ in range(5):
        client.headers = {header: new_ip(), "Forwarded": f"for={new_ip()}"}
        assert client.request().status_code == 202
    client.headers = {header: new_ip()}

    assert_limited(client.request(), "sign-in-address-client", 5, HOUR)


def test_fly_header_of_untrusted_peer_is_ignored(
    start_app: Callable[..., App], migrated_database_url: str, sendgrid: SendGrid
) -> None:
    client = Client(start_app(migrated_database_url, trusted_proxies="").http, sendgrid)
    for _ in range(5):
        assert elsewhere(client).request().status_code == 202

    assert_limited(elsewhere(client).request(), "sign-in-address-client", 5, HOUR)


def test_all_emails_together_are_limited(
    start_app: Callable[..., App], migrated_database_url: str, sendgrid: SendGrid
) -> None:
    app = start_app(migrated_database_url, mail_limit_per_hour=7)
    client = Client(app.http, sendgrid)
    for _ in range(12):
        client.request()
    assert count_rows(app.database_url, "sign_in_flows", client.email) == 5
    for _ in range(2):
        assert Client(app.http, sendgrid).request().status_code == 202, "refused requests aren't counted"
    wait = assert_limited(Client(app.http, sendgrid).request(), "sign-in-emails", 7, HOUR)

    app.clock.advance(seconds=wait)
    assert Client(app.http, sendgrid).request().status_code == 202


def test_machines_share_request_limits(
    app: App, start_app: Callable[..., App], client: Client, sendgrid: SendGrid
) -> None:
    other = Client(start_app(app.database_url).http, sendgrid, ip=client.ip, email=client.email)
    statuses = [each.request().status_code for each in (client, other, client, other, client)]
    assert statuses == [202] * 5

    assert_limited(other.request(), "sign-in-address-client", 5, HOUR)
    assert_limited(client.request(), "sign-in-address-client", 5, HOUR)


def test_invalid_request_is_not_counted(client: Client) -> None:
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

DOTTED = [
    "/.//evil.example",
    "/a/..//evil.example",
    "/%2e//evil.example",
]  # URL parsers remove the dot segments (WHATWG URL)


@pytest.mark.parametrize("redirect_to", [*ELSEWHERE.split(), *CONTROLS, *NEITHER, *DOTTED])
def test_external_redirect_is_refused(client: Client, app: App, redirect_to: object) -> None:
    answer = client.request(redirect_to=redirect_to)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/redirect_to"
    assert "evil" not in answer.text
    assert count_rows(app.database_url, "sign_in_flows", client.email) == 0, "no e-mail is sent"


@pytest.mark.parametrize(
    "redirect_to", ["/", "/ok", "/studio?tab=2&q=a%20b#top", "/search?q=%C3%A9", "/" + "a" * 2047, None]
)
def test_redirect_path_is_returned(client: Client, redirect_to: str | None) -> None:
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
def test_invalid_or_unknown_field_is_refused(client: Client, app: App, field: str, value: object) -> None:
    answer = client.request(**{field: value})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == f"/{field}"
    assert count_rows(app.database_url, "sign_in_flows", client.email) == 0
