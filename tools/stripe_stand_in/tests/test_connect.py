"""Connected accounts: onboarding, transfers, reversals, payouts."""

from typing import Any

import pytest
import stripe

from tools.stripe_stand_in.server import CommandError
from tools.stripe_stand_in.tests.shop import Shop

pytestmark = pytest.mark.timeout(60)


def artist(shop: Shop, *, onboarded: bool = True) -> str:
    """Return the id of an artist's account, with money on the platform's balance."""
    shop.charge("pm_card_bypassPending")
    capabilities = {"transfers": {"requested": True}}
    account = shop.v1.accounts.create({"type": "express", "country": "US", "capabilities": capabilities})
    if onboarded:
        shop.stand_in.do("onboard", account=account.id)
    return str(account.id)


def transfer(shop: Shop, account: str, amount: int = 3000) -> Any:
    params = {"amount": amount, "currency": "usd", "destination": account, "transfer_group": "payout-1"}
    return shop.v1.transfers.create(params)


def available(shop: Shop, account: str | None = None) -> int:
    options = {"stripe_account": account} if account else {}
    return int(shop.v1.balance.retrieve({}, options).available[0].amount)


def payouts(shop: Shop, account: str) -> list[Any]:
    return list(shop.v1.payouts.list({}, {"stripe_account": account}).data)


def test_account_needs_onboarding(shop: Shop) -> None:
    account = artist(shop, onboarded=False)
    before = shop.v1.accounts.retrieve(account)
    assert not before.payouts_enabled
    assert "external_account" in before.requirements.currently_due
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        transfer(shop, account)
    assert refusal.value.code == "insufficient_capabilities_for_transfer"

    shop.stand_in.do("onboard", account=account)
    after = shop.v1.accounts.retrieve(account)
    assert (after.payouts_enabled, after.requirements.currently_due) == (True, [])
    shop.stand_in.do("drain")
    event = shop.receiver.events("/connect")[-1]
    assert (event["type"], event["account"]) == ("account.updated", account)
    assert "account.updated" not in shop.receiver.types()


def test_stripe_can_ask_for_more(shop: Shop) -> None:
    account = artist(shop)
    shop.stand_in.do("require", account=account, due=["individual.verification.document"])

    after = shop.v1.accounts.retrieve(account)
    assert (after.payouts_enabled, after.requirements.disabled_reason) == (False, "requirements.past_due")
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        shop.v1.payouts.create({"amount": 1, "currency": "usd"}, {"stripe_account": account})
    assert refusal.value.code == "payouts_not_allowed"


@pytest.mark.parametrize("params", [{"type": "custom"}, {}])
def test_other_accounts_arent_modelled(shop: Shop, params: dict[str, Any]) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="express"):
        shop.v1.accounts.create(params)


def test_deleted_account_is_out_of_reach(shop: Shop) -> None:
    account = artist(shop)
    assert shop.v1.accounts.delete(account).deleted

    for call in (lambda: shop.v1.accounts.retrieve(account), lambda: payouts(shop, account)):
        with pytest.raises(stripe.PermissionError) as refusal:
            call()
        assert refusal.value.http_status == 403


def test_login_link_needs_onboarding(shop: Shop) -> None:
    account = artist(shop, onboarded=False)
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.accounts.login_links.create(account)
    shop.stand_in.do("onboard", account=account)

    assert shop.v1.accounts.login_links.create(account).url.endswith(account)


def test_account_link_is_for_onboarding(shop: Shop) -> None:
    params = {"account": artist(shop), "refresh_url": "https://a.example/r", "return_url": "https://a.example/b"}
    with pytest.raises(stripe.InvalidRequestError, match="account_update"):
        shop.v1.account_links.create(params | {"type": "account_update"})
    assert shop.v1.account_links.create(params | {"type": "account_onboarding"}).expires_at == shop.stand_in.now + 300


def test_transfer_moves_money_to_the_account(shop: Shop) -> None:
    account = artist(shop)
    before = available(shop)
    made = transfer(shop, account)

    assert (available(shop), available(shop, account)) == (before - 3000, 3000)
    assert [each.id for each in shop.v1.transfers.list({"transfer_group": "payout-1"}).data] == [made.id]
    assert shop.events()[-1] == "transfer.created"


def test_transfer_needs_an_available_balance(shop: Shop) -> None:
    account = artist(shop)
    shop.charge()  # pending
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        transfer(shop, account, 5000)
    assert refusal.value.code == "balance_insufficient"

    shop.stand_in.advance(days=2)
    assert transfer(shop, account, 5000).amount == 5000


def test_transfer_is_reversed(shop: Shop) -> None:
    account = artist(shop)
    made = transfer(shop, account)
    part = shop.v1.transfers.reversals.create(made.id, {"amount": 1000})
    assert (part.amount, available(shop, account)) == (1000, 2000)
    with pytest.raises(stripe.InvalidRequestError, match="remaining"):
        shop.v1.transfers.reversals.create(made.id, {"amount": 2001})
    shop.v1.transfers.reversals.create(made.id)

    after = shop.v1.transfers.retrieve(made.id)
    assert (after.reversed, after.amount_reversed) == (True, 3000)
    assert len(shop.v1.transfers.reversals.list(made.id).data) == 2
    assert shop.events()[-1] == "transfer.reversed"


def test_paid_out_transfer_cant_be_reversed(shop: Shop) -> None:
    made = transfer(shop, artist(shop))
    shop.stand_in.advance(days=1)
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        shop.v1.transfers.reversals.create(made.id)
    assert refusal.value.code == "balance_insufficient"


def test_account_is_paid_out_daily(shop: Shop) -> None:
    account = artist(shop)
    transfer(shop, account)
    shop.stand_in.advance(days=1)
    payout = payouts(shop, account)[0]
    assert (payout.status, payout.amount, payout.automatic) == ("in_transit", 3000, True)
    assert available(shop, account) == 0

    shop.stand_in.advance(days=2)
    assert payouts(shop, account)[0].status == "paid"
    assert shop.receiver.types("/connect")[-2:] == ["payout.created", "payout.paid"]
    assert {event.account for event in shop.v1.events.list({}, {"stripe_account": account}).data} == {account}


def test_manual_payout_is_asked_for(shop: Shop) -> None:
    shop.stand_in.do("settings", automatic_payouts=False)
    account = artist(shop)
    transfer(shop, account)
    shop.stand_in.advance(days=3)
    assert payouts(shop, account) == []
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        shop.v1.payouts.create({"amount": 3001, "currency": "usd"}, {"stripe_account": account})
    assert refusal.value.code == "balance_insufficient"

    shop.v1.payouts.create({"amount": 3000, "currency": "usd"}, {"stripe_account": account})
    assert not payouts(shop, account)[0].automatic


@pytest.mark.parametrize("paid_first", [False, True])
def test_bank_refuses_a_payout(shop: Shop, *, paid_first: bool) -> None:
    account = artist(shop)
    made = transfer(shop, account)
    if not paid_first:
        shop.stand_in.do("close_bank", account=account)
    shop.stand_in.advance(days=3)
    if paid_first:
        payout = payouts(shop, account)[0].id
        assert payouts(shop, account)[0].status == "paid"
        for _ in range(2):  # once is enough
            shop.stand_in.do("fail_payout", payout=payout)

    failed = payouts(shop, account)[0]
    assert (failed.status, failed.failure_code) == ("failed", "account_closed")
    assert available(shop, account) == 3000
    assert not shop.v1.accounts.retrieve(account).payouts_enabled
    shop.v1.transfers.reversals.create(made.id)
    assert available(shop, account) == 0


def test_platform_withdraws_to_its_bank(shop: Shop) -> None:
    artist(shop)
    before = available(shop)
    payout = shop.v1.payouts.create({"amount": 1000, "currency": "usd"})
    assert available(shop) == before - 1000

    shop.stand_in.advance(days=2)
    assert shop.v1.payouts.retrieve(payout.id).status == "paid"
    assert shop.events()[-1] == "payout.paid"
    shop.stand_in.do("fail_payout", payout=payout.id)
    assert available(shop) == before


def test_unknown_command_is_refused(shop: Shop) -> None:
    with pytest.raises(CommandError, match="Unknown command"):
        shop.stand_in.do("_find")
    with pytest.raises(CommandError, match="TypeError"):
        shop.stand_in.do("onboard", acount="acct_1")
    with pytest.raises(CommandError, match="No such account"):
        shop.stand_in.do("onboard", account="acct_1")
