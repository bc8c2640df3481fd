"""Attacks on codes: eight digits can be guessed, so attempts are few and need the flow's secret."""

from collections import Counter
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from tests.support import databases
from tests.support.app import App
from tests.support.clients import FLOW_COOKIE, Browser, Client, Mail, at_once, count_rows, elsewhere
from tests.support.sendgrid import SendGrid


def proof(client: Client, code: str) -> dict[str, str]:
    return {"flow_id": client.flow["flow_id"], "code": code, **client.secret()}


def wrong(mail: Mail, number: int = 1) -> str:
    """Return a wrong code."""
    return f"{(int(mail.code) + number) % 10**8:08}"


def attempts(app: App, client: Client) -> object:
    query = f"SELECT code_attempts FROM sign_in_flows WHERE id = '{client.flow['flow_id']}'"
    return databases.fetch_value(app.database_url, query)


@pytest.fixture
def compared(app: App, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the codes that the app compares."""
    keys = app.services.keys
    digests, seen = keys.digests, []

    def watched(kind: str, *values: bytes | str) -> list[bytes]:
        if kind == "code" and isinstance(values[-1], str):
            seen.append(values[-1])
        return digests(kind, *values)

    monkeypatch.setattr(keys, "digests", watched)
    return seen


def test_correct_code_is_refused_after_too_many_attempts(client: Client, app: App, compared: list[str]) -> None:
    mail = client.request_mail()
    compared.clear()
    codes = [wrong(mail, number) for number in range(1, 7)]
    for code in [*codes, mail.code]:
        answer = client.verify(**proof(client, code))
        assert (answer.status_code, answer.json()["code"]) == (401, "code.invalid")
        assert answer.headers["www-authenticate"] == "Bearer"

    assert compared == codes[:5]
    assert attempts(app, client) == 5
    assert count_rows(app.database_url, "sessions", client.email) == 0


def test_correct_code_is_accepted_after_four_wrong_ones(client: Client) -> None:
    mail = client.request_mail()
    for number in range(1, 5):
        assert client.verify(**proof(client, wrong(mail, number))).status_code == 401

    assert client.verify(**proof(client, mail.code)).status_code == 200


def test_concurrent_wrong_codes_get_five_attempts(client: Client, app: App, compared: list[str]) -> None:
    mail = client.request_mail()
    compared.clear()
    codes = [wrong(mail, number) for number in range(1, 51)]
    answers = at_once([partial(elsewhere(client).verify, **proof(client, code)) for code in codes])

    assert Counter((answer.status_code, answer.json()["code"]) for answer in answers) == {(401, "code.invalid"): 50}
    assert len(compared) == 5
    assert attempts(app, client) == 5
    assert client.verify(**proof(client, mail.code)).status_code == 401


def test_exhausted_code_leaves_the_link_valid(client: Client) -> None:
    """Otherwise an attacker could lock the owner out."""
    mail = client.request_mail()
    for number in range(1, 7):
        client.verify(**proof(client, wrong(mail, number)))

    assert client.verify(token=mail.token, **client.secret()).status_code == 200


def test_new_request_gets_new_attempts(client: Client) -> None:
    mail = client.request_mail()
    for number in range(1, 7):
        client.verify(**proof(client, wrong(mail, number)))
    mail = client.request_mail()

    assert client.verify(**proof(client, mail.code)).status_code == 200


def test_code_used_concurrently_signs_in_once(client: Client, app: App) -> None:
    mail = client.request_mail()
    answers = at_once([partial(elsewhere(client).verify, **proof(client, mail.code)) for _ in range(20)])

    assert Counter(answer.status_code for answer in answers) == {200: 1, 401: 19}
    assert count_rows(app.database_url, "sessions", client.email) == 1


def test_code_checked_twice_before_use_signs_in_once(client: Client, app: App) -> None:
    mail = client.request_mail()
    waits_for_both = f"""
        CREATE FUNCTION wait_for_both() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            FOR _ IN 1..1000 LOOP
                EXIT WHEN (SELECT code_attempts = 2 FROM sign_in_flows WHERE id = '{client.flow["flow_id"]}');
                PERFORM pg_sleep(0.01);
            END LOOP;
            RETURN NULL;
        END $$
    """
    use = "BEFORE UPDATE OF consumed_at ON sign_in_flows FOR EACH STATEMENT EXECUTE FUNCTION wait_for_both()"
    databases.execute(app.database_url, waits_for_both, f"CREATE TRIGGER wait_for_both {use}")
    try:
        answers = at_once([partial(elsewhere(client).verify, **proof(client, mail.code)) for _ in range(2)])
    finally:
        databases.execute(app.database_url, "DROP FUNCTION wait_for_both CASCADE")

    first, second = sorted(answers, key=lambda answer: answer.status_code)
    assert first.status_code == 200
    assert (second.status_code, second.json()["code"]) == (401, "magic_link.used")
    assert count_rows(app.database_url, "sessions", client.email) == 1


def test_code_requires_the_secret_of_its_flow(client: Client, app: App, sendgrid: SendGrid, browser: Browser) -> None:
    """A thief who sees the code lacks the secret; such attempts aren't counted, so they can't lock the owner out."""
    mail = client.request_mail()
    same_address, other_address = elsewhere(client), Client(app.http, sendgrid)
    assert same_address.request().status_code == other_address.request().status_code == 202
    right = {"flow_id": client.flow["flow_id"], "code": mail.code}
    thief = elsewhere(client)
    answers = [
        thief.verify(**right, **same_address.secret()),
        thief.verify(**right, **other_address.secret()),
        thief.verify(**right, flow_secret="A" * 43),
        thief.verify(**right, flow_secret=client.flow["flow_secret"] + "="),
        thief.verify(**right, flow_secret=client.flow["flow_secret"].swapcase()),
        thief.verify(**right, flow_secret=mail.token),
    ]
    assert browser.request().status_code == 202
    assert browser.cookies.keys() == {FLOW_COOKIE}
    answers += [browser.verify(**right)]

    problems = Counter((answer.status_code, answer.json()["code"]) for answer in answers)
    assert problems == {(401, "code.invalid"): len(answers)}
    assert attempts(app, client) == 0
    assert client.verify(**proof(client, mail.code)).status_code == 200


def test_missing_flow_secret_says_nothing_about_the_flow(client: Client, browser: Browser, app: App) -> None:
    """The same for open, used, expired and unknown flows, right and wrong codes, so that it tells a thief nothing."""
    mail = client.request_mail()
    thief = elsewhere(client)
    right = {"flow_id": client.flow["flow_id"], "code": mail.code}
    answers = [
        thief.verify(**right),
        thief.verify(**right, flow_secret=None),
        browser.verify(**right),
        thief.verify(**{**right, "code": wrong(mail)}),
        thief.verify(**{**right, "flow_id": str(uuid4())}),
    ]
    assert attempts(app, client) == 0
    assert client.verify(**proof(client, mail.code)).status_code == 200
    answers.append(thief.verify(**right))
    app.clock.advance(minutes=11)
    answers.append(thief.verify(**right))

    bodies = [answer.json() for answer in answers]
    assert {answer.status_code for answer in answers} == {401}
    assert {(body["code"], body["title"], body["detail"]) for body in bodies} == {
        (bodies[0]["code"], bodies[0]["title"], bodies[0]["detail"])
    }
    assert bodies[0]["code"] == "flow_secret.missing"
    assert "no flow cookie" in bodies[0]["detail"]
    assert "set-cookie" not in {name for answer in answers for name in answer.headers}


def test_code_of_another_flow_is_refused(client: Client, app: App) -> None:
    """An attacker starts a flow for the victim's address and gets the code of the victim's own e-mail."""
    mail = client.request_mail()
    attacker = elsewhere(client)
    assert attacker.request().status_code == 202
    answer = attacker.verify(**proof(attacker, mail.code))

    assert (answer.status_code, answer.json()["code"]) == (401, "code.invalid")
    assert (attempts(app, attacker), attempts(app, client)) == (1, 0)


@pytest.mark.parametrize("flow_id", ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"])
def test_unknown_flow_and_wrong_code_look_the_same(client: Client, app: App, flow_id: str) -> None:
    mail = client.request_mail()
    there = client.verify(**proof(client, wrong(mail)))
    answer = client.verify(**proof(client, mail.code) | {"flow_id": flow_id})

    assert answer.status_code == there.status_code == 401
    assert answer.json() | {"request_id": ""} == there.json() | {"request_id": ""}
    assert attempts(app, client) == 1


def test_code_of_a_used_flow_is_refused(client: Client) -> None:
    mail = client.request_mail()
    assert client.verify(token=mail.token, **client.secret()).status_code == 200
    answer = client.verify(**proof(client, mail.code))

    assert (answer.status_code, answer.json()["code"]) == (401, "magic_link.used")


def test_code_and_its_link_work_only_once(client: Client) -> None:
    mail = client.request_mail()
    assert client.verify(**proof(client, mail.code)).status_code == 200

    for fields in (proof(client, mail.code), proof(client, wrong(mail)), {"token": mail.token, "confirm": True}):
        answer = client.verify(**fields)
        assert (answer.status_code, answer.json()["code"]) == (401, "magic_link.used")


def test_code_expires_after_ten_minutes(client: Client, app: App) -> None:
    mail = client.request_mail()
    app.clock.advance(minutes=9, seconds=50)
    assert client.verify(**proof(client, wrong(mail))).json()["code"] == "code.invalid"
    app.clock.advance(seconds=10)
    answer = client.verify(**proof(client, mail.code))

    assert (answer.status_code, answer.json()["code"]) == (401, "magic_link.expired")
    assert attempts(app, client) == 1


def test_flow_state_is_hidden_without_its_secret(client: Client, app: App) -> None:
    used = client.request_mail()
    thief = elsewhere(client)
    right = {"flow_id": client.flow["flow_id"], "code": used.code, "flow_secret": "A" * 43}
    open_answer = thief.verify(**right)
    assert client.verify(**proof(client, used.code)).status_code == 200
    used_answer = thief.verify(**right)
    app.clock.advance(minutes=11)
    expired_answer = thief.verify(**right)

    assert {answer.json()["code"] for answer in (open_answer, used_answer, expired_answer)} == {"code.invalid"}


@pytest.mark.parametrize(
    "code",
    [
        "1234567",
        "123456789",
        "",
        "1" * 8 + " " * 1000,
        "12345678\0",
        "+1234567",
        "-1234567",
        "1234567e",
        "0x123456",
        "1_234_56",
        "1234567\u00b2",  # a superscript, for which isdigit() is true
        12345678,
        12345678.0,
        ["12345678"],
        {"code": "12345678"},
        True,
    ],
)
def test_malformed_code_is_refused(client: Client, app: App, code: object) -> None:
    assert client.request().status_code == 202
    answer = client.verify(flow_id=client.flow["flow_id"], code=code, **client.secret())

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/code"
    assert "12345678" not in answer.text
    assert attempts(app, client) == 0


@pytest.mark.parametrize(
    "between",
    [" ", "-", " - ", "\u00a0", "\n", "\t", "\u2009", "\u200b", "\u2011", "\u2013", "\u202f", "\ufeff"],
)
def test_separators_in_a_pasted_code_are_ignored(client: Client, between: str) -> None:
    mail = client.request_mail()
    code = f" {mail.code[:4]}{between}{mail.code[4:]}\r\n"

    assert client.verify(flow_id=client.flow["flow_id"], code=code, **client.secret()).status_code == 200


@pytest.mark.parametrize("zero", ["\uff10", "\u0660", "\u06f0", "\u0966"])
def test_digits_of_other_scripts_make_a_code(client: Client, zero: str) -> None:
    """Full-width, Arabic-Indic, Persian, Devanagari."""
    mail = client.request_mail()
    code = "".join(chr(ord(zero) + int(digit)) for digit in mail.code)

    assert client.verify(flow_id=client.flow["flow_id"], code=code, **client.secret()).status_code == 200


def test_exhausted_code_does_not_reveal_an_account(client: Client, app: App) -> None:
    """The job looks the account up: with the audit log locked, a request that did so would wait."""
    known = elsewhere(client.sign_in())
    unknown = Client(client.http, client.sendgrid)
    answers = []
    with databases.holding(app.database_url, "LOCK TABLE auth_events IN EXCLUSIVE MODE"):
        for each in (known, unknown):
            mail = each.request_mail()
            answers.append([each.verify(**proof(each, wrong(mail))) for _ in range(5)])

    for answer in (answer for each in answers for answer in each):
        assert (answer.status_code, answer.json()["code"]) == (401, "code.invalid")


@pytest.mark.parametrize("flow_id", ["", "x", "' OR 1=1--", 1, [], {}, "0" * 100])
def test_malformed_flow_id_is_refused(client: Client, flow_id: object) -> None:
    assert client.request().status_code == 202
    answer = client.verify(flow_id=flow_id, code="12345678", **client.secret())

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/flow_id"


def test_confirm_with_a_code_is_refused(client: Client) -> None:
    mail = client.request_mail()
    answer = client.verify(flow_id=client.flow["flow_id"], code=mail.code, confirm=True)

    assert answer.status_code == 422


def test_code_of_a_browser_requires_its_cookie(browser: Browser) -> None:
    mail = browser.request_mail()
    fields = {"flow_id": browser.flow["flow_id"], "code": mail.code}
    stranger = Client(browser.http, browser.sendgrid)
    assert stranger.verify(**fields).json()["code"] == "flow_secret.missing"
    evil = browser.ask("POST", "/auth/magic-link/verify", fields, headers={"Origin": "https://evil.example"})
    assert evil.status_code == 403

    assert browser.verify(**fields).status_code == 200


def test_client_has_thirty_attempts_in_five_minutes(client: Client, app: App, sendgrid: SendGrid) -> None:
    mail = client.request_mail()
    right = {"token": mail.token, **client.secret()}
    guesses: list[dict[str, Any]] = [{"token": "A" * 43}, {"token": "A" * 43, "confirm": True}, {"token": mail.token}]
    for number in range(30):
        assert client.verify(**guesses[number % 3]).status_code in {401, 409}
    refused = [client.verify(**right), client.verify(**proof(client, mail.code))]
    for answer in refused:
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limit.exceeded")
        assert answer.headers.get_list("ratelimit-policy")[0] == '"verify-client";q=30;w=300'
        assert 0 < int(answer.headers["retry-after"]) <= 301

    Client(app.http, sendgrid).sign_in()  # other clients aren't limited
    app.clock.advance(seconds=int(refused[0].headers["retry-after"]))
    assert client.verify(**right).status_code == 200
