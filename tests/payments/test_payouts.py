"""Payouts through Stripe: paid when the bank's are, and freed only after the transfer was reversed."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from audifi.core.http.problems import Problem
from audifi.funding.jobs import process_payouts
from audifi.funding.payouts import PayoutRow
from audifi.funding.providers import Answer
from audifi.payments import balances, reconciliation
from audifi.payments.payouts import SLOTS, StripePayouts
from audifi.services import Services
from tests.payments.processes import is_killed, process
from tests.payments.shops import Shop
from tests.payments.test_reconciliation import run
from tests.support.clients import Client

LAST = 60
"""More than the steps of a payout."""
ONBOARDING = {"country": "US", "return_path": "/wallet", "refresh_path": "/wallet/again"}


def onboard(shop: Shop, client: Client) -> str:
    """Open the account, and give what is asked for; return its id at Stripe."""
    response = client.as_signed_in("POST", "/payments/connect", ONBOARDING)
    assert response.status_code == 201, response.text
    account = str(shop.value("SELECT provider_id FROM payout_accounts WHERE user_id = $1", user_id(client)))
    shop.stand_in.do("onboard", account=account)
    shop.settle()
    return account


def user_id(client: Client) -> UUID:
    return UUID(client.tokens["user"]["id"])


def payable(shop: Shop, amount: int = 5000) -> Client:
    """Return an onboarded account with money that didn't come by its own card; the platform has it at Stripe."""
    fan = shop.fan()
    shop.deposited(shop.fan(), 500_000, card="pm_card_bypassPending")
    onboard(shop, fan)
    give(shop, fan, amount)
    return fan


def give(shop: Shop, client: Client, amount: int, currency: str = "USD") -> None:
    """Give an account money that it didn't deposit."""
    places = f"ARRAY['user/{user_id(client)}/available/{currency}/0', 'provider//bank/{currency}/0']"
    amounts = f"ARRAY[{amount}, -{amount}]"
    shop.execute(f"SELECT ledger_post_v1(gen_random_uuid(), '{uuid4()}', 'adjustment', {places}, {amounts}, now())")


def pay_out(client: Client, amount: int = 5000, currency: str = "USD") -> httpx2.Response:
    body = {"amount": amount, "currency": currency}
    return client.as_signed_in("POST", "/ledger/payouts", body, headers={"Idempotency-Key": str(uuid4())})


def run_job(shop: Shop) -> None:
    """Run what happens every 30 seconds."""

    async def act() -> None:
        async with process(shop) as services:
            await job(services)

    asyncio.run(act())


async def job(services: Services) -> None:
    provider = services.payout_provider
    assert provider
    await process_payouts(services.background_database, provider, name="stripe", now=services.clock())


def state(shop: Shop, client: Client) -> tuple[Any, int]:
    """Return the payout's status and the balance."""
    status = shop.value("SELECT status FROM payouts WHERE user_id = $1", user_id(client))
    return status, shop.balance(client)


def test_payout_is_paid_when_the_bank_has_it(shop: Shop) -> None:
    artist = payable(shop)
    assert pay_out(artist).status_code == 201
    run_job(shop)
    assert state(shop, artist) == ("submitted", 5000)
    shop.advance(days=3)
    assert state(shop, shop.again(artist)) == ("paid", 0)
    items = artist.as_signed_in("GET", "/payments/history").json()["data"]
    assert [(item["type"], item["status"], item["amount"]) for item in items] == [("payout", "paid", 5000)]


def test_payout_in_transit_is_no_difference(shop: Shop) -> None:
    artist = payable(shop)
    before = run(shop, balances.compare)
    pay_out(artist)
    run_job(shop)
    after = run(shop, balances.compare)
    assert [each.difference for each in after] == [each.difference for each in before]
    assert {each.currency: each.in_transit for each in after}["USD"] >= 5000


@pytest.mark.parametrize("days", [3, 0])
def test_bank_that_refuses_frees_the_money_after_the_reversal(shop: Shop, days: int) -> None:
    artist = payable(shop)
    account = shop.value("SELECT provider_id FROM payout_accounts WHERE user_id = $1", user_id(artist))
    pay_out(artist)
    run_job(shop)
    if days:  # it had been paid, and came back
        shop.advance(days=days)
        artist = shop.again(artist)
    [payout] = shop.stripe.v1.payouts.list({}, {"stripe_account": account}).data
    shop.stand_in.do("fail_payout", payout=payout.id)
    shop.settle()
    assert state(shop, artist) == ("failed", 5000)
    [transfer] = shop.stripe.v1.transfers.list({"destination": account}).data
    assert transfer.reversed


def wait_for_slot(shop: Shop, client: Client) -> None:
    """Move the clocks to when the payout is asked for again."""
    payout = shop.value("SELECT id FROM payouts WHERE user_id = $1", user_id(client))
    now = int(shop.app.clock().timestamp())
    shop.advance(seconds=(payout.int - now // 30) % SLOTS * 30)


def test_payout_waits_for_stripes_balance(shop: Shop, fan: Client) -> None:
    onboard(shop, fan)
    give(shop, fan, 5000, "NOK")
    assert pay_out(fan, currency="NOK").status_code == 201
    run_job(shop)
    assert (state(shop, fan)[0], transfers(shop, fan)) == ("submitted", [])
    shop.deposited(shop.fan(), 50_000, currency="NOK", card="pm_card_bypassPending")
    shop.advance(days=1)
    wait_for_slot(shop, fan)
    run_job(shop)
    assert len(transfers(shop, fan)) == 1


def transfers(shop: Shop, client: Client) -> list[Any]:
    payout = shop.value("SELECT id FROM payouts WHERE user_id = $1", user_id(client))
    everything = shop.stand_in.do("objects", kind="transfer")["data"]
    return [each for each in everything if each["transfer_group"] == str(payout)]


def test_payout_that_stripe_refuses_is_reversed(shop: Shop) -> None:
    """Stripe asks for more, and its event is late."""
    artist = payable(shop)
    account = shop.value("SELECT provider_id FROM payout_accounts WHERE user_id = $1", user_id(artist))
    shop.stand_in.do("disturb", held=True)
    shop.stand_in.do("require", account=account, due=["external_account"])
    pay_out(artist)
    run_job(shop)
    assert state(shop, artist) == ("failed", 5000)
    assert [each["reversed"] for each in transfers(shop, artist)] == [True]


def test_account_that_is_incomplete_is_not_paid_out(shop: Shop, fan: Client) -> None:
    assert pay_out(fan).json()["requirements"] == ["account"]
    assert fan.as_signed_in("GET", "/payments/connect").json()["requirements"] == ["account"]
    account = onboard(shop, fan)
    assert fan.as_signed_in("GET", "/payments/connect").json()["payouts_enabled"] is True
    shop.stand_in.do("require", account=account, due=["external_account"])
    shop.settle()
    assert pay_out(fan).json()["requirements"] == ["external_account"]
    other = fan.as_signed_in("POST", "/payments/connect", ONBOARDING | {"country": "DE"})
    assert other.json()["code"] == "payout.country_fixed"
    shop.stand_in.do("forget", object_id=account)
    closed = fan.as_signed_in("POST", "/payments/connect", ONBOARDING)
    assert closed.json()["code"] == "payout.account_closed"


def submitted(shop: Shop, client: Client, *, hours: int = 0) -> PayoutRow:
    """Return a payout that was requested some hours ago. No row has it, so that no job of the app's goes on with it."""
    now = shop.app.clock()
    return PayoutRow(
        id=uuid4(),
        user_id=user_id(client),
        provider="stripe",
        currency="USD",
        amount=5000,
        status="submitted",
        hold_id=uuid4(),
        transfer_id=None,
        created_at=now - timedelta(hours=hours),
        submitted_at=now,
        ended_at=None,
    )


def settled(shop: Shop, payout: PayoutRow) -> tuple[str, int, int]:
    """Go on with a payout; return what became of it, and how many transfers and payouts to the bank there are."""

    async def act() -> Answer:
        async with process(shop) as services:
            assert isinstance(services.payout_provider, StripePayouts)
            return await services.payout_provider.settle(payout)

    answer = asyncio.run(act())
    made = [
        sum(
            each["metadata"].get("audifi_id") == str(payout.id)
            for each in shop.stand_in.do("objects", kind=kind)["data"]
        )
        for kind in ("transfer", "payout")
    ]
    return answer.status, made[0], made[1]


def test_nothing_is_made_in_the_last_hour_of_a_key(shop: Shop) -> None:
    """Else an answer could be lost just before the key changes, and Stripe's list not show yet what was made."""
    payout = submitted(shop, payable(shop), hours=23)
    assert settled(shop, payout) == ("submitted", 0, 0)
    shop.stand_in.do("fail", kind="rate_limit", path="/v1/payouts")
    earlier = replace(payout, created_at=payout.created_at + timedelta(seconds=1))
    with pytest.raises(Problem, match=r"payments\.provider_unavailable"):
        settled(shop, earlier)
    assert settled(shop, payout) == ("submitted", 1, 0)
    next_day = replace(payout, created_at=payout.created_at - timedelta(hours=1))
    assert settled(shop, next_day) == ("submitted", 1, 1)


def test_paid_payout_is_never_sent_again(shop: Shop) -> None:
    payout = submitted(shop, payable(shop))
    shop.stand_in.do("fail", kind="rate_limit", path="/v1/payouts")
    with pytest.raises(Problem):
        settled(shop, payout)
    assert settled(shop, replace(payout, status="paid")) == ("submitted", 1, 0)


def test_payout_behind_100_newer_ones_is_not_sent_again(shop: Shop) -> None:
    """A page of Stripe's list has no more, and the idempotency key is another one the next day."""
    artist = payable(shop)
    payout = submitted(shop, artist)
    assert settled(shop, payout) == ("submitted", 1, 1)
    account = shop.value("SELECT provider_id FROM payout_accounts WHERE user_id = $1", user_id(artist))
    shop.stand_in.do("disturb", lose=1000)
    shop.stripe.v1.transfers.create({"amount": 6000, "currency": "usd", "destination": account})
    for _ in range(101):
        shop.stripe.v1.payouts.create({"amount": 1, "currency": "usd"}, {"stripe_account": account})
    a_day_ago = replace(payout, created_at=payout.created_at - timedelta(days=1))
    assert settled(shop, a_day_ago) == ("submitted", 1, 1)


def test_payout_whose_transfer_was_reversed_has_failed(shop: Shop) -> None:
    """As when a look at it was cut off after the reversal."""
    artist = payable(shop)
    account = shop.value("SELECT provider_id FROM payout_accounts WHERE user_id = $1", user_id(artist))
    payout = submitted(shop, artist)
    assert settled(shop, payout) == ("submitted", 1, 1)
    shop.stand_in.do("disturb", lose=100)
    [made] = shop.stripe.v1.payouts.list({}, {"stripe_account": account}).data
    shop.stand_in.do("fail_payout", payout=made.id)
    assert [settled(shop, payout)[0] for _ in range(2)] == ["failed", "failed"]


def test_return_of_a_paid_payout_is_found_each_night(shop: Shop) -> None:
    artist = payable(shop)
    account = shop.value("SELECT provider_id FROM payout_accounts WHERE user_id = $1", user_id(artist))
    pay_out(artist)
    run_job(shop)
    shop.advance(days=3)
    shop.stand_in.do("disturb", lose=100)
    [payout] = shop.stripe.v1.payouts.list({}, {"stripe_account": account}).data
    shop.stand_in.do("fail_payout", payout=payout.id)
    run(shop, reconciliation.look_at_unended)
    assert state(shop, shop.again(artist)) == ("failed", 5000)


def test_card_money_is_not_paid_out(shop: Shop) -> None:
    artist = payable(shop)
    shop.deposited(artist, 3000)
    refused = pay_out(artist, 5001).json()
    assert (refused["code"], refused["held"]) == ("payout.recent_deposits", 3000)
    assert pay_out(artist, 5000).status_code == 201
    assert pay_out(artist, 1000).json()["held"] == 3000


def test_card_money_is_paid_out_after_120_days(shop: Shop) -> None:
    artist = payable(shop)
    shop.deposited(artist, 3000)
    shop.advance(days=121)
    assert pay_out(shop.again(artist), 8000).status_code == 201


@pytest.mark.slow
def test_kill_between_any_two_steps_pays_once(shop: Shop) -> None:
    for steps in range(LAST):
        artist = payable(shop)
        pay_out(artist)
        was_killed = asyncio.run(is_killed(shop, steps, job))
        for _ in range(3):
            run_job(shop)
        made = transfers(shop, artist)
        account = made[0]["destination"]
        assert len(made) == 1
        assert len(shop.stripe.v1.payouts.list({}, {"stripe_account": account}).data) == 1
        shop.advance(days=3)
        assert state(shop, shop.again(artist)) == ("paid", 0)
        if not was_killed and steps > 10:  # else the app's own job was faster
            return
    raise AssertionError("a payout has more steps than this test tries")
