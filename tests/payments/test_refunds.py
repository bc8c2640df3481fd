"""Refunds of deposits: never more than the deposit, never twice, and back where the bank returns them."""

import asyncio
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from audifi.payments import refunds, syncs
from audifi.payments.client import RefusedError
from tests.masters.requests import make_admin
from tests.payments.processes import is_killed, process
from tests.payments.shops import Shop
from tests.support.clients import Client, at_once

LAST = 40
"""More than the steps of a refund."""


def deposit_of(shop: Shop, checkout_id: str) -> str:
    query = "SELECT d.id FROM deposits AS d JOIN checkouts AS c USING (user_id, amount) WHERE c.id = $1"
    return str(shop.value(query, UUID(checkout_id)))


def refund(client: Client, deposit_id: str, amount: int, *, key: str | None = None, **fields: Any) -> httpx2.Response:
    path, headers = f"/payments/deposits/{deposit_id}/refund", {"Idempotency-Key": key or str(uuid4())}
    return client.as_signed_in("POST", path, {"amount": amount} | fields, headers=headers)


def refunded_at_stripe(shop: Shop, deposit_id: str) -> int:
    intent = shop.value("SELECT provider_ref FROM deposits WHERE id = $1", UUID(deposit_id))
    everything = shop.stand_in.do("objects", kind="refund")["data"]
    return sum(each["amount"] for each in everything if each["payment_intent"] == intent)


def look_again(shop: Shop, deposit_id: str) -> None:
    """Look at a deposit's refund, as if another event had come."""
    stripe_id = shop.value("SELECT provider_id FROM deposit_refunds WHERE deposit_id = $1", UUID(deposit_id))

    async def look() -> None:
        async with process(shop) as services:
            await syncs.sync_now(services, kind="refund", provider_id=stripe_id)

    asyncio.run(look())


def test_refund_returns_money_to_the_card_once(shop: Shop, fan: Client) -> None:
    deposit_id, key = deposit_of(shop, shop.deposited(fan)), str(uuid4())
    first, second = (refund(fan, deposit_id, 2000, key=key) for _ in range(2))
    shop.settle()
    assert (first.status_code, first.json()["status"], second.json()) == (201, "succeeded", first.json())
    assert (shop.balance(fan), refunded_at_stripe(shop, deposit_id)) == (3000, 2000)

    look_again(shop, deposit_id)
    assert shop.balance(fan) == 3000


@pytest.mark.parametrize(
    ("card", "ends_as", "left"), [("pm_card_pendingRefund", "succeeded", 0), ("pm_card_refundFail", "failed", 5000)]
)
def test_refund_ends_days_later(shop: Shop, fan: Client, card: str, ends_as: str, left: int) -> None:
    deposit_id = deposit_of(shop, shop.deposited(fan, card=card))
    refund_id = refund(fan, deposit_id, 5000).json()["refund_id"]
    shop.settle()
    look_again(shop, deposit_id)
    assert shop.balance(fan) in {0, 5000}  # a pending one is held
    shop.advance(days=6)
    look_again(shop, deposit_id)
    assert shop.value("SELECT status FROM deposit_refunds WHERE id = $1", UUID(refund_id)) == ends_as
    assert shop.balance(shop.again(fan)) == left


def test_refunds_at_once_never_exceed_the_deposit(shop: Shop, fan: Client) -> None:
    deposit_id = deposit_of(shop, shop.deposited(fan))
    shop.deposited(fan, 6000)  # so that the balance isn't what refuses
    codes = sorted(response.status_code for response in at_once([partial(refund, fan, deposit_id, 3000)] * 2))
    shop.settle()
    assert (codes, refunded_at_stripe(shop, deposit_id)) == ([201, 409], 3000)
    assert refund(fan, deposit_id, 2001).json()["refundable"] == 2000


def test_spent_money_is_not_refunded(shop: Shop, fan: Client) -> None:
    deposit_id = deposit_of(shop, shop.deposited(fan))
    other = deposit_of(shop, shop.deposited(fan, 1000))
    assert refund(fan, other, 1000).status_code == 201
    assert refund(fan, deposit_id, 5000).status_code == 201
    shop.settle()
    assert refund(fan, deposit_id, 1).json()["code"] == "deposit.refund_exceeded"
    assert shop.balance(fan) == 0


def test_disputed_deposit_is_not_refunded(shop: Shop, fan: Client) -> None:
    deposit_id = deposit_of(shop, shop.deposited(fan))
    shop.dispute(deposit_id)
    assert refund(fan, deposit_id, 1000).json()["code"] == "deposit.disputed"


def test_refund_that_stripe_refuses_frees_the_hold(shop: Shop, fan: Client) -> None:
    """The dispute's event is late: the deposit seems to be fine."""
    deposit_id = deposit_of(shop, shop.deposited(fan))
    shop.stand_in.do("disturb", held=True)
    shop.stand_in.do("dispute", charge=shop.charge(deposit_id))
    assert refund(fan, deposit_id, 1000).json()["status"] == "failed"
    assert shop.balance(fan) == 5000


def test_old_deposit_is_not_refunded(shop: Shop, fan: Client) -> None:
    deposit_id = deposit_of(shop, shop.deposited(fan))
    shop.advance(days=91)
    assert refund(shop.again(fan), deposit_id, 1000).json()["code"] == "deposit.not_refundable"


def test_only_owner_and_admin_refund(shop: Shop, fan: Client) -> None:
    deposit_id = deposit_of(shop, shop.deposited(fan))
    stranger, admin = shop.fan(), make_admin(shop.app.database_url, shop.fan())
    assert refund(stranger, deposit_id, 1000).json()["code"] == "deposit.not_found"
    assert refund(stranger, deposit_id, 1000, reason="mine").status_code == 403
    assert refund(admin, deposit_id, 1000, reason="A wrong amount").status_code == 201


def requested(shop: Shop, deposit_id: UUID) -> UUID:
    """Commit the row of a refund of 20.00, and nothing else."""

    async def act() -> UUID:
        user_id = await asyncio.to_thread(shop.value, "SELECT user_id FROM deposits WHERE id = $1", deposit_id)
        async with process(shop) as services, services.database.transaction() as transaction:
            return await refunds.request(
                transaction,
                deposit_id=deposit_id,
                owner_id=user_id,
                actor_id=user_id,
                amount=2000,
                reason=None,
                now=services.clock(),
            )

    return asyncio.run(act())


def resume(shop: Shop) -> None:
    """Run the job that goes on with refunds, when it is time."""

    async def act() -> None:
        async with process(shop) as services:
            await refunds.resume(services)

    shop.app.clock.advance(seconds=90)
    asyncio.run(act())
    shop.app.clock.advance(seconds=-90)


@pytest.mark.slow
def test_kill_between_any_two_steps_refunds_once(shop: Shop) -> None:
    for steps in range(LAST):
        fan = shop.fan()
        deposit_id = deposit_of(shop, shop.deposited(fan))
        refund_id = requested(shop, UUID(deposit_id))
        shop.stand_in.do("disturb", lose=100)
        was_killed = asyncio.run(is_killed(shop, steps, partial(refunds.send, refund_id=refund_id)))
        for _ in range(2):
            resume(shop)
        shop.stand_in.do("disturb")
        assert (refunded_at_stripe(shop, deposit_id), shop.balance(fan)) == (2000, 3000)
        if not was_killed:
            assert steps > 5
            return
    raise AssertionError("a refund has more steps than this test tries")


def test_refusal_of_a_repetition_takes_nothing_back(shop: Shop, fan: Client) -> None:
    """Stripe has made the refund and sent its event; a second call with the same key is refused."""
    deposit_id = deposit_of(shop, shop.deposited(fan))
    refund_id = requested(shop, UUID(deposit_id))

    async def act() -> None:
        async with process(shop) as services:
            call = services.stripe.call

            async def refuse(name: str, work: Any) -> Any:
                await call(name, work)
                await asyncio.to_thread(shop.settle)
                raise RefusedError(name, status=400, code="idempotency_error")

            vars(services.stripe)["call"] = refuse
            assert (await refunds.send(services, refund_id=refund_id)).status == "succeeded"

    asyncio.run(act())
    assert (refunded_at_stripe(shop, deposit_id), shop.balance(fan)) == (2000, 3000)


def test_refund_is_only_looked_for_after_22_hours(shop: Shop) -> None:
    """Stripe forgets the key after a day: a repetition would refund twice. For an hour, the last answer may be lost."""
    fan = shop.fan()
    made_of, lost_of = (deposit_of(shop, shop.deposited(fan, amount)) for amount in (5000, 6000))
    made, lost = requested(shop, UUID(made_of)), requested(shop, UUID(lost_of))
    shop.stand_in.do("disturb", lose=100)
    for steps in range(LAST):  # until it is killed after Stripe has made it
        asyncio.run(is_killed(shop, steps, partial(refunds.send, refund_id=made)))
        if refunded_at_stripe(shop, made_of):
            break
    shop.stripe.v1.refunds.create({"charge": shop.charge(made_of), "amount": 100})  # newer, and somebody else's

    def statuses() -> list[str]:
        return [shop.value("SELECT status FROM deposit_refunds WHERE id = $1", each) for each in (made, lost)]

    shop.app.clock.advance(hours=22)
    with pytest.raises(ExceptionGroup, match="1 failed"):
        resume(shop)
    assert statuses() == ["succeeded", "requested"]
    shop.app.clock.advance(hours=1)
    resume(shop)
    shop.app.clock.advance(hours=-23)
    assert statuses() == ["succeeded", "failed"]
    assert [refunded_at_stripe(shop, each) for each in (made_of, lost_of)] == [2100, 0]
    assert shop.balance(fan) == 9000
