"""What happened to an account's masters, shares and money, as its list and its e-mails say it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from audifi.core.db.retention import delete_expired
from audifi.core.email.sender import EmailError
from audifi.core.jobs.queue import PermanentJobError
from audifi.funding.payouts import PayoutRow
from audifi.notices.feature import FEATURE
from audifi.services import Services, build_services
from tests.funding.fundings import Step, failing, paying, requesting, submitting
from tests.ipos.offerings import Offering, fund, make_admin, post, user_id
from tests.masters.requests import review
from tests.resale.markets import open_market
from tests.support import databases
from tests.support.app import App
from tests.support.clients import Client
from tests.support.sendgrid import SendGrid
from tests.support.waiting import wait_until

NOTHING: dict[str, Any] = dict.fromkeys(("master_id", "title", "quantity", "amount", "currency", "reason"))


def act(app: App, work: Callable[[Services], Awaitable[Any]]) -> Any:
    """Run a coroutine on services of this event loop."""
    services = build_services(app.services.settings, clock=app.clock)

    async def run() -> Any:
        async with services.background_database:
            try:
                return await work(services)
            finally:
                await services.email_sender.close()

    return asyncio.run(run())


def write(app: App) -> None:
    """Write the notices of all events until now."""

    async def work(services: Services) -> None:
        [schedule] = FEATURE.schedules(services)
        await schedule.run()

    act(app, work)


def read(client: Client) -> list[dict[str, Any]]:
    """Return an account's notices without what each run makes anew."""
    page = client.as_signed_in("GET", "/notices").json()
    return [{name: value for name, value in row.items() if name not in {"id", "created_at"}} for row in page["data"]]


def written(app: App, client: Client, count: int = 1) -> list[dict[str, Any]]:
    """Write until an account has so many notices: events wait for the open transactions of other tests' databases."""

    def are_there() -> bool:
        write(app)
        return len(read(client)) >= count

    wait_until(are_there)
    return read(client)


def shares(offering: Offering, kind: str, quantity: int, amount: int | None = None) -> dict[str, Any]:
    """Return a notice about shares of an offering."""
    about = {"kind": kind, "master_id": offering.master_id, "title": "Night drive", "quantity": quantity}
    return NOTHING | about | {"amount": amount, "currency": "USD" if amount else None}


def mail(client: Client) -> str:
    """Return the text of the second e-mail; the first was to sign in."""
    return str(client.sendgrid.wait_for(client.email, 2)["content"][0]["value"])


def test_purchase_is_a_notice_to_its_buyer(offering: Offering) -> None:
    offering.open()
    buyer = offering.buyer()
    assert offering.buy(buyer, 1).status_code == 201

    assert written(offering.app, buyer) == [shares(offering, "shares_bought", 1, 250)]
    assert mail(buyer) == "You bought 1 share of “Night drive” for 2.50 USD.\n"
    assert read(offering.artist) == []


def test_resale_is_a_notice_to_both(offering: Offering) -> None:
    market = open_market(offering)
    listing = market.open(1, 3)
    buyer = offering.buyer()
    assert market.buy(buyer, listing, 3000).status_code == 201

    assert written(offering.app, buyer) == [shares(offering, "shares_bought", 3, 3000)]
    assert shares(offering, "shares_sold", 3, 3000) in read(market.seller)
    offering.sendgrid.wait_for(market.seller.email, 3)
    texts = {mail["content"][0]["value"] for mail in offering.sendgrid.mails_to(market.seller.email)}
    assert any(text.startswith("Your listing of 3 shares of “Night drive” was bought for 30.00 USD.") for text in texts)


def test_completed_offering_is_a_notice_to_its_artist(offering: Offering) -> None:
    open_market(offering)

    assert written(offering.app, offering.artist) == [shares(offering, "offering_completed", 16)]
    assert mail(offering.artist) == "The offering of “Night drive” is completed. Sold: 16 shares.\n"


def test_canceled_offering_is_a_notice_to_all(offering: Offering) -> None:
    offering.open()
    buyer, admin = offering.buyer(), make_admin(offering.app, offering.buyer())
    assert offering.buy(buyer, 4).status_code == 201
    assert post(admin, f"{offering.path}/cancel").status_code == 202
    wait_until(lambda: offering.get()["status"] == "canceled")

    assert written(offering.app, offering.artist) == [shares(offering, "offering_canceled", 0)]
    kinds = ("shares_bought", "shares_refunded")
    assert sorted(read(buyer), key=lambda row: str(row["kind"])) == [shares(offering, kind, 4, 1000) for kind in kinds]


@pytest.mark.parametrize("reason", [None, "The cover is {blurred} <b>"])
def test_review_is_a_notice_to_the_artist(app: App, offering: Offering, sendgrid: SendGrid, reason: str | None) -> None:
    admin = make_admin(app, Client(app.http, sendgrid).sign_in())
    databases.execute(app.database_url, f"UPDATE masters SET status = 'submitted' WHERE id = '{offering.master_id}'")
    assert review(admin, offering.master_id, reason).status_code == 200

    kind = "master_rejected" if reason else "master_approved"
    about = {"master_id": offering.master_id, "title": "Night drive", "reason": reason}
    assert written(app, offering.artist) == [NOTHING | {"kind": kind} | about]
    assert ("\n\nThe cover is {blurred} <b>\n\n" in mail(offering.artist)) == bool(reason)


def end_payout(app: App, client: Client, end: Callable[[PayoutRow], Step] = paying) -> None:
    """Pay out all of an account's money."""
    account = UUID(user_id(fund(app, client, 1234)))

    async def work(services: Services) -> None:
        database = services.background_database
        payout = await database.run(requesting(account, 1234))
        await database.run(submitting(payout))
        await database.run(end(payout))

    act(app, work)
    databases.execute(app.database_url, f"UPDATE domain_events SET at = '{app.clock()}' WHERE kind LIKE 'payout.%'")


@pytest.mark.parametrize(("end", "kind"), [(paying, "payout_paid"), (failing, "payout_failed")])
def test_end_of_a_payout_is_a_notice(app: App, client: Client, end: Callable[[PayoutRow], Step], kind: str) -> None:
    end_payout(app, client.sign_in(), end)

    assert written(app, client) == [NOTHING | {"kind": kind, "amount": 1234, "currency": "USD"}]
    assert "payout of 12.34 USD" in mail(client)


def test_each_event_is_a_notice_once(offering: Offering) -> None:
    """Two machines write at the same time."""
    offering.open()
    buyer = offering.buyer()
    assert offering.buy(buyer).status_code == 201
    lock = "SELECT FROM domain_event_readers FOR UPDATE"

    databases.in_order(offering.app.database_url, lock, *[lambda: written(offering.app, buyer)] * 2)
    assert offering.buy(buyer, 2).status_code == 201

    assert [notice["quantity"] for notice in written(offering.app, buyer, 2)] == [2, 1]


def test_position_of_another_cluster_stops_nothing(offering: Offering) -> None:
    """A dump was loaded into a new cluster, which counts transactions anew."""
    databases.execute(offering.app.database_url, f"UPDATE domain_event_readers SET xid = {10**12}")
    offering.open()
    buyer = offering.buyer()
    assert offering.buy(buyer).status_code == 201

    assert [notice["quantity"] for notice in written(offering.app, buyer)] == [1]


def test_old_event_is_no_notice(offering: Offering) -> None:
    offering.open()
    buyer = offering.buyer()
    assert offering.buy(buyer).status_code == 201
    offering.pass_time(buyer, days=1)
    assert offering.buy(buyer, 2).status_code == 201

    assert [notice["quantity"] for notice in written(offering.app, buyer)] == [2]


def test_account_lists_its_own_notices_in_pages(offering: Offering) -> None:
    offering.open()
    buyer, other = offering.buyer(), offering.buyer()
    for quantity in (1, 2, 3):
        assert offering.buy(buyer, quantity).status_code == 201
        written(offering.app, buyer, quantity)

    first = buyer.as_signed_in("GET", "/notices?limit=2").json()
    second = buyer.as_signed_in("GET", f"/notices?limit=2&cursor={first['next_cursor']}").json()

    assert [[row["quantity"] for row in page["data"]] for page in (first, second)] == [[3, 2], [1]]
    assert second["next_cursor"] is None
    assert read(other) == []
    assert other.ask("GET", "/notices").status_code == 401


def insert(app: App, client: Client, **age: float) -> UUID:
    """Insert a notice of a certain age; return its id."""
    notice_id = uuid4()
    databases.execute(
        app.database_url,
        "INSERT INTO notices (id, user_id, kind, title, created_at) VALUES"
        f" ('{notice_id}', '{user_id(client)}', 'master_approved', 'Night drive', '{app.clock() - timedelta(**age)}')",
    )
    return notice_id


def test_account_deleted_meanwhile_has_no_notice(app: App, client: Client, sendgrid: SendGrid) -> None:
    end_payout(app, client.sign_in())
    account = user_id(client)
    assert client.as_signed_in("DELETE", "/auth/me").status_code == 204
    other = Client(app.http, sendgrid).sign_in()
    end_payout(app, other)

    written(app, other)

    assert databases.fetch_value(app.database_url, "SELECT count(*) FROM notices WHERE user_id = $1", account) == 0


def test_deletion_and_notice_at_once_leave_no_row(app: App, client: Client) -> None:
    end_payout(app, client.sign_in())
    account = user_id(client)
    readable = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint > max(xid) FROM domain_events"
    wait_until(lambda: databases.fetch_value(app.database_url, readable) is True)
    lock = f"SELECT FROM users WHERE id = '{account}' FOR UPDATE"

    def delete() -> int:
        return client.as_signed_in("DELETE", "/auth/me").status_code

    assert databases.in_order(app.database_url, lock, delete, lambda: write(app)) == [204, None]

    assert databases.fetch_value(app.database_url, "SELECT count(*) FROM notices WHERE user_id = $1", account) == 0


def test_deleted_account_has_no_notices(app: App, client: Client) -> None:
    notice_id = insert(app, client.sign_in())
    assert client.as_signed_in("DELETE", "/auth/me").status_code == 204

    async def work(services: Services) -> None:
        [job] = FEATURE.jobs(services)
        await job.handler(notice_id.bytes)

    act(app, work)

    rows = databases.fetch_value(app.database_url, "SELECT count(*) FROM notices WHERE id = $1", notice_id)
    assert (rows, len(client.sendgrid.mails_to(client.email))) == (0, 1)


@pytest.mark.parametrize(("status", "error"), [(500, EmailError), (400, PermanentJobError)])
def test_mail_that_fails_is_tried_again_if_it_helps(
    app: App, client: Client, sendgrid: SendGrid, status: int, error: type[Exception]
) -> None:
    notice_id = insert(app, client.sign_in())
    sendgrid.status = status

    async def work(services: Services) -> None:
        [job] = FEATURE.jobs(services)
        await job.handler(notice_id.bytes)

    with pytest.raises(error):
        act(app, work)


def test_old_notices_alone_are_deleted(app: App, client: Client) -> None:
    client.sign_in()
    _, kept = insert(app, client, days=91), insert(app, client, days=89)

    act(app, lambda services: delete_expired(services.background_database, FEATURE.retention(app.clock())))

    page = client.as_signed_in("GET", "/notices").json()
    assert [row["id"] for row in page["data"]] == [str(kept)]
