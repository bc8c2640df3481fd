"""Random transfers, distributions and claims in any order; all invariants hold after each step.

The model shares out each distribution among all holders, one by one, which is what the pool must come to.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, ClassVar
from uuid import UUID

import pytest
from hypothesis import settings, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from audifi.dividends import distributions
from audifi.dividends.distributions import DistributionRow
from tests.dividends.stages import SCALE, Stage, refusal, violations
from tests.support import databases

pytestmark = pytest.mark.slow

HOLDERS = strategies.integers(0, 3)
AMOUNTS = strategies.one_of(strategies.integers(2, 50), strategies.integers(2, 10**12))


class DividendMachine(RuleBasedStateMachine):
    """A master's shares in four accounts."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.database = databases.connect_pools(self.url, size=2)
        self.declared: list[DistributionRow] = []

    def teardown(self) -> None:
        self.run(self.database.close())
        self.loop.close()

    def run[T](self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize(holdings=strategies.lists(strategies.integers(1, 400), min_size=4, max_size=4))
    def open(self, holdings: list[int]) -> None:
        self.stage = self.run(Stage(self.database).open(*holdings))
        self.held = dict(zip(self.stage.holders, holdings, strict=True))
        self.accrued: dict[UUID, int] = dict.fromkeys(self.held, 0)
        self.residue = 0

    @rule(seller_place=HOLDERS, buyer_place=HOLDERS, amount=strategies.integers(1, 400))
    def transfer(self, seller_place: int, buyer_place: int, amount: int) -> None:
        seller, buyer = self.stage.holders[seller_place], self.stage.holders[buyer_place]
        if seller == buyer or not self.held[seller]:
            return
        amount = min(amount, self.held[seller])
        self.run(self.stage.transfer(seller, buyer, amount))
        self.held[seller] -= amount
        self.held[buyer] += amount

    @rule(amount=AMOUNTS)
    def declare(self, amount: int) -> None:
        self.declared.append(self.run(self.stage.declare(amount)))

    @precondition(lambda self: self.declared)
    @rule()
    def cancel(self) -> None:
        row = self.declared.pop()

        async def work(tx: Any) -> Any:
            return await distributions.cancel(tx, distribution_id=row.id, operator="kim", reason="wrong")

        self.run(self.database.run(work))

    @precondition(lambda self: self.declared)
    @rule()
    def post(self) -> None:
        row = self.declared.pop(0)
        assert self.run(self.database.run(self.stage.posting(row)))
        each, self.residue = divmod(row.holders * SCALE + self.residue, self.stage.total)
        for holder, shares in self.held.items():
            self.accrued[holder] += shares * each

    @rule(place=HOLDERS)
    def claim(self, place: int) -> None:
        holder = self.stage.holders[place]
        whole, self.accrued[holder] = divmod(self.accrued[holder], SCALE)
        assert self.run(self.stage.claim(holder)) == ([whole] if whole else [])

    @rule()
    def void_something(self) -> None:
        rows = self.run(
            self.database.fetch_sql(
                "SELECT id FROM revenue_events WHERE ipo_id = $1 AND status <> 'voided' ORDER BY id DESC LIMIT 1",
                self.stage.ipo_id,
            )
        )
        for row in rows:
            self.run(refusal(self.database.run(self.stage.voiding(row[0]))))

    @invariant()
    def invariants_hold(self) -> None:
        assert self.run(violations(self.database)) == []


def test_pools_are_exact_in_any_order(migrated_database_url: str) -> None:
    DividendMachine.url = migrated_database_url
    run_state_machine_as_test(
        DividendMachine, settings=settings(max_examples=12, stateful_step_count=25, deadline=None)
    )
