"""Payouts through Stripe: a transfer to the connected account, then that account's payout to its bank.

A payout is paid when the bank's is. A refusal of the bank frees the hold only after the transfer was reversed.
https://docs.stripe.com/connect/separate-charges-and-transfers
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Text, bindparam, func, literal_column, select

from audifi.core.clock import Clock
from audifi.core.db.database import Database, Transaction
from audifi.core.db.statements import Statement
from audifi.funding import problems
from audifi.funding.models import Deposit
from audifi.funding.payouts import PayoutRow
from audifi.funding.providers import Answer
from audifi.ledger.accounts import user_account
from audifi.ledger.models import Account
from audifi.payments import connect, stripe_objects
from audifi.payments.client import CLOCKS_DIFFER, RefusedError, Stripe
from audifi.payments.connect import PayoutAccountRow
from audifi.payments.sessions import PROVIDER
from audifi.payments.stripe_objects import METADATA_ID, Reader

logger = logging.getLogger(__name__)

ASKED_OFTEN_FOR = timedelta(minutes=10)
"""After that, a pending payout is fetched once an hour: its events report the outcome earlier."""
SLOTS = 120
"""Of 30 seconds, in an hour."""
DAY = timedelta(days=1)
QUIET = timedelta(hours=1)
"""At the end of a key's day, in which nothing is made."""
TOO_LOW = "balance_insufficient"
"""The code of a refusal that will pass: the balance is too low, or not yet available."""

_deposits = Deposit.__table__
LOCK_BALANCE = Statement(
    select((Account.posted - Account.held).cast(BigInteger).label("free"))
    .where(Account.id == func.ledger_account_id_v1(bindparam("address", type_=Text)))
    .with_for_update(key_share=True)
)
RECENT_DEPOSITS = Statement(
    select(
        func.coalesce(func.sum(_deposits.c.amount - _deposits.c.refunding - _deposits.c.disputed), 0).cast(BigInteger)
    ).where(
        _deposits.c.user_id == bindparam("owner_id"),
        _deposits.c.provider == PROVIDER,
        _deposits.c.currency == bindparam("currency"),
        _deposits.c.created_at > bindparam("since"),
        literal_column("status NOT IN ('pending', 'failed')"),
    )
)


@dataclass(frozen=True, slots=True)
class _Transfer:
    id: str
    destination: str
    is_reversed: bool


class StripePayouts:
    """The `PayoutProvider` of `funding`."""

    name = PROVIDER

    def __init__(self, stripe: Stripe, database: Database, clock: Clock, *, recent_days: int) -> None:
        """
        Args:
            stripe: the process's client.
            database: where connected accounts are read; the background's.
            clock: the process's.
            recent_days: how long money that came by card can't be paid out.
        """
        self._stripe = stripe
        self._database = database
        self._clock = clock
        self._recent = timedelta(days=recent_days)

    async def check(
        self, transaction: Transaction, *, user_id: UUID, currency: str, amount: int, now: datetime
    ) -> None:
        """Refuse a payout to nobody, or of money that came by card a short while ago: it goes back to the card instead.

        Raises:
            Problem: 403 `payout.account_incomplete`, 409 `payout.recent_deposits`.
        """
        account = await transaction.fetch_one(connect.FIND, PayoutAccountRow, owner_id=user_id)
        if account is None or not account.payouts_enabled:
            raise problems.payout_account_incomplete(account.requirements_due if account else ["account"])
        # Locked: a purchase at the same time must not spend what was counted as the account's own.
        address = user_account(user_id, "available", currency).address
        free = await transaction.fetch_value(LOCK_BALANCE, address=address) or 0
        recent = await transaction.fetch_value(
            RECENT_DEPOSITS, owner_id=user_id, currency=currency, since=now - self._recent
        )
        if amount <= free and amount > free - recent:
            raise problems.recent_deposits(min(recent, free))

    async def send(self, payout: PayoutRow) -> Answer:
        return await self._settle(payout)

    async def find(self, payout: PayoutRow) -> Answer | None:
        """Return the outcome, if it is time to fetch it."""
        return await self._settle(payout) if self._is_due(payout) else None

    async def settle(self, payout: PayoutRow) -> Answer:
        """Return the outcome now, because of an event. The bank may return a payout that was paid."""
        return await self._settle(payout)

    def _is_due(self, payout: PayoutRow) -> bool:
        now = self._clock()
        slot = int(now.timestamp()) // 30 % SLOTS
        return now - (payout.submitted_at or now) < ASKED_OFTEN_FOR or payout.id.int % SLOTS == slot

    async def _settle(self, payout: PayoutRow) -> Answer:
        """Go on with it, wherever it stands at Stripe. Each call repeats what an earlier one has done."""
        transfer = await self._find_transfer(payout)
        if transfer is None:
            if self._is_quiet(payout):
                return Answer(status="submitted")
            try:
                transfer = await self._transfer(payout)
            except RefusedError as error:
                is_waiting = error.code == TOO_LOW  # for hours, maybe; the payout's age raises the alert
                level = logging.INFO if is_waiting else logging.ERROR
                logger.log(level, "payout refused by the provider: id=%s code=%s", payout.id, error.code)
                return Answer(status="submitted" if is_waiting else "failed")
        if transfer.is_reversed:
            return Answer(status="failed", reference=transfer.id)
        bank = await self._find_bank_payout(payout, transfer)
        if bank is None and payout.status != "paid" and not self._is_quiet(payout):
            bank = await self._pay_out(payout, transfer)
        if bank == "paid":
            return Answer(status="paid", reference=transfer.id)
        if bank in {"failed", "canceled"}:
            await self._reverse(payout, transfer)
            return Answer(status="failed", reference=transfer.id)
        return Answer(status="submitted", reference=transfer.id)

    async def _find_transfer(self, payout: PayoutRow) -> _Transfer | None:
        group = str(payout.id)
        listed = await self._stripe.call(
            "transfer_list", lambda v1: v1.transfers.list_async({"transfer_group": group, "limit": 1})
        )
        return next(map(_transfer, listed.data), None)

    async def _transfer(self, payout: PayoutRow) -> _Transfer:
        """
        Raises:
            RefusedError: as while the platform's balance is too low.
        """
        account = await self._database.fetch_row(connect.FIND, PayoutAccountRow, owner_id=payout.user_id)
        params: Any = {
            "amount": payout.amount,
            "currency": payout.currency.lower(),
            "destination": account.provider_id,
            "transfer_group": str(payout.id),
            "metadata": {METADATA_ID: str(payout.id)},
        }
        options: Any = {"idempotency_key": self._key(payout, "transfer")}
        return _transfer(
            await self._stripe.call("transfer_create", lambda v1: v1.transfers.create_async(params, options))
        )

    def _key(self, payout: PayoutRow, step: str) -> str:
        """Return the idempotency key of a step: another one each day, since Stripe repeats a refusal for a day.

        What was made with the key before is found before anything is made: nothing was made in that key's last hour, so
        even where an answer was lost, Stripe's lists have had an hour to show it.
        """
        return f"payout:{payout.id}:{step}:{(self._clock() - payout.created_at) // DAY}"

    def _is_quiet(self, payout: PayoutRow) -> bool:
        return (self._clock() - payout.created_at) % DAY >= DAY - QUIET

    async def _find_bank_payout(self, payout: PayoutRow, transfer: _Transfer) -> str | None:
        """Return the status of the account's payout to its bank; None if there is none yet."""
        options: Any = {"stripe_account": transfer.destination}
        async for page in self._stripe.pages(
            "payout_list",
            lambda v1, parameters: v1.payouts.list_async(parameters, options),
            since=payout.created_at - CLOCKS_DIFFER,
        ):
            for each in map(stripe_objects.bank_payout, page):
                if each.audifi_id == payout.id:
                    return each.status
        return None

    async def _pay_out(self, payout: PayoutRow, transfer: _Transfer) -> str:
        """Pay out to the bank; `failed` where Stripe refuses to, as for an account that must give more."""
        params: Any = {
            "amount": payout.amount,
            "currency": payout.currency.lower(),
            "metadata": {METADATA_ID: str(payout.id)},
        }
        options: Any = {"stripe_account": transfer.destination, "idempotency_key": self._key(payout, "bank")}
        try:
            made = await self._stripe.call("payout_create", lambda v1: v1.payouts.create_async(params, options))
        except RefusedError as error:
            logger.warning("payout refused: id=%s code=%s", payout.id, error.code)
            return "pending" if error.code == TOO_LOW else "failed"
        return stripe_objects.bank_payout(made).status

    async def _reverse(self, payout: PayoutRow, transfer: _Transfer) -> None:
        options: Any = {"idempotency_key": f"payout:{payout.id}:reversal"}
        await self._stripe.call(
            "transfer_reverse", lambda v1: v1.transfers.reversals.create_async(transfer.id, {}, options)
        )


def _transfer(thing: Any) -> _Transfer:
    read = Reader(thing)
    destination = read.reference("destination")
    return _Transfer(id=read.text("id"), destination=str(destination), is_reversed=bool(read.get("reversed")))
