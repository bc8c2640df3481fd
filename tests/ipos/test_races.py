"""Two transactions at once in one offering, in both orders: what decides."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest

from audifi.auth.service import EMPTY_USER
from audifi.core.db.database import Database
from audifi.ledger.feature import refuse_to_lose_value
from tests.ipos import sales
from tests.ipos.sales import ENDS_AT, MOMENT, MONEY, OPENS_AT, PRICE
from tests.support import databases

HOUR = timedelta(hours=1)
RESERVED_UNTIL = OPENS_AT + timedelta(minutes=10)


@pytest.fixture
def url(migrated_database_url: str) -> Iterator[str]:
    """A database of the test's own: sweeps end all offerings of a database."""
    yield migrated_database_url
    assert sales.violations(migrated_database_url) == []


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (["buy", "pause"], ["done", "done"]),
        (["pause", "buy"], ["done", "ipo.paused"]),
        (["buy", "cancel"], ["done", "done"]),
        (["cancel", "buy"], ["done", "ipo.ended"]),
        (["buy", "cancel_by_artist"], ["done", "ipo.has_sales"]),
        (["cancel_by_artist", "buy"], ["done", "ipo.ended"]),
        (["buy", "complete"], ["done", "done"]),
        (["complete", "buy"], ["done", "ipo.ended"]),
        (["complete", "complete"], ["done", "ipo.completed"]),
        (["complete", "cancel"], ["done", "ipo.completed"]),
        (["cancel", "complete"], ["done", "ipo.not_live"]),
        (["buy_all", "other_buy"], ["done", "ipo.ended"]),
        (["other_buy", "buy_all"], ["done", "ipo.sold_out"]),
        (["buy_all", "buy"], ["done", "ipo.cap_exceeded"]),
        (["buy", "reserve"], ["done", "done"]),
        (["reserve", "buy_all"], ["done", "ipo.cap_exceeded"]),
        (["reserve", "other_buy_all"], ["done", "ipo.sold_out"]),
        (["other_buy_all", "reserve"], ["done", "ipo.ended"]),
        (["reserve", "other_reserve"], ["done", "reservation.limit_reached"]),
        (["other_reserve", "reserve"], ["done", "reservation.limit_reached"]),
        (["reserve", "reserve"], ["done", "reservation.exists"]),
    ],
)
def test_first_of_two_in_an_offering(url: str, order: list[str], expected: list[str]) -> None:
    sale = sales.launched(url)
    works = {
        "buy": sale.buy(2, now=ENDS_AT - MOMENT),
        "buy_all": sale.buy(20),
        "other_buy": sale.buy(2, place=1),
        "other_buy_all": sale.buy(20, place=1),
        "reserve": sale.reserve(3),
        "other_reserve": sale.reserve(2, place=1),
        "pause": sale.pause(),
        "cancel": sale.cancel(),
        "cancel_by_artist": sale.cancel(by_artist=True),
        "complete": sale.complete(),
    }

    assert sale.race(*(works[name] for name in order)) == expected


@pytest.mark.parametrize("purchase_is_first", [True, False])
def test_last_purchase_is_in_the_completed_offering(url: str, *, purchase_is_first: bool) -> None:
    sale = sales.launched(url)
    works = [sale.buy(2, now=ENDS_AT - MOMENT), sale.close_due(now=ENDS_AT)]

    results = sale.race(*(works if purchase_is_first else works[::-1]))

    ipo = sale.ipo()
    assert ipo.status == "completed"
    assert (results, ipo.sold, ipo.minters) == (
        (["done", "done"], 2, [sale.buyers[0]]) if purchase_is_first else (["done", "ipo.ended"], 0, [])
    )
    assert sale.money(sale.buyers[0]) == MONEY - ipo.sold * PRICE


def test_completion_waits_for_a_purchase_it_did_not_see(url: str) -> None:
    """The purchase may be withdrawn for an hour, and is committed while the completion waits for the offering."""
    sale = sales.launched(url, reflection_hours=1)

    assert sale.race(sale.buy(2, now=ENDS_AT - MOMENT), sale.complete()) == ["done", "ipo.withdrawable"]


def test_last_purchase_by_a_clock_that_is_behind(url: str) -> None:
    """Requests have their own instants, and get the offering in another order."""
    sale = sales.launched(url)
    sale.run(sale.buy(2, place=1, now=OPENS_AT + MOMENT))

    assert sale.run(sale.sell_out(18)) == "done"
    assert sale.ipo().status == "completed"


@pytest.mark.parametrize("deletion_is_first", [True, False])
def test_proceeds_are_never_paid_to_a_deleted_account(url: str, *, deletion_is_first: bool) -> None:
    sale = sales.launched(url)
    producer = uuid4()
    databases.execute(
        url,
        "INSERT INTO users (id, email, email_key, created_at)"
        f" VALUES ('{producer}', 'producer@example.com', 'producer@example.com', now())",
        "INSERT INTO master_collaborators (master_id, position, user_id, name, role, split_bps)"
        f" VALUES ('{sale.master_id}', 1, '{producer}', 'A producer', 'producer', 5000)",
    )
    sale.run(sale.buy(2))

    async def delete(database: Database) -> None:
        async with database.transaction() as tx:
            await tx.execute(EMPTY_USER, user_id=producer, placeholder=f"deleted:{producer}", now=ENDS_AT)
            await refuse_to_lose_value(tx, producer)

    results = sale.race(*([delete, sale.complete()] if deletion_is_first else [sale.complete(), delete]))

    assert results == (["done", "done"] if deletion_is_first else ["done", "account.not_empty"])
    assert sale.money(producer, "pending") == (0 if deletion_is_first else PRICE)
    assert sale.money(sale.artist, "pending") == (2 * PRICE if deletion_is_first else PRICE)


@pytest.mark.parametrize("withdrawal_is_first", [True, False])
def test_withdrawal_and_completion_exclude_each_other(url: str, *, withdrawal_is_first: bool) -> None:
    sale = sales.launched(url, reflection_hours=1)
    sale.run(sale.buy(2))
    works = [sale.withdraw(now=OPENS_AT + HOUR - MOMENT), sale.complete(now=OPENS_AT + HOUR)]

    results = sale.race(*(works if withdrawal_is_first else works[::-1]))

    assert sale.ipo().status == "completed"
    assert (results, sale.ipo().minters, sale.money(sale.buyers[0])) == (
        (["done", "done"], [], MONEY)
        if withdrawal_is_first
        else (["done", "withdrawal.closed"], [sale.buyers[0]], MONEY - 2 * PRICE)
    )


@pytest.mark.parametrize("withdrawal_is_first", [True, False])
def test_purchase_is_paid_back_once(url: str, *, withdrawal_is_first: bool) -> None:
    sale = sales.launched(url, reflection_hours=1)
    sale.run(sale.buy(2))
    withdraw, refund = sale.withdraw(now=OPENS_AT), sale.refund()

    async def cancel(database: Database) -> None:
        await sale.cancel()(database)
        await refund(database)

    works = [withdraw, cancel] if withdrawal_is_first else [cancel, withdraw]
    assert sale.race(*works) == ["done", "done"]
    assert (sale.ipo().status, sale.money(sale.buyers[0])) == ("canceled", MONEY)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (["buy", "expire"], ["done", "done"]),
        (["expire", "buy"], ["done", "reservation.not_open"]),
        (["buy", "cancel"], ["done", "reservation.not_open"]),
        (["cancel", "buy"], ["done", "reservation.not_open"]),
        (["cancel", "expire"], ["done", "done"]),
        (["expire", "cancel"], ["done", "reservation.not_open"]),
    ],
)
def test_reservation_ends_once(url: str, order: list[str], expected: list[str]) -> None:
    sale = sales.launched(url)
    sale.run(sale.reserve(4))
    reservation = sale.first("ipo_reservations")
    works = {
        "buy": sale.buy(4, reservation_id=reservation, now=RESERVED_UNTIL - MOMENT),
        "expire": sale.expire_reservations(now=RESERVED_UNTIL),
        "cancel": sale.cancel_reservation(reservation),
    }

    assert sale.race(*(works[name] for name in order)) == expected
    assert sale.ipo().reserved == 0


@pytest.mark.parametrize("expiry_is_first", [True, False])
def test_reserved_shares_are_sold_after_their_expiry(url: str, *, expiry_is_first: bool) -> None:
    """An expiry that isn't committed frees nothing yet, and the purchase doesn't wait for it."""
    sale = sales.launched(url)
    sale.run(sale.reserve(4))
    works = {"expire": sale.expire_reservations(now=RESERVED_UNTIL), "buy": sale.buy(20, place=1)}
    order = ["expire", "buy"] if expiry_is_first else ["buy", "expire"]

    results = dict(zip(order, sale.race(*(works[name] for name in order)), strict=True))

    assert results == {"expire": "done", "buy": "ipo.sold_out"}
    assert sale.run(works["buy"]) == "done"


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (["launch", "launch"], ["done", "ipo.not_editable"]),
        (["launch", "suspend"], ["done", "done"]),
        (["suspend", "launch"], ["done", "master.suspended"]),
    ],
)
def test_first_of_two_at_the_launch(url: str, order: list[str], expected: list[str]) -> None:
    sale = sales.prepare(url)
    works = {"launch": sale.launch(), "suspend": sale.suspend()}

    results = sale.race(*(works[name] for name in order))

    assert results == expected
    if "suspend" in order:
        assert sale.run(sale.buy(1)) == ("master.suspended" if order[0] == "launch" else "not_found")


@pytest.mark.parametrize("purchase_is_first", [True, False])
def test_launch_is_not_taken_back_after_a_purchase(url: str, *, purchase_is_first: bool) -> None:
    """The clocks of two servers differ: for one the offering has opened, for the other not yet."""
    sale = sales.launched(url)
    works = [sale.buy(2), sale.unlaunch(now=OPENS_AT - MOMENT)]

    results = sale.race(*(works if purchase_is_first else works[::-1]))

    assert results == (["done", "ipo.not_editable"] if purchase_is_first else ["done", "ipo.ended"])


def test_two_launches_at_the_artists_limit(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audifi.ipos.offers.MAX_LIVE_IPOS", 1)
    sale = sales.prepare(url)
    other = sales.another(sale)

    assert sale.race(sale.launch(), other.launch()) == ["done", "ipo.limit_reached"]


def test_two_purchases_never_share_a_serial(url: str) -> None:
    sale = sales.launched(url)

    assert sale.race(sale.buy(2, place=1), sale.buy(3)) == ["done", "done"]

    query = "SELECT array_agg(lower(serials) - $2 ORDER BY lower(serials)) FROM ipo_purchases WHERE ipo_id = $1"
    ipo = sale.ipo()
    assert databases.fetch_value(url, query, ipo.id, ipo.first_number) == [1, 3]
