"""Whatever people and banks do, and in whatever order events come or don't: after reconciliation, both sides agree."""

import asyncio
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from audifi.payments import balances, reconciliation
from audifi.services import Services
from tests.payments.processes import process
from tests.payments.shops import Shop
from tests.payments.test_refunds import deposit_of, refund
from tests.support.clients import Client
from tools.stripe_stand_in.server import CommandError

pytestmark = pytest.mark.slow

CARDS = [
    "pm_card_visa",
    "pm_card_bypassPending",
    "pm_card_chargeCustomerFail",
    "pm_card_refundFail",
    "pm_card_pendingRefund",
]
CARDS += ["pm_card_createDispute", "pm_card_createDisputeInquiry", "pm_sepa_succeeds", "pm_sepa_fails"]
AMOUNTS = st.integers(500, 5000)
STEPS = st.one_of(
    st.tuples(st.just("deposit"), AMOUNTS, st.sampled_from(CARDS)),
    st.tuples(st.just("refund"), AMOUNTS),
    st.tuples(st.just("dispute"), st.booleans()),
    st.tuples(st.just("end_dispute"), st.sampled_from(["won", "lost", "escalated"])),
    st.tuples(st.just("disturb"), st.booleans(), st.integers(1, 3), st.integers(0, 5)),
    st.tuples(st.just("release"), st.sampled_from(["reversed", "shuffled"])),
    st.tuples(st.just("advance"), st.integers(1, 8)),
)


class Story:
    """An account, and what happens to it."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.client: Client = shop.fan()
        self.checkouts: list[str] = []

    def deposit(self, amount: int, card: str) -> None:
        self.checkouts.append(self.shop.opened(self.client, amount))
        self.shop.pay(self.checkouts[-1], card)
        self.shop.settle()

    def refund(self, amount: int) -> None:
        for item in self.client.as_signed_in("GET", "/payments/history?type=deposit").json()["data"][:1]:
            refund(self.client, item["id"], amount)

    def dispute(self, is_inquiry: bool) -> None:  # noqa: FBT001 - a step's argument
        charges = self.shop.stand_in.do("objects", kind="charge")["data"]
        for charge in [each for each in charges if each.get("paid") and not each["disputed"] and each["metadata"]][-1:]:
            self.shop.stand_in.do("dispute", charge=charge["id"], inquiry=is_inquiry)

    def end_dispute(self, outcome: str) -> None:
        for dispute in self.shop.stand_in.do("objects", kind="dispute")["data"][-1:]:
            try:
                self.shop.stand_in.do("end_dispute", dispute=dispute["id"], outcome=outcome)
            except CommandError:  # it has ended
                return

    def disturb(self, held: bool, copies: int, lose: int) -> None:  # noqa: FBT001 - a step's arguments
        self.shop.stand_in.do("disturb", held=held, copies=copies, lose=lose)

    def release(self, order: str) -> None:
        self.shop.stand_in.do("release", order=order)

    def advance(self, days: int) -> None:
        self.shop.advance(days=days)
        self.client = self.shop.again(self.client)


def reconciled(shop: Shop) -> list[balances.Comparison]:
    """Run what runs every 15 minutes and each night; return the comparison."""

    async def act(work: Any) -> Any:
        async with process(shop) as services:
            return await work(services)

    async def find(services: Services) -> None:
        await reconciliation.read_events(services)
        await reconciliation.look_at_unended(services)
        await balances.book_fees(services)

    shop.stand_in.do("disturb")
    shop.settle()
    asyncio.run(act(find))
    shop.settle()
    compared: list[balances.Comparison] = asyncio.run(act(balances.compare))
    return compared


def test_both_sides_agree_in_the_end(own_shop: Shop) -> None:
    @settings(max_examples=12)
    @given(steps=st.lists(STEPS, min_size=3, max_size=10))
    def agree(steps: list[tuple[Any, ...]]) -> None:
        story = Story(own_shop)
        for name, *arguments in steps:
            getattr(story, name)(*arguments)
        assert [each for each in reconciled(own_shop) if each.difference] == []
        own_shop.app.check_invariants()

    agree()


def test_refund_while_its_deposit_is_disputed_ends_equal(own_shop: Shop) -> None:
    story = Story(own_shop)
    story.deposit(4000, "pm_card_pendingRefund")
    deposit_id = deposit_of(own_shop, story.checkouts[0])
    refund(story.client, deposit_id, 1000)
    story.dispute(is_inquiry=False)
    story.end_dispute("won")
    story.advance(6)
    assert [each for each in reconciled(own_shop) if each.difference] == []
    assert own_shop.balance(story.client) == 3000
