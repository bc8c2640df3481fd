"""Random transfers, holds and reversals, compared with a model; all invariants hold after each step."""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID, uuid4

from hypothesis import settings, strategies
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from audifi.core.http.problems import Problem
from audifi.ledger.accounts import AccountRef, platform_account
from audifi.ledger.jobs import expire_holds, sweep_stripes
from tests.ledger.ledgers import NOW, available, balance, deposit, external, hold, move, post, reverse, violations, void
from tests.support import databases

AMOUNTS = strategies.integers(min_value=1, max_value=120)
PLACES = strategies.integers(min_value=0, max_value=3)
LIFETIME = timedelta(minutes=5)


class LedgerMachine(RuleBasedStateMachine):
    """Four accounts with a balance, and the platform's fees."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.database = databases.connect_pools(self.url, size=2)
        self.accounts = [available(uuid4()) for _ in range(4)]
        self.posted = [0, 0, 0, 0]
        self.open_holds: dict[UUID, tuple[int, int, Any]] = {}
        """The place, the amount, and when it expires."""
        self.reversed: set[UUID] = set()
        self.now = NOW

    def teardown(self) -> None:
        self.do(self.database.close())
        self.loop.close()

    def do[T](self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def code(self, work: Coroutine[Any, Any, Any]) -> str:
        """Run it; return the problem's code, or an empty string."""
        try:
            self.do(work)
        except Problem as problem:
            return problem.code
        return ""

    def free(self, place: int) -> int:
        return self.posted[place] - sum(amount for where, amount, _ in self.open_holds.values() if where == place)

    transfers = Bundle("transfers")
    holds = Bundle("holds")

    @initialize()
    def fund(self) -> None:
        for place in range(2):
            self.do(deposit(self.database, self.accounts[place], 100))
            self.posted[place] += 100

    @rule(target=transfers, place=PLACES, amount=AMOUNTS)
    def deposit(self, place: int, amount: int) -> tuple[UUID, dict[int, int]]:
        posted = self.do(deposit(self.database, self.accounts[place], amount, now=self.now))
        self.posted[place] += amount
        return posted.transfer_id, {place: amount}

    @rule(target=transfers, source=PLACES, target_place=PLACES, amount=AMOUNTS, is_sent_twice=strategies.booleans())
    def pay_with_fee(
        self, source: int, target_place: int, amount: int, *, is_sent_twice: bool
    ) -> tuple[UUID, dict[int, int]] | None:
        fee = amount // 10
        postings: list[tuple[AccountRef, int]] = [
            (self.accounts[source], -amount),
            (self.accounts[target_place], amount - fee),
            (platform_account("fees", "USD"), fee),
        ]
        key = str(uuid4())
        changes = {source: -amount}
        changes[target_place] = changes.get(target_place, 0) + amount - fee
        is_refused = self.free(source) + changes[source] < 0
        if not any(changes.values()):  # to itself, without a fee
            return None
        if is_refused:
            assert self.code(post(self.database, *postings, key=key, now=self.now)) == "balance.insufficient"
            return None
        posted = self.do(post(self.database, *postings, key=key, now=self.now))
        if is_sent_twice:
            again = self.do(post(self.database, *postings, key=key, now=self.now))
            assert (again.transfer_id, again.is_replay) == (posted.transfer_id, True)
        self.apply(changes)
        return posted.transfer_id, changes

    def apply(self, changes: dict[int, int]) -> None:
        for place, amount in changes.items():
            self.posted[place] += amount

    @rule(target=holds, place=PLACES, amount=AMOUNTS)
    def hold(self, place: int, amount: int) -> UUID | None:
        expires_at = self.now + LIFETIME
        if self.free(place) < amount:
            code = self.code(hold(self.database, self.accounts[place], amount, expires_at=expires_at))
            assert code == "balance.insufficient"
            return None
        held = self.do(hold(self.database, self.accounts[place], amount, expires_at=expires_at))
        self.open_holds[held.hold_id] = (place, amount, expires_at)
        return held.hold_id

    def is_usable(self, hold_id: UUID) -> bool:
        return hold_id in self.open_holds and self.open_holds[hold_id][2] > self.now

    @rule(hold_id=holds, amount=AMOUNTS)
    def settle(self, hold_id: UUID | None, amount: int) -> None:
        if hold_id is None:
            return
        place, held, _ = self.open_holds.get(hold_id, (0, 0, None))
        code = self.code(move(self.database, self.accounts[place], external(), amount, settles=hold_id, now=self.now))
        if not self.is_usable(hold_id):
            assert code == "hold.not_open"
        elif amount > held:
            assert code == "hold.amount_exceeded"
        else:
            assert code == ""
            del self.open_holds[hold_id]
            self.posted[place] -= amount

    @rule(hold_id=consumes(holds))
    def void(self, hold_id: UUID | None) -> None:
        if hold_id is None:
            return
        code = self.code(void(self.database, hold_id, now=self.now))
        assert code == ("" if self.is_usable(hold_id) else "hold.not_open")
        if not code:
            del self.open_holds[hold_id]

    @rule(transfer=transfers)
    def reverse(self, transfer: tuple[UUID, dict[int, int]] | None) -> None:
        if transfer is None:
            return
        transfer_id, changes = transfer
        code = self.code(reverse(self.database, transfer_id))
        if code == "balance.insufficient":
            assert any(amount > self.free(place) for place, amount in changes.items())
        elif transfer_id in self.reversed:
            assert code == "transfer.already_reversed"
        else:
            assert code == ""
            self.reversed.add(transfer_id)
            self.apply({place: -amount for place, amount in changes.items()})

    @rule(minutes=strategies.integers(min_value=1, max_value=4))
    def wait(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule()
    def sweep(self) -> None:
        self.do(expire_holds(self.database, now=self.now))
        self.open_holds = {key: value for key, value in self.open_holds.items() if value[2] > self.now}
        self.do(sweep_stripes(self.database, now=self.now))

    @invariant()
    def balances_are_as_in_the_model(self) -> None:
        for place, account in enumerate(self.accounts):
            posted, held = self.do(balance(self.database, account))
            assert (posted, posted - held) == (self.posted[place], self.free(place))

    @invariant()
    def invariants_hold(self) -> None:
        assert self.do(violations(self.database)) == []


def test_ledger_behaves_like_its_model(migrated_database_url: str) -> None:
    LedgerMachine.url = migrated_database_url
    run_state_machine_as_test(LedgerMachine, settings=settings(max_examples=8, stateful_step_count=30))
