"""Attacks with addresses: several spellings of one mailbox, lookalikes, invalid addresses."""

import json
from collections.abc import Callable
from functools import partial

import pytest

from audifi.auth import addresses
from tests.support import databases
from tests.support import sendgrid as sendgrids
from tests.support.app import App
from tests.support.clients import Client, at_once, count_rows, new_address, newest_mail
from tests.support.sendgrid import SendGrid

DOMAIN = "example.com"
CYRILLIC = "\u0435\u0445ample.com"
"""A lookalike of DOMAIN with two Cyrillic letters."""
CYRILLIC_IN_ASCII = "xn--ample-ywe6i.com"

LONG_DOMAIN = ".".join(["d" * 60] * 4) + ".com"

NOT_ADDRESSES = {
    "nothing": "",
    "blanks": "   ",
    "no @": "mallory.example.com",
    "nothing before the @": "@mallory.example.com",
    "nothing after the @": "mallory@",
    "two @": "mallory@b.example@example.com",
    "a header more": "mallory@example.com\r\nBcc: mallory@evil.example",
    "a line separator at the end": "mallory@example.com\u2028",
    "NUL": "mallory\0@example.com",
    "NUL at the end": "mallory@example.com\0",
    "DEL": "mallory\x7f@example.com",
    "a comma": "mallory@example.com,eve@evil.example",
    "a semicolon": "mallory@example.com;eve@evil.example",
    "a blank between two": "mallory@example.com eve@evil.example",
    "a comma before the @": "mallory,eve@example.com",
    "a display name": "Ann <mallory@example.com>",
    "angle brackets": "<mallory@example.com>",
    "a scheme": "mailto:mallory@example.com",
    "a comment": "mallory(comment)@example.com",
    "65 characters before the @": "mallory".ljust(65, "x") + "@example.com",
    "255 characters": f"mallory@{LONG_DOMAIN}",
    "300 characters": f"mallory@{'d' * 45}.{LONG_DOMAIN}",
    "60,000 characters": "mallory@" + "d" * 60_000 + ".com",
    "a quoted local part": '"mallory"@example.com',
    "a quoted local part with an @": '"mallory@evil.example"@example.com',
    "an IPv4 literal": "mallory@[127.0.0.1]",
    "an IPv6 literal": "mallory@[IPv6:::1]",
    "an IPv4 address": "mallory@127.0.0.1",
    "no dot in the domain": "mallory@localhost",
    "a special domain": "mallory@mail.local",
    "a dot at the end": "mallory@example.com.",
    "two dots": "mallory@example..com",
    "two dots before the @": "mallory..m@example.com",
    "a dot first": ".mallory@example.com",
    "a hyphen first in the domain": "mallory@-example.com",
    "an underscore in the domain": "mallory@exa_mple.com",
    "percent": "mallory@example.com%0a",
    "Cyrillic before the @": "mallory\u0430@example.com",
    "a Kelvin sign, which lower() makes a k": "mallory\u212a@example.com",
    "a zero-width space in the domain": "mallory@exa\u200bmple.com\u202e",
    "a right-to-left override before the @": "mallory\u202e@example.com",
    "half of a surrogate pair": "mallory\ud800@example.com",
}


def flows(app: App) -> object:
    return databases.fetch_value(app.database_url, "SELECT count(*) FROM sign_in_flows")


def recipients(sendgrid: SendGrid, client: Client) -> set[str]:
    """Return the spellings of the client's address that got e-mails."""
    return {spelling for spelling in spellings(client) if sendgrid.mails_to(spelling.strip())}


def spellings(client: Client) -> list[str]:
    local, _, domain = client.email.partition("@")
    return [
        f"{local.title()}@{domain}",
        f"{local}@{domain.title()}",
        f"{local.upper()}@{domain.upper()}",
        f"  {local}@{domain}   ",
    ]


def sign_in(client: Client, *, requested: str, mailed: str, count: int = 1) -> dict[str, object]:
    """Request with one spelling, use the e-mail sent to another, and return the account."""
    answer = client.request(email=requested)
    assert answer.status_code == 202, answer.text
    answer = client.verify(token=newest_mail(client.sendgrid, mailed, count).token, **client.secret())
    assert answer.status_code == 200, answer.text
    user: dict[str, object] = answer.json()["user"]
    return user


def test_spellings_of_an_address_share_account_and_recipient(client: Client, app: App, sendgrid: SendGrid) -> None:
    """At some providers `Ana` and `ana` are different people: the second must not get into the first's account."""
    first, *others = spellings(client)
    ids = {sign_in(client, requested=first, mailed=first)["id"]}
    for number, spelling in enumerate(others):
        user = sign_in(client, requested=spelling, mailed=first, count=number + 2)
        assert user["email"] == first
        ids.add(user["id"])

    assert len(ids) == 1
    assert recipients(sendgrid, client) == {first}
    assert count_rows(app.database_url, "users", client.email) == 1


def test_spellings_used_concurrently_share_an_account(client: Client, app: App, sendgrid: SendGrid) -> None:
    calls = []
    for spelling in spellings(client)[:3:2]:
        assert client.request(email=spelling).status_code == 202
        mail = newest_mail(sendgrid, spelling.partition("@")[0] + "@" + DOMAIN)
        calls.append(partial(client.verify, token=mail.token, **client.secret()))
    answers = at_once(calls)

    assert {answer.status_code for answer in answers} <= {200, 401}
    ids = {answer.json()["user"]["id"] for answer in answers if answer.status_code == 200}
    assert len(ids) == 1
    assert count_rows(app.database_url, "users", client.email) == 1


def test_lookalike_domain_is_another_account(client: Client, sendgrid: SendGrid) -> None:
    local = client.email.partition("@")[0]
    latin = sign_in(client, requested=client.email, mailed=client.email)
    cyrillic = sign_in(client, requested=f"{local}@{CYRILLIC}", mailed=f"{local}@{CYRILLIC_IN_ASCII}")

    assert latin["id"] != cyrillic["id"]
    assert cyrillic["email"] == f"{local}@{CYRILLIC_IN_ASCII}", "the ASCII form doesn't look the same"
    assert len(sendgrid.mails_to(client.email)) == 1


def test_spellings_of_an_international_domain_share_an_account(client: Client) -> None:
    local = client.email.partition("@")[0]
    mailed = f"{local}@xn--bcher-kva.example.com"
    ids = {
        sign_in(client, requested=f"{local}@{domain}.example.com", mailed=mailed, count=number + 1)["id"]
        for number, domain in enumerate(
            ["b\u00fccher", "B\u00dcCHER", "bu\u0308cher", "xn--bcher-kva", "XN--BCHER-KVA"]
        )
    }

    assert len(ids) == 1


@pytest.mark.parametrize("around", ["\n", "\r\n", "\t", "\u00a0", "\u2009", "\u200b", "\ufeff", "\u202a \u00a0\t"])
def test_pasted_white_space_around_address_is_ignored(client: Client, around: str) -> None:
    user = sign_in(client, requested=f"{around}{client.email}{around}", mailed=client.email)

    assert user["email"] == client.email


@pytest.mark.parametrize(
    ("domain", "spelling"), [("example.com", "{0}.{1}+tag@example.com"), ("gmail.com", "{0}{1}@googlemail.com")]
)
def test_same_mailbox_may_have_several_accounts(client: Client, domain: str, spelling: str) -> None:
    """Limits count mailboxes. Accounts don't, because other providers deliver the spellings to different people."""
    local, salt = client.email.partition("@")[0].split("-")
    plain, other = f"{local}.{salt}@{domain}", spelling.format(local, salt)
    user = sign_in(client, requested=plain, mailed=plain)

    assert sign_in(client, requested=other, mailed=other)["id"] != user["id"]


@pytest.mark.parametrize(
    ("email", "key"),
    [
        ("ana.m@example.com", "ana.m@example.com"),
        ("ana.m+one+two@example.com", "ana.m@example.com"),
        ("+ana@example.com", "+ana@example.com"),
        ("a.n.a.m+tag@gmail.com", "anam@gmail.com"),
        ("ana.m@googlemail.com", "anam@gmail.com"),
        ("ana.m@gmail.com.example", "ana.m@gmail.com.example"),
    ],
)
def test_mailbox_key_is_the_same_for_each_spelling(email: str, key: str) -> None:
    assert addresses.mailbox_key(email) == key


def test_gmail_spellings_share_the_address_limit(client: Client) -> None:
    local = client.email.partition("@")[0].replace("-", "")
    spellings = [
        f"{local[:at]}.{local[at:]}@{domain}" for at in (1, 2, 3) for domain in ("gmail.com", "GoogleMail.com")
    ]
    assert [client.request(email=email).status_code for email in spellings] == [202] * 5 + [429]

    assert client.request(email=f"{local}.x@gmail.com").status_code == 202, "another mailbox"


def test_spellings_and_tags_share_the_address_limit(client: Client) -> None:
    local, _, domain = client.email.partition("@")
    spellings = [
        f"{local}@{domain}",
        f"{local}+1@{domain}",
        f"{local.upper()}+one+two@{domain}",
        f"  {local}@{domain.upper()} ",
        f"{local}+{'x' * 20}@{domain}",
    ]
    assert [client.request(email=email).status_code for email in spellings] == [202] * 5

    assert client.request(email=f"{local}+6@{domain}").status_code == 429
    assert client.request(email=new_address()).status_code == 202


@pytest.mark.parametrize("value", NOT_ADDRESSES.values(), ids=NOT_ADDRESSES)
def test_invalid_address_is_refused_and_not_repeated(client: Client, app: App, value: str) -> None:
    before = flows(app)
    answer = ask(client, value)

    assert answer == (422, "/email")
    assert flows(app) == before


@pytest.mark.parametrize("value", [None, 5, True, ["mallory@example.com"], {"email": "mallory@example.com"}])
def test_address_must_be_a_string(client: Client, value: object) -> None:
    assert ask(client, value) == (422, "/email")


def ask(client: Client, value: object) -> tuple[int, str]:
    """Return the status and the pointer of the error; check that the response doesn't repeat the address."""
    # Encoded here: a lone surrogate can be sent only as an escape.
    body = json.dumps({"email": value, "delivery": "body"}).encode()
    answer = client.ask("POST", "/auth/magic-link/request", content=body, headers={"Content-Type": "application/json"})
    for part in ("mallory", "eve@", "Ann", "evil", "d" * 40):
        assert part not in answer.text
        assert part not in str(answer.headers)
    return answer.status_code, answer.json()["errors"][0]["pointer"]


def test_invalid_address_gets_no_email(start_app: Callable[..., App], migrated_database_url: str) -> None:
    with sendgrids.running() as provider:
        app = start_app(migrated_database_url, sendgrid_api_url=provider.url)
        for value in NOT_ADDRESSES.values():
            ask(Client(app.http, provider), value)
        Client(app.http, provider).request_mail()

        assert provider.requests == 1


def test_longest_valid_address_gets_an_email(client: Client) -> None:
    """64 characters before the @, 254 in all (RFC 5321, 4.5.3.1)."""
    local = new_address().partition("@")[0].ljust(64, "x")
    domain = ".".join(["d" * 61] * 3) + ".com"
    email = f"{local}@{domain}"
    assert len(email) == 254

    assert sign_in(client, requested=email, mailed=email)["email"] == email


@pytest.mark.parametrize("name", ["o'hara", "a.b.c", "a_b", "a-b", "a=b", "a/b", "{a}", "a!b", "a%b", "a&b"])
def test_unusual_addresses_are_accepted(client: Client, name: str) -> None:
    email = f"{name}.{client.email}"

    assert sign_in(client, requested=email, mailed=email)["email"] == email
