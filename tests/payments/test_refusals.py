"""What Stripe has deleted, made elsewhere or refuses, and what isn't there at all."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from audifi.core.http.problems import Problem
from audifi.core.jobs.queue import Schedule
from audifi.doctor.environment import check_payments
from audifi.doctor.results import Result
from audifi.payments import connect, disputes, jobs, sessions, syncs
from audifi.payments.client import RefusedError
from audifi.payments.problems import checkout_in_progress
from audifi.payments.retention import expired
from audifi.payments.stripe_objects import UnexpectedObjectError, checkout_session, dispute
from audifi.services import Services
from tests.masters.requests import make_admin
from tests.payments.processes import process
from tests.payments.shops import SECRET, Shop
from tests.payments.test_reconciliation import drift, run
from tests.payments.test_refunds import deposit_of, refund
from tests.support.app import App
from tests.support.clients import Client
from tools.stripe_stand_in import server


def request(shop: Shop, kind: str, provider_id: str) -> Any:
    """Have an object looked at, and return the last error."""
    shop.execute(
        f"INSERT INTO provider_syncs (kind, provider_id, requested, synced, next_at)"
        f" VALUES ('{kind}', '{provider_id}', 1, 0, now())"
    )

    async def look(services: Services) -> None:
        await syncs.run_sync(services, kind=kind, provider_id=provider_id)

    run(shop, look)
    return shop.value("SELECT last_error FROM provider_syncs WHERE provider_id = $1", provider_id)


@pytest.mark.parametrize("kind", ["checkout", "refund", "dispute", "customer", "transfer", "account", "bank_payout"])
def test_object_that_is_gone_is_a_state(shop: Shop, kind: str) -> None:
    id_ = f"{kind}_{uuid4().hex}"
    account = shop.stripe.v1.accounts.create({"type": "express"}).id
    assert request(shop, kind, {"bank_payout": f"{account}/{id_}"}.get(kind, id_)) is None


def test_customer_that_is_gone_fails_one_checkout(shop: Shop, fan: Client) -> None:
    shop.opened(fan)
    customer = shop.value(
        "SELECT provider_id FROM provider_customers WHERE user_id = $1", UUID(fan.tokens["user"]["id"])
    )
    shop.stand_in.do("forget", object_id=customer)
    assert shop.deposit(fan).json()["code"] == "checkout.failed"
    assert shop.deposit(fan).status_code == 201


def test_customer_that_is_gone_fails_one_portal(shop: Shop, fan: Client) -> None:
    shop.opened(fan)
    of_fan = "SELECT provider_id FROM provider_customers WHERE user_id = $1"
    shop.stand_in.do("forget", object_id=shop.value(of_fan, UUID(fan.tokens["user"]["id"])))
    answers = [fan.as_signed_in("POST", "/payments/portal", {"return_path": "/wallet"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [503, 201]


def test_refund_of_the_dashboard_is_an_alert(shop: Shop, fan: Client) -> None:
    deposit_id = deposit_of(shop, shop.deposited(fan))
    before = drift(shop.app.services.metrics, "refund")
    shop.stripe.v1.refunds.create({"charge": shop.charge(deposit_id), "amount": 100})
    shop.settle()
    assert (shop.balance(fan), drift(shop.app.services.metrics, "refund") > before) == (5000, True)


def test_country_without_payouts_is_refused(shop: Shop, fan: Client) -> None:
    async def refuse(_name: str, _call: Any) -> Any:
        raise RefusedError("account_create", status=400, code="country_unsupported")

    async def act() -> None:
        async with process(shop) as services:
            vars(services.stripe)["call"] = refuse
            user_id = UUID(fan.tokens["user"]["id"])
            await connect.onboard(services, user_id=user_id, country="AQ", return_path="/", refresh_path="/")

    with pytest.raises(Problem) as refusal:
        asyncio.run(act())
    assert refusal.value.status == 422


def test_refund_is_only_for_accounts_with_payments(app: App, client: Client) -> None:
    answer = refund(client.sign_in(), str(uuid4()), 100)
    assert answer.json()["code"] == "payments.not_configured"
    assert app.services.payout_provider is None


def test_schedules_do_nothing_without_payments(app: App) -> None:
    async def act(schedules: list[Schedule]) -> None:
        for schedule in schedules:
            await schedule.run()

    asyncio.run(act(jobs.schedules(app.services)))  # else they would call Stripe


def test_schedules_run(shop: Shop) -> None:
    async def act(services: Services) -> list[str]:
        schedules = jobs.schedules(services, calm_seconds=0)
        for schedule in schedules:
            await schedule.run()
        return [schedule.name for schedule in schedules]

    assert len(run(shop, act)) == 4


def test_events_are_kept_for_400_days(shop: Shop) -> None:
    [rows] = expired(shop.app.clock())
    assert (shop.app.clock() - rows.before).days == 400


def test_dispute_in_two_currencies_fails_loudly() -> None:
    moved = [{"amount": -1, "currency": "usd"}, {"amount": -1, "currency": "eur"}]
    with pytest.raises(UnexpectedObjectError):
        dispute({"object": "dispute", "balance_transactions": moved})  # type: ignore[arg-type]
    assert checkout_in_progress().status == 409


def test_session_without_a_payment_moves_nothing(shop: Shop) -> None:
    """As one of a price of nothing, made in Stripe's dashboard."""
    read = checkout_session(
        {  # type: ignore[arg-type]
            "id": "cs_of_nothing",
            "object": "checkout.session",
            "metadata": {},
            "status": "complete",
            "payment_status": "no_payment_required",
            "amount_total": 0,
            "currency": "usd",
            "payment_intent": None,
            "subscription": None,
            "url": None,
            "expires_at": 0,
        }
    )
    before = shop.external()

    async def write(services: Services) -> None:
        async with services.database.transaction() as transaction:
            await sessions.SYNC.write(services, transaction, read.id, read)

    run(shop, write)
    assert shop.external() == before


def test_dispute_in_another_currency_fails_loudly(shop: Shop, fan: Client) -> None:
    moved = [{"amount": -5000, "currency": "eur"}]
    deposit_id = UUID(deposit_of(shop, shop.deposited(fan)))
    read = dispute(
        {  # type: ignore[arg-type]
            "id": "du_1",
            "object": "dispute",
            "status": "needs_response",
            "payment_intent": shop.value("SELECT provider_ref FROM deposits WHERE id = $1", deposit_id),
            "currency": "usd",
            "balance_transactions": moved,
            "evidence_details": {"due_by": None},
        }
    )

    async def write(services: Services) -> None:
        async with services.database.transaction() as transaction:
            await disputes.SYNC.write(services, transaction, read.id, read)

    with pytest.raises(UnexpectedObjectError):
        run(shop, write)


def diagnosis(settings: Any, **changes: Any) -> Result:
    [result] = asyncio.run(check_payments(settings.model_copy(update=changes)))
    return result


def test_doctor_asks_stripe(shop: Shop, app: App) -> None:
    settings = shop.app.services.settings
    assert diagnosis(settings).state == "ok"
    assert diagnosis(app.services.settings).state == "ok"
    assert diagnosis(settings, stripe_connect_webhook_secret=None).state == "warning"
    assert diagnosis(settings, stripe_api_base="http://127.0.0.1:1").state == "error"


def test_doctor_looks_at_the_webhook_endpoints(shop: Shop) -> None:
    with server.running() as stand_in:
        settings = shop.app.services.settings.model_copy(update={"stripe_api_base": stand_in.url})
        assert "No webhook endpoint" in diagnosis(settings).message
        url = f"{shop.app.url}/api/v1/payments/webhooks/stripe"
        stand_in.do("add_endpoint", id="we_old", url=url, secret=SECRET, api_version="2024-06-20")
        assert "2024-06-20" in diagnosis(settings).message
        stand_in.do("fail", kind="forbidden", method="GET", path="/v1/webhook_endpoints")
        refused = diagnosis(settings)
    assert (refused.state, "can't be read" in refused.message) == ("warning", True)


def test_events_are_listed_for_admins(shop: Shop, fan: Client) -> None:
    session = shop.session(shop.deposited(fan))
    assert fan.as_signed_in("GET", "/payments/events").status_code == 403
    admin = make_admin(shop.app.database_url, shop.fan())
    events = admin.as_signed_in("GET", "/payments/events?status=done&limit=100").json()["data"]
    assert session in {event["object_id"] for event in events}


def test_debit_that_no_checkout_explains_waits(shop: Shop) -> None:
    price: Any = {"currency": "eur", "unit_amount": 700, "product_data": {"name": "At the console"}}
    params: Any = {
        "mode": "payment",
        "line_items": [{"price_data": price, "quantity": 1}],
        "success_url": "https://a.b",
    }
    session = shop.stripe.v1.checkout.sessions.create(params)
    before = shop.external("EUR")
    shop.stand_in.do("pay_checkout", session=session.id, card="pm_sepa_succeeds")
    shop.settle()
    assert shop.external("EUR") == before
    shop.advance(days=6)
    assert shop.external("EUR") == before + 700
