"""Buying in an offering."""

from datetime import timedelta
from functools import partial

import pytest

from tests.ipos.offerings import Offering, balance, code, fund, post, user_id
from tests.support import databases
from tests.support.clients import at_once


def test_purchase_pays_and_delivers_at_once(offering: Offering) -> None:
    ipo = offering.open()
    first, second = offering.buyer(money=10_000), offering.buyer(money=10_000)

    bought = offering.buy(first, 10)
    offering.buy(second, 5)

    assert bought.status_code == 201, bought.text
    assert bought.json()["serials"] == [[1, 10]]
    assert (bought.json()["total"], bought.json()["minter_rank"]) == (2500, 1)
    assert offering.buy(second, 5).json()["serials"] == [[16, 20]]
    assert (balance(offering.app, first), balance(offering.app, second)) == (7500, 7500)
    assert balance(offering.app, first, "shares", f"share:{ipo['id']}") == 10
    assert (offering.get()["sold"], offering.get()["buyers"], offering.get()["available"]) == (20, 2, 780)


def test_retry_buys_once(offering: Offering) -> None:
    offering.open()
    buyer = offering.buyer()

    first, retry = offering.buy(buyer, 3, key="one"), offering.buy(buyer, 3, key="one")

    assert (retry.status_code, retry.json()) == (201, first.json())
    assert retry.headers["Idempotent-Replayed"] == "true"
    assert code(offering.buy(buyer, 4, key="one")) == "422 idempotency_key.reused"
    assert offering.get()["sold"] == 3


def test_same_key_at_once_buys_once(offering: Offering) -> None:
    offering.open()
    buyer = offering.buyer()

    answers = at_once([lambda: offering.buy(buyer, 3, key="one")] * 8)

    assert {answer.status_code for answer in answers} <= {201, 409}
    assert {code(answer) for answer in answers if answer.status_code == 409} <= {"409 idempotency_key.in_progress"}
    assert offering.get()["sold"] == 3


def test_refused_purchase_leaves_its_key_unused(offering: Offering) -> None:
    offering.open()
    buyer = offering.buyer(money=500)

    refused = offering.buy(buyer, 3, key="one")
    fund(offering.app, buyer, 250)

    assert code(refused) == "409 balance.insufficient"
    assert refused.json()["missing"] == 250
    assert offering.buy(buyer, 3, key="one").status_code == 201


def test_price_must_be_the_expected_one(offering: Offering) -> None:
    offering.open()

    refused = offering.buy(offering.buyer(), 2, expected_total=499)

    assert (code(refused), refused.json()["total"]) == ("409 price.changed", 500)


def test_artist_cannot_buy_in_the_own_offering(offering: Offering) -> None:
    offering.open()
    fund(offering.app, offering.artist, 1000)

    assert code(offering.buy(offering.artist)) == "403 ipo.own"
    assert code(post(offering.artist, f"{offering.path}/reservations", {"quantity": 1})) == "403 ipo.own"


def test_purchase_is_possible_within_the_window_only(offering: Offering) -> None:
    offering.draft()
    buyer = offering.buyer()
    assert code(offering.buy(buyer)) == "404 not_found"
    offering.launch()
    assert code(offering.buy(buyer)) == "409 ipo.not_open"
    offering.app.clock.advance(minutes=1)
    assert offering.buy(buyer).status_code == 201
    offering.pass_time(buyer, days=10)
    assert code(offering.buy(buyer)) == "409 ipo.ended"


def test_cap_holds_for_purchases_and_reservations(offering: Offering) -> None:
    offering.open(max_per_account=10)
    buyer = offering.buyer()
    offering.buy(buyer, 6)

    assert code(offering.buy(buyer, 5)) == "409 ipo.cap_exceeded"
    assert code(offering.buy(offering.buyer(), 11)) == "409 ipo.cap_exceeded"
    assert code(post(buyer, f"{offering.path}/reservations", {"quantity": 5})) == "409 ipo.cap_exceeded"
    assert post(buyer, f"{offering.path}/reservations", {"quantity": 3}).status_code == 201
    assert code(offering.buy(buyer, 2)) == "409 ipo.cap_exceeded"
    assert offering.buy(buyer, 1).status_code == 201


def test_one_account_cannot_pass_its_cap_at_once(offering: Offering) -> None:
    offering.open(max_per_account=10)
    buyer = offering.buyer()

    answers = at_once([lambda: offering.buy(buyer, 4)] * 8)

    assert sorted(answer.status_code for answer in answers) == [201] * 2 + [409] * 6
    assert offering.get()["sold"] == 8


def test_last_shares_are_sold_once(offering: Offering) -> None:
    offering.open(total_shares=10, retained_shares=0, max_per_account=4)
    buyers = [offering.buyer() for _ in range(5)]

    answers = at_once([partial(offering.buy, buyer, 3) for buyer in buyers])

    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 2
    refused = [answer.json() for answer in answers if answer.status_code == 409]
    assert [(body["code"], body["available"]) for body in refused] == [("ipo.sold_out", 1)] * 2
    serials = [answer.json()["serials"][0] for answer in answers if answer.status_code == 201]
    assert sorted(serials) == [[1, 3], [4, 6], [7, 9]]


def test_allowlist_buys_first_with_its_caps(offering: Offering) -> None:
    until = (offering.now() + timedelta(days=1)).isoformat()
    offering.draft(allowlist_until=until, max_per_account=10)
    listed, capped, other = (offering.buyer() for _ in range(3))
    entries = [{"user_id": user_id(listed)}, {"user_id": user_id(capped), "cap": 20}]
    assert offering.artist.as_signed_in("PUT", f"{offering.path}/allowlist", {"entries": entries}).status_code == 204
    offering.launch()
    offering.app.clock.advance(minutes=1)

    assert code(offering.buy(other)) == "403 ipo.allowlist_only"
    assert code(post(other, f"{offering.path}/reservations", {"quantity": 1})) == "403 ipo.allowlist_only"
    assert code(offering.buy(listed, 11)) == "409 ipo.cap_exceeded"
    assert offering.buy(listed, 10).status_code == 201
    assert offering.buy(capped, 20).status_code == 201
    offering.pass_time(other, capped, days=1)
    assert offering.buy(other, 10).status_code == 201
    assert code(offering.buy(capped, 1)) == "409 ipo.cap_exceeded"


def test_reservation_is_used_by_its_purchase(offering: Offering) -> None:
    offering.open(total_shares=20, retained_shares=0, max_per_account=20)
    buyer, other = offering.buyer(), offering.buyer()
    reservation = post(buyer, f"{offering.path}/reservations", {"quantity": 4}).json()

    assert (offering.get()["reserved"], offering.get()["available"]) == (4, 16)
    assert code(offering.buy(other, 17)) == "409 ipo.sold_out"
    assert code(offering.buy(other, 4, reservation_id=reservation["id"])) == "409 reservation.not_open"
    assert code(offering.buy(buyer, 3, reservation_id=reservation["id"])) == "409 reservation.not_open"
    assert offering.buy(buyer, 4, reservation_id=reservation["id"]).status_code == 201
    assert code(offering.buy(buyer, 4, reservation_id=reservation["id"])) == "409 reservation.not_open"
    assert (offering.get()["sold"], offering.get()["reserved"]) == (4, 0)


def test_reservations_are_limited(offering: Offering) -> None:
    offering.open(total_shares=100, retained_shares=0)
    buyer, other = offering.buyer(), offering.buyer()
    path = f"{offering.path}/reservations"

    assert code(post(buyer, path, {"quantity": 21})) == "409 reservation.limit_reached"
    reservation = post(buyer, path, {"quantity": 15}).json()
    assert code(post(buyer, path, {"quantity": 1})) == "409 reservation.exists"
    assert code(post(other, path, {"quantity": 6})) == "409 reservation.limit_reached"
    assert code(other.as_signed_in("DELETE", f"{path}/{reservation['id']}")) == "404 not_found"
    assert buyer.as_signed_in("DELETE", f"{path}/{reservation['id']}").status_code == 204
    assert code(buyer.as_signed_in("DELETE", f"{path}/{reservation['id']}")) == "409 reservation.not_open"
    assert post(other, path, {"quantity": 20}).status_code == 201
    offering.buy(buyer, 75)
    assert code(post(buyer, path, {"quantity": 6})) == "409 ipo.sold_out"


def test_withdrawal_gives_the_money_back_once(offering: Offering) -> None:
    ipo = offering.open(reflection_hours=1)
    buyer, other = offering.buyer(money=1000), offering.buyer(money=1000)
    purchase = offering.buy(buyer, 4).json()
    path = f"{offering.path}/purchases/{purchase['purchase_id']}/withdraw"

    assert code(post(other, path)) == "404 not_found"
    answers = at_once([lambda: post(buyer, path)] * 4)

    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 3
    assert {code(answer) for answer in answers if answer.status_code == 409} == {"409 withdrawal.closed"}
    assert balance(offering.app, buyer) == 1000
    assert balance(offering.app, buyer, "shares", f"share:{ipo['id']}") == 0
    assert offering.buy(other, 1).json()["serials"] == [[5, 5]]
    assert (offering.get()["sold"], offering.get()["available"]) == (1, 795)


def test_withdrawal_ends_with_the_reflection_time(offering: Offering) -> None:
    offering.open(reflection_hours=1)
    buyer = offering.buyer()
    purchase = offering.buy(buyer, 4).json()
    offering.pass_time(buyer, hours=1)

    answer = post(buyer, f"{offering.path}/purchases/{purchase['purchase_id']}/withdraw")

    assert code(answer) == "409 withdrawal.closed"


def test_account_in_debt_cannot_buy(offering: Offering) -> None:
    offering.open()
    buyer = offering.buyer()
    fund(offering.app, buyer, -100, purpose="debt")

    assert code(offering.buy(buyer)) == "403 account.in_debt"


def test_suspended_master_is_not_sold(offering: Offering) -> None:
    offering.open()
    buyer = offering.buyer()
    databases.execute(
        offering.app.database_url, f"UPDATE masters SET suspended_at = now() WHERE id = '{offering.master_id}'"
    )

    assert code(offering.buy(buyer)) == "409 master.suspended"


@pytest.mark.parametrize("quantity", [0, -1, 10_001, 1.0, "1", True])
def test_invalid_quantity_is_refused(offering: Offering, quantity: object) -> None:
    answer = post(offering.artist, f"{offering.path}/mint", {"quantity": quantity, "expected_total": 250})

    assert code(answer) == "422 request.invalid"
