"""Refunds of deposits: money that goes back to the card it came from.

The amount is held from the request on. The row is committed before Stripe is asked, and what Stripe answers is fetched
and written as any other object of it is.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import BigInteger, Text, bindparam, insert, literal_column, or_, select, update
from uuid6 import uuid7

from audifi.auth.service import lock_user
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement, parameters
from audifi.core.jobs.each import for_each
from audifi.funding.models import Deposit, DepositStatus
from audifi.ledger import debt, service
from audifi.ledger.accounts import provider_account, user_account
from audifi.ledger.service import NewTransfer, Posting
from audifi.payments import problems, stripe_objects
from audifi.payments.checkouts import RESUMED_AFTER
from audifi.payments.client import CLOCKS_DIFFER, RefusedError
from audifi.payments.intents import make_once
from audifi.payments.models import IS_UNENDED, Refund, RefundStatus
from audifi.payments.sessions import PROVIDER
from audifi.payments.stripe_objects import METADATA_ID
from audifi.payments.syncs import SyncKind, request_sync, sync_now

if TYPE_CHECKING:
    from audifi.services import Services

logger = logging.getLogger(__name__)

REFUNDABLE_FOR = timedelta(days=90)
HELD_FOR = timedelta(days=3650)
"""A refund ends when Stripe says so; its hold must not expire before."""
BATCH = 100

_refunds, _deposits = Refund.__table__, Deposit.__table__


@dataclass(frozen=True, slots=True)
class RefundRow:
    id: UUID
    deposit_id: UUID
    user_id: UUID
    amount: int
    status: RefundStatus
    hold_id: UUID
    provider_id: str | None
    transfer_id: UUID | None
    created_at: datetime
    currency: str
    payment_intent: str


@dataclass(frozen=True, slots=True)
class _Deposit:
    id: UUID
    user_id: UUID
    currency: str
    amount: int
    status: DepositStatus
    refunding: int
    created_at: datetime


COLUMNS = [
    *(_refunds.c[name] for name in list(RefundRow.__dataclass_fields__)[:-2]),
    _deposits.c.currency,
    _deposits.c.provider_ref.label("payment_intent"),
]
_rows = select(*COLUMNS).join(_deposits, _deposits.c.id == _refunds.c.deposit_id)
_of_card = [_deposits.c.id == bindparam("deposit_id"), _deposits.c.provider == PROVIDER]
FIND_DEPOSIT = Statement(select(*(_deposits.c[name] for name in _Deposit.__dataclass_fields__)).where(*_of_card))
TAKE = Statement(
    update(_deposits)
    .where(
        *_of_card,
        _deposits.c.refunding + bindparam("taken", type_=BigInteger) <= _deposits.c.amount,
        _deposits.c.status == "succeeded",
    )
    .values(refunding=_deposits.c.refunding + bindparam("taken"))
)
GIVE_BACK = Statement(
    update(_deposits)
    .where(_deposits.c.id == bindparam("deposit_id"))
    .values(refunding=_deposits.c.refunding - bindparam("taken", type_=BigInteger))
)
REQUEST = Statement(
    insert(_refunds)
    .values(parameters("id", "deposit_id", "user_id", "amount", "hold_id", "actor_id", "reason", "created_at"))
    .values(status="requested")
)
FIND = Statement(_rows.where(_refunds.c.id == bindparam("refund_id")))
# Not by provider_id alone: an event can arrive before the request has written it.
LOCK = Statement(
    _rows.where(
        or_(
            _refunds.c.provider_id == bindparam("stripe_id"),
            _refunds.c.id == bindparam("refund_id", type_=_refunds.c.id.type),
        )
    ).with_for_update(of=_refunds)
)
WRITE = Statement(
    update(_refunds)
    .where(_refunds.c.id == bindparam("refund_id"))
    .values(
        status=bindparam("new_status", type_=Text),
        provider_id=bindparam("stripe_id"),
        transfer_id=bindparam("new_transfer_id", type_=_refunds.c.transfer_id.type),
        returned_by_id=bindparam("new_returned_by_id", type_=_refunds.c.returned_by_id.type),
    )
)
UNSENT = Statement(
    _rows.where(
        literal_column(f"deposit_refunds.{IS_UNENDED}"),
        _refunds.c.status == "requested",
        _refunds.c.created_at < bindparam("before"),
    )
    .order_by(_refunds.c.created_at)
    .limit(BATCH)
)


async def request(
    transaction: Transaction,
    *,
    deposit_id: UUID,
    owner_id: UUID | None,
    actor_id: UUID,
    amount: int,
    reason: str | None,
    now: datetime,
) -> UUID:
    """Hold the amount, and ask for its refund; return the refund's id. The caller commits, then calls `send`.

    Args:
        transaction: the caller's.
        deposit_id: a deposit by card.
        owner_id: whose deposit it must be; None for an admin.
        actor_id: the account that requests it.
        amount: at most what isn't refunded yet.
        reason: an admin's.
        now: the instant.

    Raises:
        Problem: `deposit.not_found`, `deposit.not_refundable`, `deposit.disputed`, `deposit.refund_exceeded`,
            `account.in_debt`, `balance.insufficient`, `account.frozen`.
    """
    deposit = await transaction.fetch_one(FIND_DEPOSIT, _Deposit, deposit_id=deposit_id)
    if deposit is None or owner_id not in {None, deposit.user_id}:
        raise problems.deposit_not_found()
    await lock_user(transaction, deposit.user_id)
    if deposit.status in {"pending", "failed"} or now - deposit.created_at > REFUNDABLE_FOR:
        raise problems.deposit_not_refundable()
    if not await transaction.execute(TAKE, deposit_id=deposit_id, taken=amount):
        current = await transaction.fetch_row(FIND_DEPOSIT, _Deposit, deposit_id=deposit_id)
        if current.status != "succeeded":
            raise problems.deposit_disputed()
        raise problems.refund_exceeded(current.amount - current.refunding)
    await debt.refuse(transaction, user_id=deposit.user_id)
    refund_id = uuid7()
    hold = await service.hold(
        transaction,
        account=user_account(deposit.user_id, "available", deposit.currency),
        amount=amount,
        purpose="deposit_refund",
        key=f"deposit_refund:{refund_id}",
        expires_at=now + HELD_FOR,
        now=now,
    )
    await transaction.execute(
        REQUEST,
        id=refund_id,
        deposit_id=deposit_id,
        user_id=deposit.user_id,
        amount=amount,
        hold_id=hold.hold_id,
        actor_id=actor_id,
        reason=reason,
        created_at=now,
    )
    return refund_id


async def send(services: "Services", *, refund_id: UUID) -> RefundRow:
    """Ask Stripe for a refund that it doesn't know yet. Called outside a transaction, any number of times.

    Raises:
        Problem: see `Stripe.call`; the job goes on.
    """
    refund = await services.database.fetch_row(FIND, RefundRow, refund_id=refund_id)
    if refund.status == "requested":
        await _send(services, refund)
    return await services.database.fetch_row(FIND, RefundRow, refund_id=refund_id)


async def resume(services: "Services") -> None:
    """Send the refunds whose request didn't come so far."""
    before = services.clock() - RESUMED_AFTER
    unsent = await services.background_database.fetch_all(UNSENT, RefundRow, before=before)
    await for_each(unsent, lambda refund: _send(services, refund))


async def _send(services: "Services", refund: RefundRow) -> None:
    params: Any = {
        "payment_intent": refund.payment_intent,
        "amount": refund.amount,
        "metadata": {METADATA_ID: str(refund.id)},
    }

    async def make() -> stripe_objects.Refund:
        return stripe_objects.refund(
            await services.stripe.call(
                "refund_create",
                lambda v1: v1.refunds.create_async(params, {"idempotency_key": f"deposit_refund:{refund.id}"}),
            )
        )

    async def look() -> stripe_objects.Refund | None:
        async for page in services.stripe.pages(
            "refund_list",
            lambda v1, parameters: v1.refunds.list_async(parameters | {"payment_intent": refund.payment_intent}),
            since=refund.created_at - CLOCKS_DIFFER,
        ):
            for each in map(stripe_objects.refund, page):
                if each.audifi_id == refund.id:
                    return each
        return None

    try:
        made = await make_once(created_at=refund.created_at, now=services.clock(), make=make, find=look)
    except RefusedError as error:
        logger.warning("refund refused: id=%s code=%s", refund.id, error.code)
        made = None
    if made is None:
        await services.database.run(lambda transaction: _write_refusal(services, transaction, refund.id))
    else:
        await sync_now(services, kind="refund", provider_id=made.id)


async def _write_refusal(services: "Services", transaction: Transaction, refund_id: UUID) -> None:
    refund = await transaction.fetch_one(LOCK, RefundRow, stripe_id=None, refund_id=refund_id)
    if refund is not None and refund.status == "requested":  # an event may have been processed meanwhile
        await _fail(services, transaction, refund, None)


async def _fetch(services: "Services", provider_id: str) -> stripe_objects.Refund | None:
    thing = await services.stripe.find("refund_retrieve", lambda v1: v1.refunds.retrieve_async(provider_id))
    return stripe_objects.refund(thing) if thing is not None else None


async def _write(
    services: "Services", transaction: Transaction, provider_id: str, fetched: stripe_objects.Refund | None
) -> None:
    if fetched is None:
        return
    refund = await transaction.fetch_one(LOCK, RefundRow, stripe_id=provider_id, refund_id=fetched.audifi_id)
    if refund is None:
        # Of an invoice, or made in Stripe's dashboard: `subscriptions` finds out.
        await request_sync(transaction, services, kind="invoice_refund", provider_id=provider_id, now=services.clock())
    elif fetched.status == "succeeded":
        if refund.status in {"requested", "submitted"}:
            moved = await _move(services, transaction, refund, "deposit_refund")
            await _change(transaction, refund, "succeeded", provider_id, transfer_id=moved)
    elif fetched.status in {"failed", "canceled"}:
        if refund.status != "failed":
            await _fail(services, transaction, refund, provider_id)
    elif refund.status == "requested":
        await _change(transaction, refund, "submitted", provider_id)


async def _fail(services: "Services", transaction: Transaction, refund: RefundRow, provider_id: str | None) -> None:
    """Give back what was held; or what the bank has returned, after the refund had succeeded."""
    now, returned_by = services.clock(), None
    await transaction.execute(GIVE_BACK, deposit_id=refund.deposit_id, taken=refund.amount)
    if refund.status == "succeeded":
        returned_by = await _move(services, transaction, refund, "refund_returned")
    else:
        await service.void_hold(transaction, hold_id=refund.hold_id, now=now)
        await debt.pay(transaction, user_id=refund.user_id, asset=refund.currency, now=now)
    await _change(
        transaction, refund, "failed", provider_id, transfer_id=refund.transfer_id, returned_by_id=returned_by
    )


async def _move(services: "Services", transaction: Transaction, refund: RefundRow, kind: str) -> UUID:
    is_return = kind == "refund_returned"
    amount = refund.amount if is_return else -refund.amount
    transfer = NewTransfer(
        kind=kind,
        key=f"{kind}:{refund.id}",
        postings=[
            Posting(user_account(refund.user_id, "available", refund.currency), amount),
            Posting(provider_account(PROVIDER, "external", refund.currency), -amount),
        ],
        reference=refund.payment_intent,
        settles=None if is_return else refund.hold_id,
        allow_frozen=True,
    )
    return (await service.post(transaction, transfer=transfer, now=services.clock())).transfer_id


async def _change(
    transaction: Transaction,
    refund: RefundRow,
    status: RefundStatus,
    provider_id: str | None,
    *,
    transfer_id: UUID | None = None,
    returned_by_id: UUID | None = None,
) -> None:
    await transaction.execute(
        WRITE,
        refund_id=refund.id,
        new_status=status,
        stripe_id=provider_id,
        new_transfer_id=transfer_id,
        new_returned_by_id=returned_by_id,
    )


SYNC = SyncKind(name="refund", events=("refund.*",), fetch=_fetch, write=_write)
