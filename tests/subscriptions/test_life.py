"""A subscription from its trial to its end, over real HTTP, step by step."""

from tests.subscriptions.buying import ENTERPRISE, MONTH, Buyer, refusal


def test_subscription_from_trial_to_deletion(buyer: Buyer) -> None:
    shop = buyer.shop
    buyer.subscribe(card="pm_card_chargeCustomerFail")
    assert buyer.state() == ("PRO", "trialing")
    assert buyer.get()["subscription"]["trial_end"]

    shop.advance(days=11.1)  # the mail is sent 3 days before the end
    assert buyer.back().mails() == ["trial_ending"]
    shop.advance(days=3)  # the charge fails
    assert buyer.back().state() == ("PRO", "past_due")
    assert buyer.mails() == ["trial_ending", "payment_failed"]
    assert refusal(buyer.change("ENTERPRISE", "month")) == "409 subscription.past_due"
    assert buyer.paid() == 0

    buyer.use_card("pm_card_mastercard")
    shop.stand_in.do("pay_invoice", invoice=buyer.invoices()[0].id, card="pm_card_mastercard")
    shop.settle()
    assert buyer.state() == ("PRO", "active")
    assert buyer.get()["subscription"]["past_due_since"] is None
    assert buyer.paid() == MONTH

    buyer.use_card("pm_card_chargeCustomerFail")
    declined = buyer.upgrade("ENTERPRISE", "month")
    assert refusal(declined) == "402 payment.action_required"
    assert declined.json()["url"].startswith(shop.stand_in.url)
    assert buyer.state() == ("PRO", "active")

    buyer.use_card("pm_card_mastercard")
    due = buyer.preview("ENTERPRISE", "month")["amount_due"]
    assert buyer.upgrade("ENTERPRISE", "month").status_code == 200
    assert buyer.state() == ("ENTERPRISE", "active")
    assert buyer.paid() == MONTH + due

    lowered = buyer.change("PRO", "month")
    assert lowered.status_code == 200, lowered.text
    pending = lowered.json()["subscription"]["pending"]
    assert (pending["plan"], pending["at"]) == ("PRO", lowered.json()["subscription"]["period_end"])
    shop.advance(days=31.1)
    assert buyer.back().state() == ("PRO", "active")
    assert buyer.get()["subscription"]["pending"] is None

    assert buyer.cancel().json()["subscription"]["cancel_at_period_end"]
    assert buyer.cancel().status_code == 200
    assert buyer.reactivate().json()["subscription"]["cancel_at_period_end"] is False
    assert refusal(buyer.client.as_signed_in("DELETE", "/auth/me")) == "409 account.not_empty"
    assert buyer.cancel().status_code == 200
    assert buyer.client.as_signed_in("DELETE", "/auth/me").status_code == 204
    assert ENTERPRISE > due > MONTH


def test_deleted_account_has_no_customer_at_stripe(buyer: Buyer) -> None:
    buyer.subscribe()
    buyer.cancel()

    assert buyer.client.as_signed_in("DELETE", "/auth/me").status_code == 204
    buyer.shop.settle()

    assert buyer.column("status") == "canceled"
    assert buyer.shop.stripe.v1.customers.retrieve(buyer.customer()).deleted
