"""Deposits, disputes and payouts in any order, compared with a model; all invariants hold after each step."""

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

from audifi.core.http.problems import Problem
from audifi.funding.deposits import DepositRow
from audifi.funding.models import DisputeStatus, PayoutStatus
from audifi.funding.payouts import PayoutRow
from tests.funding.fundings import (
    balances,
    canceling,
    depositing,
    disputing,
    failing,
    new_user,
    paying,
    receipt,
    requesting,
    spend,
    submitting,
    violations,
)
from tests.support import databases

pytestmark = pytest.mark.slow

AMOUNTS = strategies.integers(min_value=1000, max_value=3000)
PLACES = strategies.integers(min_value=0, max_value=9)
STATUSES: tuple[DisputeStatus, ...] = ("open", "lost", "won")
STEPS = {"submit": submitting, "paid": paying, "failed": failing, "cancel": canceling}
NEXT: dict[tuple[str, PayoutStatus], PayoutStatus | None] = {
    ("submit", "requested"): "submitted",
    ("cancel", "requested"): "canceled",
    ("paid", "submitted"): "paid",
    ("paid", "paid"): "paid",
    ("paid", "failed"): "failed",
    ("failed", "requested"): "failed",
    ("failed", "submitted"): "failed",
    ("failed", "paid"): "failed",
    ("failed", "failed"): "failed",
}


class FundingMachine(RuleBasedStateMachine):
    """One user; the model is what the user owns altogether, and the statuses."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.database = databases.connect_pools(self.url, size=2)
        self.worth = 0
        """Available, less what is owed."""
        self.deposits: list[DepositRow] = []
        self.disputes: dict[tuple[int, str], tuple[int, DisputeStatus]] = {}
        self.payouts: list[tuple[PayoutRow, PayoutStatus]] = []

    def teardown(self) -> None:
        self.do(self.database.close())
        self.loop.close()

    def do[T](self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def code(self, step: Any) -> str:
        try:
            self.do(self.database.run(step))
        except Problem as problem:
            return problem.code
        return ""

    def state(self) -> tuple[int, int, int]:
        return self.do(balances(self.database, self.user_id))

    @initialize()
    def begin(self) -> None:
        self.user_id: UUID = self.do(new_user(self.database))

    @rule(amount=AMOUNTS, times=strategies.integers(min_value=1, max_value=2))
    def deposit(self, amount: int, times: int) -> None:
        money = receipt(self.user_id, amount)
        rows = [self.do(self.database.run(depositing(money))) for _ in range(times)]
        self.deposits.append(rows[0])
        self.worth += amount

    @precondition(lambda self: self.deposits)
    @rule(place=PLACES, name=strategies.sampled_from("ab"), status=strategies.sampled_from(STATUSES), amount=AMOUNTS)
    def dispute(self, place: int, name: str, status: DisputeStatus, amount: int) -> None:
        place %= len(self.deposits)
        deposit = self.deposits[place]
        known = self.disputes.get((place, name))
        standing = sum(
            amount for (where, _), (amount, status) in self.disputes.items() if where == place and status != "won"
        )
        code = self.code(disputing(deposit, status, amount, f"{deposit.id} {name}"))
        if known is None and status != "won" and standing + amount > deposit.amount:
            assert code == "dispute.amount_exceeded"
            return
        assert code == ""
        taken, before = known or (amount, None)
        after = status if before is None else max(before, status, key=STATUSES.index)
        self.worth -= taken * ((after in {"open", "lost"}) - (before in {"open", "lost"}))
        self.disputes[place, name] = (taken, after)

    @rule(part=strategies.integers(min_value=1, max_value=4))
    def spend(self, part: int) -> None:
        posted, held, _ = self.state()
        amount = (posted - held) * part // 4
        if amount:
            self.do(spend(self.database, self.user_id, amount))
            self.worth -= amount

    @rule(amount=AMOUNTS)
    def request(self, amount: int) -> None:
        posted, held, owed = self.state()
        open_payouts = sum(status in {"requested", "submitted"} for _, status in self.payouts)
        expected = ""
        if posted - held < amount:
            expected = "balance.insufficient"
        if open_payouts >= 5:
            expected = "payout.limit_exceeded"
        if owed:
            expected = "account.in_debt"
        if expected:
            assert self.code(requesting(self.user_id, amount)) == expected
        else:
            self.payouts.append((self.do(self.database.run(requesting(self.user_id, amount))), "requested"))

    @precondition(lambda self: self.payouts)
    @rule(place=PLACES, name=strategies.sampled_from(sorted(STEPS)))
    def change_payout(self, place: int, name: str) -> None:
        place %= len(self.payouts)
        payout, status = self.payouts[place]
        owed = self.state()[2]
        code = self.code(STEPS[name](payout))
        after = NEXT.get((name, status))
        if after is None:
            assert code == "payout.status_conflict"
        elif after == "submitted" and owed:
            assert code == "account.in_debt"
        else:
            assert code == ""
            self.worth += payout.amount * ((status == "paid") - (after == "paid"))
            self.payouts[place] = (payout, after)

    @invariant()
    def worth_is_as_in_the_model(self) -> None:
        posted, held, owed = self.state()
        assert posted + owed == self.worth
        assert held == sum(row.amount for row, status in self.payouts if status in {"requested", "submitted"})
        assert owed == 0 or posted == held, "who owes something has nothing free"

    @invariant()
    def invariants_hold(self) -> None:
        assert self.do(violations(self.database)) == []


def test_funding_behaves_like_its_model(migrated_database_url: str) -> None:
    FundingMachine.url = migrated_database_url
    run_state_machine_as_test(FundingMachine, settings=settings(max_examples=12, stateful_step_count=40, deadline=None))
