"""Deposits and payouts over HTTP."""

from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from audifi.core.db.database import Database
from audifi.funding.jobs import FIRST, OPEN_PAYOUTS
from audifi.funding.payouts import PayoutRow
from tests.funding import fundings
from tests.funding.fundings import Step, balances, disputing, paying, rows, run, submitting
from tests.support import databases
from tests.support.app import App
from tests.support.clients import Client
from tests.support.fixtures import StartApp
from tests.support.sendgrid import SendGrid


@pytest.fixture
def owner(client: Client) -> Client:
    return client.sign_in()


@pytest.fixture
def admin(app: App, sendgrid: SendGrid) -> Client:
    admin = Client(app.http, sendgrid).sign_in()
    databases.execute(app.database_url, f"UPDATE users SET role = 'admin' WHERE id = '{user_id(admin)}'")
    return admin


@pytest.fixture
def developer(start_app: StartApp, migrated_database_url: str, sendgrid: SendGrid) -> Client:
    """An account where FUNDING is development."""
    app = start_app(migrated_database_url, environment="development", funding="development")
    return Client(app.http, sendgrid).sign_in()


def user_id(client: Client) -> UUID:
    return UUID(client.tokens["user"]["id"])


def send(client: Client, path: str, body: Any = None, key: str | None = None) -> httpx2.Response:
    return client.as_signed_in("POST", f"/ledger/{path}", body, headers={"Idempotency-Key": key or str(uuid4())})


def code(answer: httpx2.Response) -> str:
    return f"{answer.status_code} {answer.json()['code']}"


def receipt(client: Client, amount: int = 2500, **values: Any) -> dict[str, Any]:
    booking = {"user_id": str(user_id(client)), "reference": str(uuid4()), "reason": "statement of 3 May"}
    return booking | {"amount": amount, "currency": "USD"} | values


def count(app: App) -> dict[str, int]:
    return run(app.database_url, rows)


def has(app: App, client: Client) -> tuple[int, int, int]:
    return run(app.database_url, lambda database: balances(database, user_id(client)))


def do(app: App, step: Step) -> Any:
    return run(app.database_url, lambda database: database.run(step))


def test_money_comes_in_and_goes_out(app: App, owner: Client, admin: Client) -> None:
    deposited = send(admin, "deposits", receipt(owner, received_at="2026-05-03T00:00:00Z"))
    assert deposited.status_code == 201, deposited.text
    assert deposited.json()["status"] == "succeeded"
    requested = send(owner, "payouts", {"amount": 1500, "currency": "USD"}, key="one")
    again = send(owner, "payouts", {"amount": 1500, "currency": "USD"}, key="one")
    assert again.json() == requested.json()
    assert (requested.status_code, requested.json()["status"]) == (201, "requested")
    assert has(app, owner) == (2500, 1500, 0)
    canceled = send(owner, f"payouts/{requested.json()['id']}/cancel")
    assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
    payout = send(owner, "payouts", {"amount": 2000, "currency": "USD"}).json()
    [row] = [row for row in run(app.database_url, open_payouts) if str(row.id) == payout["id"]]
    do(app, submitting(row))
    assert code(send(owner, f"payouts/{payout['id']}/cancel")) == "409 payout.status_conflict"
    do(app, paying(row))

    assert has(app, owner) == (500, 0, 0)
    listed = owner.as_signed_in("GET", "/ledger/payouts").json()["data"]
    assert [each["status"] for each in listed] == ["paid", "canceled"]
    assert owner.as_signed_in("GET", "/ledger/deposits").json()["data"] == [deposited.json()]
    entries = owner.as_signed_in("GET", "/ledger/accounts?purpose=available").json()["data"][0]["id"]
    statement = owner.as_signed_in("GET", f"/ledger/accounts/{entries}/entries").json()["data"]
    assert [(each["kind"], each["amount"]) for each in statement] == [("payout", -2000), ("deposit", 2500)]
    assert statement[1]["occurred_at"] == "2026-05-03T00:00:00Z"


async def open_payouts(database: Database) -> Any:
    return await database.fetch_all(OPEN_PAYOUTS, PayoutRow, provider="operator", after=FIRST)


def test_booking_is_attributed_to_the_admin(app: App, owner: Client, admin: Client) -> None:
    body = receipt(owner)
    first, second = send(admin, "deposits", body), send(admin, "deposits", body)

    assert second.json() == first.json()
    query = "SELECT actor_id || reason FROM ledger_transfers WHERE reference = $1"
    assert databases.fetch_value(app.database_url, query, body["reference"]) == f"{user_id(admin)}statement of 3 May"
    assert code(send(admin, "deposits", body | {"amount": 2501})) == "409 provider_reference.reused"


def test_only_admins_book(app: App, owner: Client, admin: Client) -> None:
    before = count(app)

    assert code(send(owner, "deposits", receipt(owner))) == "403 role.insufficient"
    assert code(send(owner, "deposits", {"amount": 100, "currency": "USD"})) == "403 deposit.operator_only"
    assert code(send(admin, "deposits", receipt(owner) | {"user_id": str(uuid4())})) == "422 request.invalid"
    assert count(app) == before


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"currency": "CHF"}, "/currency"),
        ({"currency": "usd"}, "/currency"),
        ({"amount": 0}, "/amount"),
        ({"amount": 1.0}, "/amount"),
        ({"amount": 2**53}, "/amount"),
        ({"reference": "a\x00b"}, "/reference"),
        ({"reference": "x" * 101}, "/reference"),
        ({"reason": " "}, "/reason"),
        ({"reason": None}, ""),
        ({"user_id": None, "reference": None, "reason": None, "received_at": "2026-05-03T00:00:00Z"}, ""),
        ({"received_at": "2026-05-03T00:00:00"}, "/received_at"),
        ({"status": "succeeded"}, "/status"),
    ],
)
def test_invalid_booking_is_refused(app: App, admin: Client, changes: dict[str, Any], pointer: str) -> None:
    before = count(app)
    answer = send(admin, "deposits", receipt(admin) | changes)

    assert code(answer) == "422 request.invalid"
    assert answer.json()["errors"][0].get("pointer", "") == pointer
    assert count(app) == before


def test_refused_payout_leaves_no_row(app: App, owner: Client, admin: Client) -> None:
    assert send(admin, "deposits", receipt(owner)).status_code == 201
    before = count(app)

    short = send(owner, "payouts", {"amount": 3000, "currency": "USD"})
    assert (code(short), short.json()["missing"]) == ("409 balance.insufficient", 500)
    small = send(owner, "payouts", {"amount": 999, "currency": "USD"})
    assert (code(small), small.json()["errors"][0]["pointer"]) == ("422 request.invalid", "/amount")
    assert code(send(owner, "payouts", {"amount": 1000, "currency": "CHF"})) == "422 request.invalid"
    keyless = owner.as_signed_in("POST", "/ledger/payouts", {"amount": 1000, "currency": "USD"})
    assert code(keyless) == "400 idempotency_key.missing"
    assert count(app) == before


def test_payout_needs_a_recent_sign_in(app: App, owner: Client, admin: Client) -> None:
    assert send(admin, "deposits", receipt(owner)).status_code == 201
    app.clock.advance(minutes=6)

    assert code(send(owner, "payouts", {"amount": 1000, "currency": "USD"})).startswith("401 ")


def test_user_in_debt_cannot_request_a_payout(app: App, owner: Client, admin: Client) -> None:
    deposit = send(admin, "deposits", receipt(owner)).json()
    assert send(owner, "payouts", {"amount": 2500, "currency": "USD"}).status_code == 201

    async def dispute(database: Database) -> Any:
        money = fundings.receipt(user_id(owner), 2500, deposit["reference"])
        row = await database.run(fundings.depositing(money))
        return await database.run(disputing(row, "open", 2500, deposit["reference"]))

    run(app.database_url, dispute)
    assert code(send(owner, "payouts", {"amount": 1000, "currency": "USD"})) == "403 account.in_debt"
    [listed] = owner.as_signed_in("GET", "/ledger/deposits").json()["data"]
    assert (listed["status"], listed["disputed"]) == ("disputed", 2500)


def test_others_see_and_change_nothing(app: App, owner: Client, admin: Client, sendgrid: SendGrid) -> None:
    assert send(admin, "deposits", receipt(owner)).status_code == 201
    payout = send(owner, "payouts", {"amount": 1000, "currency": "USD"}).json()
    stranger = Client(app.http, sendgrid).sign_in()

    assert code(send(stranger, f"payouts/{payout['id']}/cancel")) == "404 payout.not_found"
    for path in ("deposits", "payouts"):
        assert stranger.as_signed_in("GET", f"/ledger/{path}").json()["data"] == []
        query = f"/ledger/{path}?user_id={user_id(owner)}"
        assert code(stranger.as_signed_in("GET", query)) == "404 not_found"
        assert len(admin.as_signed_in("GET", query).json()["data"]) == 1


def test_lists_are_paged_newest_first(owner: Client, admin: Client) -> None:
    for amount in (100, 200, 300):
        send(admin, "deposits", receipt(owner, amount))

    first = owner.as_signed_in("GET", "/ledger/deposits?limit=2").json()
    second = owner.as_signed_in("GET", f"/ledger/deposits?limit=2&cursor={first['next_cursor']}").json()
    assert [each["amount"] for each in first["data"] + second["data"]] == [300, 200, 100]
    assert second["next_cursor"] is None


def test_development_deposits_are_limited_a_day(developer: Client) -> None:
    assert send(developer, "deposits", {"amount": 999_900, "currency": "USD"}).status_code == 201
    refused = send(developer, "deposits", {"amount": 101, "currency": "USD"}, key="x")
    assert code(refused) == "409 deposit.limit_exceeded"
    assert (refused.json()["limit"], refused.json()["used"]) == (1_000_000, 999_900)
    assert send(developer, "deposits", {"amount": 100, "currency": "USD"}, key="x").status_code == 201
    assert send(developer, "deposits", {"amount": 1_000_000, "currency": "EUR"}).status_code == 201


def test_development_limit_ends_with_the_day(
    start_app: StartApp, migrated_database_url: str, sendgrid: SendGrid
) -> None:
    app = start_app(migrated_database_url, environment="development", funding="development")
    client = Client(app.http, sendgrid).sign_in()
    assert send(client, "deposits", {"amount": 1_000_000, "currency": "USD"}).status_code == 201
    app.clock.advance(days=1)
    client.refresh()

    assert send(client, "deposits", {"amount": 1_000_000, "currency": "USD"}).status_code == 201


def test_account_with_money_or_debt_is_not_deleted(app: App, owner: Client, admin: Client) -> None:
    deposit = send(admin, "deposits", receipt(owner)).json()
    assert code(owner.as_signed_in("DELETE", "/auth/me")) == "409 account.not_empty"
    payout = send(owner, "payouts", {"amount": 2500, "currency": "USD"}).json()
    assert code(owner.as_signed_in("DELETE", "/auth/me")) == "409 account.not_empty"
    [row] = [row for row in run(app.database_url, open_payouts) if str(row.id) == payout["id"]]
    do(app, submitting(row))
    do(app, paying(row))

    async def owing(database: Database) -> Any:
        money = fundings.receipt(user_id(owner), 2500, deposit["reference"])
        row = await database.run(fundings.depositing(money))
        await database.run(disputing(row, "lost", 2500, "lost"))

    run(app.database_url, owing)
    assert code(owner.as_signed_in("DELETE", "/auth/me")) == "409 account.not_empty"
    assert send(admin, "deposits", receipt(owner)).status_code == 201
    assert owner.as_signed_in("DELETE", "/auth/me").status_code == 204


def test_money_in_and_out_is_limited_per_account(admin: Client) -> None:
    answers = [send(admin, f"payouts/{uuid4()}/cancel") for _ in range(31)]

    assert {answer.status_code for answer in answers[:30]} == {404}
    assert code(answers[30]) == "429 rate_limit.exceeded"
