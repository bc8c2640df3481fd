"""What the rules refuse, and what they let pass."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from audifi.compliance import service
from audifi.compliance.models import Action
from audifi.core.http.problems import Problem
from audifi.ledger.accounts import platform_account, user_account
from audifi.ledger.service import NewTransfer, Posting, post
from tests.compliance.rules import get, put, set_account, set_rule
from tests.ipos.offerings import Offering, approved_master, code, fund, user_id
from tests.ipos.offerings import post as send
from tests.resale.markets import open_market
from tests.support import databases
from tests.support.app import App
from tests.support.clients import Client, at_once

type Attempt = Callable[[Offering, Client], httpx2.Response]


def payout(client: Client, amount: int = 1000) -> httpx2.Response:
    return send(client, "/ledger/payouts", {"amount": amount, "currency": "USD"})


ATTEMPTS: dict[str, Attempt] = {
    "purchase": lambda offering, buyer: offering.buy(buyer),
    "reservation": lambda offering, buyer: send(buyer, f"{offering.path}/reservations", {"quantity": 1}),
    "preview": lambda offering, buyer: buyer.as_signed_in("GET", f"{offering.path}/mint-preview"),
    "payout": lambda _, user: payout(user),
}


def ask(app: App, action: Action, client: Client, *, amount: int, now: datetime | None = None) -> str:
    """Return the code of a refusal, or `allowed`."""

    async def run() -> str:
        async with databases.connect_pools(app.database_url) as database:
            try:
                await service.check(
                    database,
                    action=action,
                    user_id=UUID(user_id(client)),
                    amount=amount,
                    currency="USD",
                    now=now or datetime.now(UTC),
                )
            except Problem as problem:
                return problem.code
        return "allowed"

    return asyncio.run(run())


def test_all_rules_are_off_by_default(start_app: Callable[..., App], migrated_database_url: str, sendgrid: Any) -> None:
    app = start_app(migrated_database_url)
    admin = Client(app.http, sendgrid).sign_in()
    databases.execute(app.database_url, "UPDATE users SET role = 'admin'")

    rules = get(admin, "rules")["data"]

    assert [rule["action"] for rule in rules] == ["launch", "buy", "list", "resale_buy", "claim", "payout"]
    assert all(rule | {"action": ""} == rules[0] | {"action": ""} for rule in rules)
    assert rules[0] == {
        "action": "launch",
        "kyc_required": False,
        "countries_blocked": [],
        "amount_per_12_months": None,
        "version": 0,
    }


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_unverified_account_is_refused_where_required(offering: Offering, admin: Client, attempt: str) -> None:
    offering.open()
    buyer = offering.buyer()
    set_rule(admin, "payout" if attempt == "payout" else "buy", kyc_required=True)
    refused = ATTEMPTS[attempt](offering, buyer)
    set_account(admin, buyer, kyc="pending")
    still_refused = ATTEMPTS[attempt](offering, buyer)
    set_account(admin, buyer, kyc="verified")

    assert (code(refused), code(still_refused)) == ("403 kyc.required", "403 kyc.required")
    assert ATTEMPTS[attempt](offering, buyer).is_success


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_blocked_and_unknown_countries_are_refused(offering: Offering, admin: Client, attempt: str) -> None:
    offering.open()
    buyer = offering.buyer()
    set_rule(admin, "payout" if attempt == "payout" else "buy", countries_blocked=["US", "CU", "US"])
    codes = [code(ATTEMPTS[attempt](offering, buyer))]
    set_account(admin, buyer, country="US")
    codes.append(code(ATTEMPTS[attempt](offering, buyer)))
    set_account(admin, buyer, country="DE")

    assert codes == ["403 country.unknown", "403 country.blocked"]
    assert ATTEMPTS[attempt](offering, buyer).is_success


def test_offering_blocks_countries_of_its_own(offering: Offering, admin: Client) -> None:
    ipo = offering.open(countries_blocked=["US", "CU"])
    american, german = offering.buyer(), offering.buyer()
    set_account(admin, american, country="US")
    set_account(admin, german, country="DE")

    assert ipo["countries_blocked"] == ["CU", "US"]
    assert code(offering.buy(american)) == "403 country.blocked"
    assert code(offering.buy(offering.buyer())) == "403 country.unknown"
    assert offering.buy(german).status_code == 201
    assert payout(american).status_code == 201


def test_refused_purchase_leaves_nothing_behind(offering: Offering, admin: Client) -> None:
    offering.open()
    buyer = offering.buyer()
    set_rule(admin, "buy", kyc_required=True)

    refused = offering.buy(buyer, key="one")
    set_account(admin, buyer, kyc="verified")

    assert code(refused) == "403 kyc.required"
    assert (offering.get()["sold"], offering.get()["buyers"]) == (0, 0)
    assert offering.buy(buyer, key="one").status_code == 201


def test_rules_take_no_round_trip(offering: Offering, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A purchase is the check of the session and one statement, which is a transaction of its own."""
    offering.open()
    buyer = offering.buyer()
    set_rule(admin, "buy", kyc_required=True, countries_blocked=["US"], amount_per_12_months=5000)
    set_account(admin, buyer, kyc="verified", country="DE")
    statements: list[str] = []

    def trace(sql: str) -> AbstractContextManager[None]:
        statements.append(sql)
        return nullcontext()

    monkeypatch.setattr(offering.app.services.database, "trace", trace)

    assert offering.buy(buyer).status_code == 201
    assert [("ipo_purchase_v3" in sql) for sql in statements] == [False, True], statements


def test_replay_answers_as_before_the_rule(offering: Offering, admin: Client) -> None:
    offering.open()
    buyer = offering.buyer()
    bought = offering.buy(buyer, key="one")
    set_rule(admin, "buy", kyc_required=True)

    assert offering.buy(buyer, key="one").json() == bought.json()


def test_limit_counts_what_was_bought_and_not_undone(offering: Offering, admin: Client) -> None:
    """Also what was bought before the rule was switched on."""
    offering.open(reflection_hours=1)
    buyer = offering.buyer()
    purchase = offering.buy(buyer, 3).json()
    bought_at = offering.now()
    set_rule(admin, "buy", amount_per_12_months=1250)

    refused = offering.buy(buyer, 3)
    too_much = offering.buy(buyer, 6)
    withdrawn = send(buyer, f"{offering.path}/purchases/{purchase['purchase_id']}/withdraw")

    assert code(refused) == "409 limit.exceeded"
    assert (refused.json()["limit"], refused.json()["used"]) == (1250, 750)
    resets_at = datetime.fromisoformat(refused.json()["resets_at"])
    assert abs(resets_at.replace(year=resets_at.year - 1) - bought_at) < timedelta(days=2)
    assert too_much.json()["resets_at"] is None
    assert withdrawn.status_code == 200
    assert offering.buy(buyer, 5).status_code == 201
    assert code(offering.buy(buyer, 1)) == "409 limit.exceeded"


def test_limit_resets_when_amounts_are_a_year_old(offering: Offering, admin: Client) -> None:
    offering.open()
    buyer = offering.buyer()
    offering.buy(buyer, 3)
    set_rule(admin, "buy", amount_per_12_months=1000)
    resets_at = datetime.fromisoformat(offering.buy(buyer, 3).json()["resets_at"])

    before, then = (
        ask(offering.app, "buy", buyer, amount=750, now=now) for now in (resets_at - timedelta(seconds=1), resets_at)
    )

    assert (before, then) == ("limit.exceeded", "allowed")


def test_limit_holds_for_purchases_at_once(offering: Offering, admin: Client) -> None:
    offering.open()
    buyer = offering.buyer()
    set_rule(admin, "buy", amount_per_12_months=2000)

    answers = at_once([lambda: offering.buy(buyer, 4)] * 6)

    assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409, 409, 409]
    assert offering.get()["sold"] == 8


def test_limit_of_payouts_counts_those_that_are_open(offering: Offering, admin: Client) -> None:
    user = offering.buyer()
    set_rule(admin, "payout", amount_per_12_months=2500)
    first = payout(user).json()

    refused = payout(user, 2000)
    canceled = user.as_signed_in("POST", f"/ledger/payouts/{first['id']}/cancel")

    assert (code(refused), refused.json()["used"]) == ("409 limit.exceeded", 1000)
    assert canceled.status_code == 200
    assert payout(user, 2000).status_code == 201


def test_launch_asks_the_artist_and_the_raise_of_a_year(offering: Offering, admin: Client) -> None:
    """800 shares at 250: 200,000 each."""
    set_rule(admin, "launch", kyc_required=True, amount_per_12_months=300_000)
    offering.draft()
    other = Offering(
        app=offering.app,
        sendgrid=offering.sendgrid,
        artist=offering.artist,
        master_id=approved_master(offering.app, offering.artist),
    )
    other.draft()
    codes = [code(offering.launch())]
    set_account(admin, offering.artist, kyc="verified")
    launched = offering.launch()
    refused = other.launch()
    send(offering.artist, f"{offering.path}/unlaunch")

    assert codes == ["403 kyc.required"]
    assert launched.status_code == 200
    assert (code(refused), refused.json()["used"]) == ("409 limit.exceeded", 200_000)
    assert other.launch().status_code == 200


@pytest.mark.parametrize(("action", "kind", "sign"), [("resale_buy", "resale", -1), ("claim", "dividend_claim", 1)])
def test_limit_counts_transfers_of_the_action(
    offering: Offering, admin: Client, action: Action, kind: str, sign: int
) -> None:
    user = offering.buyer()

    async def transfer(amount: int) -> None:
        accounts = [user_account(UUID(user_id(user)), "available", "USD"), platform_account("fees", "USD")]
        postings = [Posting(accounts[0], amount), Posting(accounts[1], -amount)]
        async with databases.connect_pools(offering.app.database_url) as database, database.transaction() as tx:
            await post(tx, transfer=NewTransfer(kind=kind, key=str(uuid4()), postings=postings), now=datetime.now(UTC))

    asyncio.run(transfer(700 * sign))
    if action == "resale_buy":
        asyncio.run(transfer(500))  # as a seller
    set_rule(admin, action, amount_per_12_months=1000)

    assert [ask(offering.app, action, user, amount=amount) for amount in (300, 301)] == ["allowed", "limit.exceeded"]


def test_listings_have_no_limit(admin: Client) -> None:
    refused = put(admin, "rules/list", {"kyc_required": False, "countries_blocked": [], "amount_per_12_months": 1}, 0)

    assert code(refused) == "422 request.invalid"
    assert refused.json()["errors"][0]["pointer"] == "/amount_per_12_months"


def test_currencies_are_counted_each_by_itself(offering: Offering, admin: Client) -> None:
    offering.open()
    buyer = offering.buyer()
    fund(offering.app, buyer, 2000, currency="EUR")
    offering.buy(buyer, 4)
    set_rule(admin, "buy", amount_per_12_months=1000)

    assert code(offering.buy(buyer)) == "409 limit.exceeded"
    other = Offering(
        app=offering.app,
        sendgrid=offering.sendgrid,
        artist=offering.artist,
        master_id=approved_master(offering.app, offering.artist),
    )
    assert offering.artist.refresh().status_code == 200
    other.open(currency="EUR")
    assert other.buy(buyer, 4).status_code == 201


def test_withholding_follows_the_country(offering: Offering, admin: Client) -> None:
    user = offering.buyer()
    url = offering.app.database_url
    rate = "SELECT compliance_withholding_bps_v1($1)"
    unknown = databases.fetch_value(url, rate, UUID(user_id(user)))
    set_account(admin, user, country="DE")
    for bps in (2500, 2638):
        answer = admin.as_signed_in("PUT", "/compliance/withholding/DE", {"bps": bps, "reason": "A treaty"})
        assert answer.json() == {"country": "DE", "bps": bps}

    assert (unknown, databases.fetch_value(url, rate, UUID(user_id(user)))) == (0, 2638)
    assert {"country": "DE", "bps": 2638} in get(admin, "withholding")["data"]


def test_resale_asks_the_seller_and_the_buyer(offering: Offering, admin: Client) -> None:
    market = open_market(offering)
    buyer = offering.buyer()
    set_rule(admin, "list", kyc_required=True)

    assert code(market.list_shares(1, 2)) == "403 kyc.required"
    set_account(admin, market.seller, kyc="verified")
    listing = market.open(1, 2)

    set_rule(admin, "resale_buy", kyc_required=True)
    assert code(market.buy(buyer, listing, 2000)) == "403 kyc.required"
    set_account(admin, buyer, kyc="verified")
    assert market.buy(buyer, listing, 2000).status_code == 201
