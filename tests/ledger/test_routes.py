"""`/api/v1/ledger` over HTTP."""

import csv
import io
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from audifi.core.db.database import Database
from audifi.ledger.accounts import AccountRef
from tests.ledger.ledgers import NOW, available, deposit, external, freeze, hold, move, run, thaw
from tests.support import databases
from tests.support.app import App
from tests.support.clients import Client
from tests.support.sendgrid import SendGrid

DAY = timedelta(days=1)


@pytest.fixture
def owner(client: Client) -> Client:
    return client.sign_in()


@pytest.fixture
def admin(app: App, sendgrid: SendGrid) -> Client:
    admin = Client(app.http, sendgrid).sign_in()
    databases.execute(app.database_url, f"UPDATE users SET role = 'admin' WHERE id = '{user_id(admin)}'")
    return admin


def user_id(client: Client) -> UUID:
    return UUID(client.tokens["user"]["id"])


def balance_of(client: Client, asset: str = "USD") -> AccountRef:
    return available(user_id(client), asset)


def fill(app: App, act: Callable[[Database], Awaitable[Any]]) -> Any:
    return run(app.database_url, act)


def three_days(account: AccountRef) -> Callable[[Database], Awaitable[Any]]:
    """Post 100, -30 and 5, a day apart."""

    async def act(database: Database) -> Any:
        await deposit(database, account, 100, reference="=cmd()")
        await move(database, account, external(), 30, now=NOW + DAY, kind="correction")
        return await deposit(database, account, 5, now=NOW + 2 * DAY)

    return act


def code(response: httpx2.Response) -> str:
    return f"{response.status_code} {response.json()['code']}"


def account_id(client: Client) -> str:
    [account] = client.as_signed_in("GET", "/ledger/accounts").json()["data"]
    return str(account["id"])


def entries(client: Client, path: str, *parameters: str) -> Any:
    answer = client.as_signed_in("GET", f"/ledger/accounts/{path}/entries?{'&'.join(parameters)}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def since(moment: datetime) -> str:
    return f"from={moment:%Y-%m-%dT%H:%M:%SZ}"


def until(moment: datetime) -> str:
    return f"to={moment:%Y-%m-%dT%H:%M:%SZ}"


def reverse(
    admin: Client, transfer_id: object, reason: str = "booked twice", key: str | None = None
) -> httpx2.Response:
    headers = {"Idempotency-Key": key or str(uuid4())}
    return admin.as_signed_in("POST", f"/ledger/transfers/{transfer_id}/reverse", {"reason": reason}, headers=headers)


def test_owner_sees_balances(owner: Client, app: App) -> None:
    async def act(database: Database) -> Any:
        await deposit(database, balance_of(owner), 100)
        await hold(database, balance_of(owner), 30, expires_at=NOW + 3650 * DAY)
        await deposit(database, AccountRef("user", user_id(owner), "pending", "JPY"), 7)

    fill(app, act)
    accounts = {each["asset"]: each for each in owner.as_signed_in("GET", "/ledger/accounts").json()["data"]}

    usd = {"purpose": "available", "scale": 2, "balance": 100, "held": 30, "available": 70, "frozen_at": None}
    assert accounts["USD"] == usd | {"id": accounts["USD"]["id"], "asset": "USD"}
    assert (accounts["JPY"]["scale"], accounts["JPY"]["balance"]) == (0, 7)
    page = owner.as_signed_in("GET", "/ledger/accounts?purpose=pending").json()
    assert [each["asset"] for each in page["data"]] == ["JPY"]


def test_accounts_are_paged(owner: Client, app: App) -> None:
    async def act(database: Database) -> Any:
        for asset in ("USD", "EUR", "GBP"):
            await deposit(database, balance_of(owner, asset), 1)

    fill(app, act)
    first = owner.as_signed_in("GET", "/ledger/accounts?limit=2").json()
    second = owner.as_signed_in("GET", f"/ledger/accounts?limit=2&cursor={first['next_cursor']}").json()

    assert {each["asset"] for each in first["data"] + second["data"]} == {"USD", "EUR", "GBP"}
    assert second["next_cursor"] is None


def test_statement_is_newest_first_with_balances(owner: Client, app: App) -> None:
    fill(app, three_days(balance_of(owner)))
    account = account_id(owner)

    first = entries(owner, account, "limit=2")
    second = entries(owner, account, "limit=2", f"cursor={first['next_cursor']}")

    rows = first["data"] + second["data"]
    assert [(each["version"], each["amount"], each["balance_after"]) for each in rows] == [
        (3, 5, 75),
        (2, -30, 70),
        (1, 100, 100),
    ]
    assert [each["kind"] for each in rows] == ["adjustment", "correction", "adjustment"]
    assert second["next_cursor"] is None
    for page in (first, second):
        assert (page["opening_balance"], page["closing_balance"], page["asset"]) == (0, 75, "USD")


@pytest.mark.parametrize(
    ("period", "amounts", "opening", "closing"),
    [
        ([since(NOW + DAY)], [5, -30], 100, 75),
        ([until(NOW + DAY)], [100], 0, 100),
        ([since(NOW + DAY), until(NOW + 2 * DAY)], [-30], 100, 70),
        ([since(NOW - DAY), until(NOW + 3 * DAY)], [5, -30, 100], 0, 75),
        ([since(NOW + 3 * DAY)], [], 75, 75),
        ([until(NOW)], [], 0, 0),
        ([since(NOW + 2 * DAY), until(NOW + DAY)], [], 70, 100),
    ],
    ids=["from", "to", "between", "all", "after", "before", "backwards"],
)
def test_statement_of_a_period(
    owner: Client, app: App, period: list[str], amounts: list[int], opening: int, closing: int
) -> None:
    fill(app, three_days(balance_of(owner)))

    page = entries(owner, account_id(owner), *period)

    assert [each["amount"] for each in page["data"]] == amounts
    assert (page["opening_balance"], page["closing_balance"]) == (opening, closing)


def test_export_is_csv_with_decimals_and_without_formulas(owner: Client, app: App) -> None:
    fill(app, three_days(balance_of(owner)))
    path = f"/ledger/accounts/{account_id(owner)}/entries.csv?{since(NOW)}&{until(NOW + 2 * DAY)}"

    answer = owner.as_signed_in("GET", path)

    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="entries-2026-05-01-2026-05-03.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["kind"], row["reference"], row["amount"], row["balance_after"]) for row in rows] == [
        ("adjustment", "'=cmd()", "1.00", "1.00"),
        ("correction", "", "-0.30", "0.70"),
    ]
    assert answer.text.count("\r\n") == 3


def test_export_of_many_entries_is_streamed_in_full(owner: Client, app: App) -> None:
    """More than a batch of rows, and more than a chunk of text."""

    async def act(database: Database) -> Any:
        await deposit(database, balance_of(owner), 1)
        await database.fetch_sql(
            "SELECT ledger_post_v1(gen_random_uuid(), gen_random_uuid()::text, 'adjustment', $1, $2, $3)"
            " FROM generate_series(1, 1010)",
            [balance_of(owner).address, external().address],
            [1, -1],
            NOW,
        )

    fill(app, act)
    answer = owner.as_signed_in(
        "GET", f"/ledger/accounts/{account_id(owner)}/entries.csv?{since(NOW)}&{until(NOW + DAY)}"
    )

    balances = [row["balance_after"] for row in csv.DictReader(io.StringIO(answer.text))]
    assert balances == [f"{n // 100}.{n % 100:02}" for n in range(1, 1012)]


def test_export_of_a_long_period_is_refused(owner: Client, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(app, three_days(balance_of(owner)))
    path = f"/ledger/accounts/{account_id(owner)}/entries.csv"

    assert code(owner.as_signed_in("GET", f"{path}?{since(NOW)}&{until(NOW + 367 * DAY)}")) == "422 period.too_long"
    monkeypatch.setattr("audifi.ledger.router.MAX_EXPORT_ENTRIES", 2)
    assert code(owner.as_signed_in("GET", f"{path}?{since(NOW)}&{until(NOW + 3 * DAY)}")) == "422 period.too_long"
    assert owner.as_signed_in("GET", f"{path}?{since(NOW)}&{until(NOW + 2 * DAY)}").is_success


@pytest.mark.parametrize(
    "query",
    [
        "from=2026-05-01T00:00:00",
        "from=0001-01-01T00:00:00%2B14:00",
        "to=9999-12-31T23:00:00-23:00",
        "to=yesterday",
        "limit=101",
        "limit=0",
    ],
)
def test_invalid_period_is_refused(owner: Client, query: str) -> None:
    answer = owner.as_signed_in("GET", f"/ledger/accounts/{uuid4()}/entries?{query}")

    assert code(answer) == "422 request.invalid"
    assert answer.json()["errors"][0]["parameter"] == query.partition("=")[0]


def test_another_users_account_is_not_found(owner: Client, app: App, sendgrid: SendGrid) -> None:
    fill(app, three_days(balance_of(owner)))
    account = account_id(owner)
    stranger = Client(app.http, sendgrid).sign_in()

    period = f"{since(NOW)}&{until(NOW + DAY)}"
    for path in (
        f"accounts/{account}/entries",
        f"accounts/{account}/entries.csv?{period}",
        f"accounts/{uuid4()}/entries",
        f"accounts?user_id={user_id(owner)}",
    ):
        assert code(stranger.as_signed_in("GET", f"/ledger/{path}")) == "404 not_found"
    assert stranger.as_signed_in("GET", "/ledger/accounts").json()["data"] == []
    assert owner.as_signed_in("GET", f"/ledger/accounts?user_id={user_id(owner)}").json()["data"]


def test_admin_reads_any_account(owner: Client, admin: Client, app: App) -> None:
    fill(app, three_days(balance_of(owner)))

    [account] = admin.as_signed_in("GET", f"/ledger/accounts?user_id={user_id(owner)}").json()["data"]
    assert len(entries(admin, account["id"])["data"]) == 3
    platform = str(databases.fetch_value(app.database_url, "SELECT id FROM ledger_accounts WHERE owner_kind <> 'user'"))
    assert entries(admin, platform)["data"]


def test_admin_reverses_a_transfer_once(owner: Client, admin: Client, app: App) -> None:
    deposited = fill(app, three_days(balance_of(owner))).transfer_id

    posted = ("ledger_transfers_total", {"kind": "reversal"})
    before = app.services.metrics.registry.get_sample_value(*posted) or 0
    answer = reverse(admin, deposited, key="one")
    assert app.services.metrics.registry.get_sample_value(*posted) == before + 1
    retry = reverse(admin, deposited, key="one")

    assert answer.status_code == 201, answer.text
    assert answer.json() == {"transfer_id": answer.json()["transfer_id"], "reverses": str(deposited)}
    assert retry.json() == answer.json()
    newest = entries(owner, account_id(owner))["data"][0]
    assert (newest["kind"], newest["amount"]) == ("reversal", -5)
    assert code(reverse(admin, deposited)) == "409 transfer.already_reversed"
    assert code(reverse(admin, answer.json()["transfer_id"])) == "409 transfer.is_reversal"
    assert code(reverse(admin, uuid4())) == "404 transfer.not_found"
    actor = databases.fetch_value(
        app.database_url, "SELECT actor_id || reason FROM ledger_transfers WHERE reverses = $1", deposited
    )
    assert actor == f"{user_id(admin)}booked twice"


def test_reversal_of_spent_money_says_what_is_missing(owner: Client, admin: Client, app: App) -> None:
    async def act(database: Database) -> Any:
        deposited = await deposit(database, balance_of(owner), 100)
        await move(database, balance_of(owner), external(), 60)
        return deposited.transfer_id

    deposited = fill(app, act)
    key = str(uuid4())
    refused = reverse(admin, deposited, key=key)
    assert (code(refused), refused.json()["missing"]) == ("409 balance.insufficient", 60)

    async def top_up(database: Database) -> Any:
        await deposit(database, balance_of(owner), 60)
        await freeze(database, balance_of(owner))  # which an operator's decision passes

    fill(app, top_up)
    assert reverse(admin, deposited, key=key).status_code == 201
    fill(app, lambda database: thaw(database, balance_of(owner)))


@pytest.mark.parametrize("reason", ["", "   ", "x" * 201, "a\x00b", "line\nbreak"])
def test_reversal_without_a_proper_reason_is_refused(admin: Client, reason: str) -> None:
    answer = reverse(admin, uuid4(), reason)

    assert code(answer) == "422 request.invalid"
    assert answer.json()["errors"][0]["pointer"] == "/reason"


def test_reversal_needs_a_key_and_an_admin(owner: Client, admin: Client) -> None:
    path, body = f"/ledger/transfers/{uuid4()}/reverse", {"reason": "because"}

    assert code(admin.as_signed_in("POST", path, body)) == "400 idempotency_key.missing"
    assert code(reverse(owner, uuid4())) == "403 role.insufficient"
    assert code(owner.as_signed_in("GET", "/ledger/proof")) == "403 role.insufficient"


def test_proof_shows_a_balanced_ledger(owner: Client, admin: Client, app: App) -> None:
    fill(app, three_days(balance_of(owner)))

    proof = admin.as_signed_in("GET", "/ledger/proof").json()

    assert proof["status"] == "balanced"
    [usd] = [each for each in proof["data"] if each["asset"] == "USD"]
    assert usd["difference"] == 0 == sum(total["balance"] for total in usd["totals"])
    assert {"user available", "provider external"} <= {
        f"{total['owner_kind']} {total['purpose']}" for total in usd["totals"]
    }


def test_money_routes_are_limited_per_account(admin: Client) -> None:
    answers = [reverse(admin, uuid4()) for _ in range(31)]

    assert {answer.status_code for answer in answers[:30]} == {404}
    assert code(answers[30]) == "429 rate_limit.exceeded"
