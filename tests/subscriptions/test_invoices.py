"""Money of subscriptions in the ledger: invoices, tax, refunds and disputes."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from audifi.core.jobs.queue import PermanentJobError
from audifi.services import Services
from audifi.subscriptions import ends
from audifi.subscriptions.reconciliation import look_at_live
from audifi.subscriptions.stripe_objects import StripeInvoice
from tests.payments.shops import Shop
from tests.payments.test_reconciliation import run
from tests.subscriptions.buying import MONTH, Buyer, refusal

ADJUSTMENTS = """
    SELECT coalesce(string_agg(kind || ' ' || a.amount || ' ' || a.tax, ', ' ORDER BY a.created_at, a.amount), '')
    FROM invoice_adjustments AS a JOIN invoices AS i ON i.id = a.invoice_id WHERE i.user_id = $1
"""
ANOTHER_INVOICE = """
    INSERT INTO invoices (id, provider_id, user_id, subscription_id, status, currency, subtotal, tax, total, paid,
        tax_paid, attempts, period_start, period_end)
    SELECT gen_random_uuid(), 'in_' || gen_random_uuid(), user_id, subscription_id, '{0}', currency, {1}, 0, {1}, 0,
        0, 0, period_start, period_end FROM invoices WHERE user_id = '{2}' LIMIT 1
"""


def charge(buyer: Buyer) -> str:
    """Return the charge of the newest paid invoice."""
    invoice = next(invoice for invoice in buyer.invoices() if invoice.amount_paid)
    [payment] = buyer.shop.stripe.v1.invoice_payments.list({"invoice": invoice.id}).data
    intent: Any = payment.payment.payment_intent
    return str(buyer.shop.stripe.v1.payment_intents.retrieve(intent).latest_charge)


def refund(buyer: Buyer, amount: int) -> str:
    """Refund a part of the newest invoice in Stripe's dashboard; return the refund's id."""
    made = buyer.shop.stripe.v1.refunds.create({"charge": charge(buyer), "amount": amount})
    buyer.shop.settle()
    return made.id


@pytest.fixture
def taxed(shop: Shop, buyer: Buyer) -> Buyer:
    """A buyer of PRO: 2900 and 551 of tax are paid."""
    shop.stand_in.do("settings", tax_percent=19)
    parameters: Any = {
        "customer": _customer(buyer),
        "items": [{"price": shop.value("SELECT price_id FROM plan_prices WHERE lookup_key = 'pro_month_usd'")}],
        "automatic_tax": {"enabled": True},
    }
    buyer.use_card("pm_card_visa")
    shop.stripe.v1.subscriptions.create(parameters)
    shop.settle()
    return buyer


def _customer(buyer: Buyer) -> str:
    buyer.page()
    return buyer.customer()


def test_history_lists_invoices_with_deposits(taxed: Buyer) -> None:
    taxed.shop.execute("UPDATE invoices SET paid_at = period_start + interval '1 hour' WHERE paid = 3451")
    for status, total in (("draft", 700), ("paid", 0), ("open", 800)):
        taxed.shop.execute(ANOTHER_INVOICE.format(status, total, taxed.user_id))
    taxed.shop.deposited(taxed.client, 2500)

    items = history(taxed)
    assert {(item["type"], item["status"], item["amount"]) for item in items} == {
        ("subscription", "open", 800),
        ("subscription", "paid", 3451),
        ("deposit", "succeeded", 2500),
    }
    at = {item["amount"]: datetime.fromisoformat(item["created_at"]) for item in items}
    period_start = taxed.column("period_start")
    assert (at[3451] - period_start, at[800]) == (timedelta(hours=1), period_start)
    assert {item["amount"] for item in history(taxed, "?type=subscription")} == {800, 3451}
    assert [item["amount"] for item in history(taxed, "?type=subscription&status=open")] == [800]


def history(buyer: Buyer, query: str = "") -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = buyer.client.as_signed_in("GET", f"/payments/history{query}").json()["data"]
    return items


def test_tax_of_an_invoice_is_kept_apart(taxed: Buyer) -> None:
    row = "SELECT paid || ' ' || tax_paid || ' ' || status FROM invoices WHERE user_id = $1"
    assert taxed.shop.value(row, taxed.user_id) == "3451 551 paid"
    by_purpose = """
        SELECT string_agg(purpose || ' ' || e.amount, ', ' ORDER BY purpose) FROM ledger_transfers AS t
        JOIN ledger_entries AS e ON e.transfer_id = t.id JOIN ledger_accounts AS a ON a.id = e.account_id
        JOIN invoices AS i ON t.key = 'invoice:' || i.provider_id WHERE i.user_id = $1
    """
    assert taxed.shop.value(by_purpose, taxed.user_id) == "external -3451, subscriptions 2900, tax 551"


def test_last_refund_takes_what_is_left_of_the_tax(taxed: Buyer) -> None:
    for amount in (1000, 1001, 1450):
        refund(taxed, amount)

    assert taxed.shop.value(ADJUSTMENTS, taxed.user_id) == "refund 1000 159, refund 1001 159, refund 1450 233"
    assert taxed.paid() == 0


def test_refund_is_posted_once(buyer: Buyer) -> None:
    buyer.subscribe_paid()
    buyer.shop.stand_in.do("disturb", copies=3)

    refund(buyer, 900)

    assert (buyer.shop.value(ADJUSTMENTS, buyer.user_id), buyer.paid()) == ("refund 900 0", MONTH - 900)


def test_refund_that_fails_comes_back(buyer: Buyer) -> None:
    buyer.subscribe_paid(card="pm_card_mastercard")
    id_ = refund(buyer, 900)

    buyer.shop.stand_in.do("fail_refund", refund=id_)
    buyer.shop.settle()

    assert buyer.shop.value(ADJUSTMENTS, buyer.user_id) == "refund 900 0, refund_returned 900 0"
    assert buyer.paid() == MONTH


def test_dispute_ends_the_plan_and_takes_the_money(buyer: Buyer) -> None:
    buyer.subscribe_paid()
    dispute = buyer.shop.stand_in.do("dispute", charge=charge(buyer))
    buyer.shop.settle()

    assert buyer.state() == ("FREE", "canceled")
    assert buyer.subscription().status == "canceled"
    assert buyer.mails() == ["canceled"]
    assert buyer.shop.value(ADJUSTMENTS, buyer.user_id) == f"dispute {MONTH} 0"
    buyer.shop.stand_in.do("end_dispute", dispute=dispute["id"], outcome="won")
    buyer.shop.settle()
    assert buyer.shop.value(ADJUSTMENTS, buyer.user_id) == f"dispute {MONTH} 0, dispute_won {MONTH} 0"
    assert buyer.state()[0] == "FREE"


def test_dispute_of_a_canceled_plan_sends_no_second_mail(buyer: Buyer) -> None:
    buyer.subscribe_paid()
    assert buyer.cancel("?cancelImmediately=true").is_success
    buyer.shop.settle()

    buyer.shop.stand_in.do("dispute", charge=charge(buyer))
    buyer.shop.settle()

    assert buyer.shop.value(ADJUSTMENTS, buyer.user_id) == f"dispute {MONTH} 0"
    assert buyer.mails() == ["canceled"]


def test_disputed_plan_stays_ended_until_stripe_ends_it(buyer: Buyer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job's attempts are used up; the nightly look begins anew."""

    async def fail(_services: Services, _provider_id: str) -> list[StripeInvoice]:
        raise PermanentJobError("attempts are used up")

    buyer.subscribe_paid()
    with monkeypatch.context() as patch:
        patch.setattr(ends, "end_now", fail)
        buyer.shop.stand_in.do("dispute", charge=charge(buyer))
        buyer.shop.settle()
        run(buyer.shop, look_at_live)
        assert buyer.state() == ("FREE", "canceled")
        assert buyer.subscription().status == "active"
    run(buyer.shop, look_at_live)
    assert buyer.subscription().status == "canceled"


def test_declined_upgrade_can_be_paid_on_its_page(buyer: Buyer) -> None:
    buyer.subscribe_paid()
    buyer.use_card("pm_card_chargeCustomerFail")
    assert refusal(buyer.upgrade("ENTERPRISE", "month")) == "402 payment.action_required"
    unpaid = next(invoice for invoice in buyer.invoices() if invoice.status == "open")

    buyer.shop.stand_in.do("pay_invoice", invoice=unpaid.id, card="pm_card_visa")
    buyer.shop.settle()

    assert buyer.state() == ("ENTERPRISE", "active")
    assert buyer.mails() == []


def test_declined_upgrade_expires_and_gives_nothing(buyer: Buyer) -> None:
    buyer.subscribe_paid()
    buyer.use_card("pm_card_chargeCustomerFail")
    buyer.upgrade("ENTERPRISE", "month")
    buyer.shop.advance(hours=23.1)

    assert buyer.back().state() == ("PRO", "active")
    assert buyer.shop.value("SELECT count(*) FROM invoices WHERE status = 'void' AND user_id = $1", buyer.user_id) == 1
    assert buyer.paid() == MONTH
