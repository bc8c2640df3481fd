"""Plans, the account's subscription, usage and grants over HTTP."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from audifi.core.db.database import Database
from audifi.services import build_services
from audifi.subscriptions.jobs import schedules
from tests.ipos.offerings import code, make_admin, post
from tests.masters.requests import archive, create, register
from tests.subscriptions.accounts import NOW, new_user, run, subscribed
from tests.support import databases
from tests.support.app import App
from tests.support.clients import Client, at_once
from tests.support.sendgrid import SendGrid

BASE = "/payments"


@pytest.fixture
def account(client: Client) -> Client:
    return client.sign_in()


@pytest.fixture
def admin(app: App, sendgrid: SendGrid) -> Client:
    return make_admin(app, Client(app.http, sendgrid).sign_in())


def get(client: Client, path: str) -> dict[str, Any]:
    answer = client.as_signed_in("GET", f"{BASE}/{path}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def user_of(client: Client) -> str:
    return str(client.tokens["user"]["id"])


def grant(admin: Client, app: App, user_id: str, **changes: Any) -> httpx2.Response:
    ends_at = app.clock() + timedelta(days=3)
    body = {"user_id": user_id, "plan": "PRO", "ends_at": ends_at.isoformat(), "reason": "Paid by transfer"}
    return post(admin, f"{BASE}/grants", body | changes)


def test_plans_are_public_and_cacheable(app: App, client: Client) -> None:
    databases.execute(
        app.database_url,
        "INSERT INTO plan_prices (price_id, plan, interval, currency, unit_amount, lookup_key, entitlements_version,"
        " active) VALUES ('price_1', 'PRO', 'month', 'USD', 2900, 'pro_month_usd', 1, true),"
        " ('price_0', 'PRO', 'year', 'USD', 1, NULL, 1, false)",
    )

    listed, shown = client.ask("GET", f"{BASE}/plans"), client.ask("GET", f"{BASE}/plans/PRO")

    databases.execute(app.database_url, "DELETE FROM plan_prices")
    assert listed.headers["Cache-Control"] == shown.headers["Cache-Control"] == "public, max-age=300"
    free, pro, enterprise = listed.json()["data"]
    assert (free["id"], pro, enterprise["id"]) == ("FREE", shown.json(), "ENTERPRISE")
    assert pro["prices"] == [{"interval": "month", "currency": "USD", "unit_amount": 2900}]
    assert free["entitlements"]["limits"] == {"masters": 1, "studio_sessions": 1, "decisions_per_session": 1}
    assert (free["prices"], free["entitlements"]["features"]) == ([], [])
    assert pro["entitlements"]["limits"] == {"masters": None, "studio_sessions": None, "decisions_per_session": 10}
    assert code(client.ask("GET", f"{BASE}/plans/GOLD")) == "422 request.invalid"


def test_account_without_subscription_is_free(account: Client) -> None:
    assert get(account, "subscription") == {"plan": "FREE", "subscription": None}
    assert get(account, "entitlements")["plan"] == "FREE"
    usage = get(account, "usage")
    assert [(each["key"], each["used"], each["limit"]) for each in usage["data"]] == [
        ("masters", 0, 1),
        ("studio_sessions", 0, 1),
    ]
    assert [each["resets_at"] is None for each in usage["data"]] == [True, False]


def test_subscription_is_shown_without_ids_of_the_provider(app: App, account: Client) -> None:
    async def act(database: Database) -> None:
        change: dict[str, Any] = {
            "pending_plan": "PRO",
            "pending_interval": "year",
            "pending_at": NOW + timedelta(days=30),
        }
        later = app.clock() + timedelta(days=9)
        await subscribed(database, UUID(user_of(account)), "ENTERPRISE", access_until=later, **change)

    run(app.database_url, act)

    shown = get(account, "subscription")

    assert shown["plan"] == "ENTERPRISE"
    assert shown["subscription"] | {"access_until": None} == {
        "plan": "ENTERPRISE",
        "status": "active",
        "interval": "month",
        "currency": "USD",
        "unit_amount": 2900,
        "period_start": "2026-11-28T12:00:00Z",
        "period_end": "2026-12-28T12:00:00Z",
        "trial_end": None,
        "cancel_at_period_end": False,
        "past_due_since": None,
        "pending": {"plan": "PRO", "interval": "year", "at": "2026-12-28T12:00:00Z"},
        "access_until": None,
    }


def test_server_without_payments_sells_nothing(account: Client) -> None:
    body = {"plan": "PRO", "interval": "month", "currency": "USD", "expected_amount": 2900}
    paths = {"success_path": "/plan", "cancel_path": "/plan"}
    assert code(post(account, f"{BASE}/subscription", body | paths)) == "503 payments.not_configured"


def test_free_account_has_one_master_at_a_time(account: Client) -> None:
    first = register(account)

    refused = create(account)

    assert code(refused) == "403 plan.limit_reached"
    members = ("key", "limit", "used", "plan_needed")
    assert [refused.json()[name] for name in members] == ["masters", 1, 1, "PRO"]
    for _ in range(2):
        assert archive(account, first).status_code == 200
    register(account)
    assert get(account, "usage")["data"][0]["used"] == 1


def test_two_masters_at_once_are_one_on_free(account: Client) -> None:
    answers = at_once([lambda: create(account)] * 2)

    assert sorted(map(code_or_status, answers)) == ["201", "403 plan.limit_reached"]


def code_or_status(answer: httpx2.Response) -> str:
    return "201" if answer.status_code == 201 else code(answer)


def test_end_of_a_plan_takes_nothing_away(app: App, admin: Client, account: Client) -> None:
    granted = grant(admin, app, user_of(account))
    assert granted.status_code == 201, granted.text
    assert (granted.json()["plan"], granted.json()["user_id"]) == ("PRO", user_of(account))
    masters = [register(account) for _ in range(3)]
    assert get(account, "subscription") == {"plan": "PRO", "subscription": None}
    usage = get(account, "usage")["data"][0]
    assert (usage["used"], usage["limit"], usage["over_limit"]) == (3, None, False)

    app.clock.advance(days=3)
    account.refresh()

    usage = get(account, "usage")["data"][0]
    assert (usage["used"], usage["limit"], usage["over_limit"]) == (3, 1, True)
    assert code(create(account)) == "403 plan.limit_reached"
    assert account.as_signed_in("GET", f"/masters/{masters[2]}").status_code == 200


def test_only_admins_grant_plans(app: App, admin: Client, account: Client) -> None:
    assert code(grant(account, app, user_of(account))) == "403 role.insufficient"
    assert code(grant(admin, app, str(uuid4()))) == "422 request.invalid"
    assert code(grant(admin, app, user_of(account), ends_at=app.clock().isoformat())) == "422 request.invalid"
    assert get(account, "subscription")["plan"] == "FREE"


def test_deleted_account_leaves_no_usage(app: App, admin: Client, account: Client) -> None:
    grant(admin, app, user_of(account))
    register(account)

    assert account.as_signed_in("DELETE", "/auth/me").status_code == 204

    for table in ("usage_uses", "usage_counters", "plan_grants"):
        query = f"SELECT count(*) FROM {table} WHERE user_id = '{user_of(account)}'"
        assert databases.fetch_value(app.database_url, query) == 0, table
    assert code(grant(admin, app, user_of(account))) == "422 request.invalid"


def test_own_royalties_need_a_plan(app: App, admin: Client, account: Client) -> None:
    path = f"/masters/{register(account)}/ipo"
    opens_at = app.clock() + timedelta(days=1)
    terms = {
        "currency": "USD",
        "total_shares": 100,
        "unit_price": 100,
        "max_per_account": 10,
        "opens_at": opens_at.isoformat(),
        "ends_at": (opens_at + timedelta(days=5)).isoformat(),
    }
    tiered = terms | {"royalty": {"mode": "tiers", "tiers": [[None, 100]]}}

    refused = post(account, path, tiered)

    assert code(refused) == "403 plan.feature_required"
    assert (refused.json()["feature"], refused.json()["plan_needed"]) == ("royalty_terms", "PRO")
    assert post(account, path, terms).status_code == 201
    changed = account.as_signed_in("PATCH", path, terms | {"royalty_to_holders_bps": 1}, headers={"If-Match": '"1"'})
    assert code(changed) == "403 plan.feature_required"
    grant(admin, app, user_of(account), ends_at=(app.clock() + timedelta(minutes=1)).isoformat())
    assert account.as_signed_in("PATCH", path, tiered, headers={"If-Match": '"1"'}).status_code == 200
    app.clock.advance(minutes=1)
    assert code(post(account, f"{path}/launch")) == "403 plan.feature_required"


def test_live_subscriptions_are_counted(app: App) -> None:
    services = build_services(app.services.settings)  # for this event loop

    async def act(database: Database) -> None:
        for status in ("unpaid", "canceled"):
            await subscribed(database, await new_user(database), "ENTERPRISE", status=status)
        async with services.background_database:
            for schedule in schedules(services):
                await schedule.run()

    run(app.database_url, act)

    value = services.metrics.registry.get_sample_value
    assert value("subscriptions", {"plan": "ENTERPRISE", "status": "unpaid"}) == 1
    assert value("subscriptions", {"plan": "ENTERPRISE", "status": "canceled"}) is None
