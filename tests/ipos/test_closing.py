"""The end of an offering."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from audifi.core.db.database import Database, Transaction
from audifi.core.db.statements import Statement
from audifi.ipos import closing, purchases
from audifi.ipos.jobs import schedules
from audifi.ipos.problems import SellsOutError
from audifi.services import build_services
from tests.ipos import sales
from tests.ipos.offerings import Offering, balance, code, fund, make_admin, post, user_id
from tests.ipos.sales import Sale
from tests.ledger.ledgers import NOW
from tests.support import databases
from tests.support.clients import Client
from tests.support.races import Work


def sweep(offering: Offering) -> None:
    """Run what runs every half a minute."""

    async def run() -> None:
        async with databases.connect_pools(offering.app.database_url) as database:
            now = offering.now()
            await purchases.expire_reservations(database, now=now)
            await closing.close_due(database, proceeds_delay=timedelta(days=7), now=now)
            await closing.release_due(database, now=now)

    asyncio.run(run())


def status(offering: Offering) -> str:
    return str(offering.get()["status"])


def test_last_sale_completes_the_offering_and_pays(offering: Offering) -> None:
    producer = offering.buyer(money=1)
    databases.execute(
        offering.app.database_url,
        "INSERT INTO master_collaborators (master_id, position, user_id, name, role, split_bps)"
        f" VALUES ('{offering.master_id}', 1, '{user_id(producer)}', 'A producer', 'producer', 3333),"
        f" ('{offering.master_id}', 2, NULL, 'One without an account', 'writer', 100)",
    )
    ipo = offering.open(total_shares=15, retained_shares=5, max_per_account=10)
    buyer = offering.buyer(money=2500)

    assert offering.buy(buyer, 10).status_code == 201

    assert status(offering) == "completed"
    asset = f"share:{ipo['id']}"
    assert balance(offering.app, buyer, "shares", asset) == 10
    assert balance(offering.app, offering.artist, "shares", asset) == 5
    fee = 2500 * 500 // 10_000
    part = (2500 - fee) * 3333 // 10_000
    assert balance(offering.app, producer, "pending") == part
    assert balance(offering.app, offering.artist, "pending") == 2500 - fee - part
    assert code(offering.buy(offering.buyer())) == "409 ipo.ended"
    offering.pass_time(buyer, producer, days=7)
    sweep(offering)
    sweep(offering)
    assert balance(offering.app, offering.artist) == 2500 - fee - part
    assert balance(offering.app, offering.artist, "pending") == 0


def test_accounts_of_one_mailbox_are_one_minter(offering: Offering) -> None:
    ipo = offering.open()
    first, second, third = (offering.buyer() for _ in range(3))
    aliases = [
        fund(offering.app, Client(offering.app.http, offering.sendgrid, email=address).sign_in(), 1000)
        for address in (first.email.replace("@", "+2@"), offering.artist.email.replace("@", "+fan@"))
    ]
    for buyer in (first, *aliases, second, third):
        assert offering.buy(buyer).status_code == 201

    post(offering.artist, f"{offering.path}/complete")

    query = "SELECT minters::text[] FROM ipos WHERE id = $1"
    minters = databases.fetch_value(offering.app.database_url, query, UUID(ipo["id"]))
    assert minters == [user_id(client) for client in (first, second, third)]


def test_artist_ends_an_offering_and_keeps_the_rest(offering: Offering) -> None:
    ipo = offering.open(min_shares=2)
    buyer, stranger = offering.buyer(), offering.buyer()
    path = f"{offering.path}/complete"

    assert code(post(offering.artist, path)) == "409 ipo.minimum_not_reached"
    offering.buy(buyer, 2)
    assert code(post(stranger, path)) == "404 not_found"
    completed = post(offering.artist, path)

    assert (completed.status_code, completed.json()["status"]) == (200, "completed")
    assert balance(offering.app, offering.artist, "shares", f"share:{ipo['id']}") == 998
    assert code(post(offering.artist, path)) == "409 ipo.completed"


def test_scheduled_offering_cannot_be_completed(offering: Offering) -> None:
    assert offering.draft().status_code == 201
    assert offering.launch().status_code == 200

    assert code(post(offering.artist, f"{offering.path}/complete")) == "409 ipo.not_live"
    assert post(offering.artist, f"{offering.path}/unlaunch").status_code == 200


def test_offering_completes_at_its_end(offering: Offering) -> None:
    offering.open()
    offering.buy(offering.buyer(), 2)
    sweep(offering)
    assert status(offering) == "live"

    offering.pass_time(days=10)
    assert status(offering) == "ended"
    sweep(offering)

    assert status(offering) == "completed"


def test_completion_waits_for_withdrawals(offering: Offering) -> None:
    ipo = offering.open(total_shares=10, retained_shares=0, max_per_account=10, reflection_hours=2)
    first, second = offering.buyer(), offering.buyer()
    purchase = offering.buy(first, 4).json()
    offering.buy(second, 6)
    sweep(offering)

    assert status(offering) == "ended"
    assert code(post(offering.artist, f"{offering.path}/complete")) == "409 ipo.withdrawable"
    assert post(first, f"{offering.path}/purchases/{purchase['purchase_id']}/withdraw").status_code == 200
    offering.pass_time(hours=2)
    sweep(offering)

    assert status(offering) == "completed"
    assert balance(offering.app, offering.artist, "shares", f"share:{ipo['id']}") == 4


def test_failed_offering_refunds_everybody(offering: Offering) -> None:
    ipo = offering.open(min_shares=10)
    buyers = [offering.buyer(money=1000) for _ in range(2)]
    for buyer in buyers:
        offering.buy(buyer, 4)
    offering.pass_time(*buyers, days=10)

    sweep(offering)

    assert status(offering) == "canceled"
    assert [balance(offering.app, buyer) for buyer in buyers] == [1000, 1000]
    assert balance(offering.app, offering.artist, "shares", f"share:{ipo['id']}") == 0
    assert offering.draft().status_code == 201


def test_artist_cancels_before_the_first_sale_only(offering: Offering) -> None:
    offering.open()
    path = f"{offering.path}/cancel"
    buyer = offering.buyer(money=1000)
    assert code(post(buyer, path)) == "404 not_found"
    offering.buy(buyer, 4)

    assert code(post(offering.artist, path)) == "409 ipo.has_sales"
    admin = make_admin(offering.app, offering.buyer())
    with databases.holding(offering.app.database_url, "SELECT FROM ipo_purchases FOR UPDATE"):  # it isn't refunded yet
        canceled = post(admin, path)
        assert (canceled.status_code, canceled.json()["status"]) == (202, "canceling")
        assert code(offering.buy(buyer)) == "409 ipo.ended"
    sweep(offering)
    assert status(offering) == "canceled"
    assert balance(offering.app, buyer) == 1000
    assert code(post(offering.artist, path)) == "409 ipo.not_live"


def test_unsold_offering_is_canceled_by_its_artist(offering: Offering) -> None:
    offering.open()

    assert post(offering.artist, f"{offering.path}/cancel").status_code == 202
    sweep(offering)

    assert status(offering) == "canceled"


class Overtaken(Database):
    """After each look at what is due, another machine does it first."""

    def __init__(self, url: str, first: Callable[[Database], Awaitable[object]]) -> None:
        super().__init__(databases.settings_for(url), pool_size=2, read_pool_size=2)
        self._url, self._first = url, first

    async def fetch_all[Row](self, statement: Statement, row_type: type[Row], /, **values: Any) -> list[Row]:
        rows = await super().fetch_all(statement, row_type, **values)
        async with databases.connect_pools(self._url) as other:
            await self._first(other)
        return rows


def run_overtaken(sale: Sale, work: Work) -> None:
    async def run() -> None:
        async with Overtaken(sale.url, work) as late:
            await work(late)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("min_shares", "end", "left", "proceeds"), [(2, "completed", 960, 40), (9, "canceled", 1000, 0)]
)
def test_late_sweep_does_nothing_again(
    migrated_database_url: str, min_shares: int, end: str, left: int, proceeds: int
) -> None:
    sale = sales.launched(migrated_database_url, min_shares=min_shares)
    for work in (sale.buy(4), sale.reserve(1)):
        assert sale.run(work) == "done"

    run_overtaken(sale, sale.expire_reservations(now=sales.ENDS_AT))
    run_overtaken(sale, sale.close_due(now=sales.ENDS_AT))
    run_overtaken(sale, lambda database: closing.release_due(database, now=sales.ENDS_AT))

    assert sale.ipo().status == end
    assert sale.money(sale.buyers[0]) == left
    assert sale.money(sale.artist) == sales.MONEY + proceeds
    assert sales.violations(sale.url) == []


def test_two_machines_refund_once(migrated_database_url: str) -> None:
    sale = sales.launched(migrated_database_url)
    for work in (sale.buy(4), sale.cancel()):
        assert sale.run(work) == "done"

    run_overtaken(sale, sale.refund())

    assert (sale.ipo().status, sale.money(sale.buyers[0])) == ("canceled", sales.MONEY)


def test_completed_offering_cannot_be_canceled(offering: Offering) -> None:
    offering.open()
    offering.buy(offering.buyer(), 1)
    completed = post(offering.artist, f"{offering.path}/complete")

    assert completed.status_code == 200, completed.text
    assert code(post(offering.artist, f"{offering.path}/cancel")) == "409 ipo.completed"


def test_proceeds_cannot_be_reversed_in_the_ledger(offering: Offering) -> None:
    ipo = offering.open(total_shares=10, retained_shares=0, max_per_account=10)
    buyer = offering.buyer(money=2500)
    assert offering.buy(buyer, 10).status_code == 201  # all of them: no share moves at the completion
    offering.pass_time(buyer, days=7)
    sweep(offering)
    admin = make_admin(offering.app, offering.buyer())

    for kind in ("ipo_completion", "proceeds_release"):
        query = "SELECT id FROM ledger_transfers WHERE kind = $1 AND reference = $2"
        transfer = databases.fetch_value(offering.app.database_url, query, kind, f"ipo:{ipo['id']}")
        answer = post(admin, f"/ledger/transfers/{transfer}/reverse", {"reason": "a mistake"})
        assert code(answer) == "409 transfer.not_reversible"


def test_expired_reservations_are_freed_and_paused(offering: Offering) -> None:
    offering.open()
    buyer = offering.buyer()
    path = f"{offering.path}/reservations"
    reservation = post(buyer, path, {"quantity": 5}).json()
    offering.pass_time(buyer, minutes=10)

    assert code(offering.buy(buyer, 5, reservation_id=reservation["id"])) == "409 reservation.not_open"
    sweep(offering)
    sweep(offering)

    assert offering.get()["reserved"] == 0
    refused = post(buyer, path, {"quantity": 5})
    assert code(refused) == "409 reservation.paused"
    offering.pass_time(buyer, seconds=int(refused.headers["Retry-After"]))
    assert post(buyer, path, {"quantity": 5}).status_code == 201


def test_running_offerings_are_measured(offering: Offering) -> None:
    offering.open()
    assert offering.buy(offering.buyer(), 8).status_code == 201
    services = build_services(offering.app.services.settings, clock=offering.app.clock)  # for this event loop

    async def run() -> None:
        async with services.background_database:
            for schedule in schedules(services):
                await schedule.run()

    asyncio.run(run())

    assert (services.metrics.registry.get_sample_value("ipos_running", {"status": "live"}) or 0) >= 1
    assert 0 < (services.metrics.registry.get_sample_value("ipo_sold_ratio", {"status": "live"}) or 0) < 1


def test_last_purchase_ends_nothing_if_shares_came_back(migrated_database_url: str) -> None:
    """A buyer withdraws between the attempt that would sell the last share, and the transaction that may."""
    bought = purchases.PurchaseResult(status=201, body=b"{}", is_replay=False, sold_out_ipo=None, lock_seconds=0)

    async def purchase(connection: Database | Transaction) -> purchases.PurchaseResult:
        if isinstance(connection, Database):
            raise SellsOutError
        return bought

    async def buy() -> purchases.PurchaseResult:
        async with databases.connect_pools(migrated_database_url) as database:
            return await closing.buy(database, purchase, proceeds_delay=timedelta(0), now=NOW)

    assert asyncio.run(buy()) is bought
