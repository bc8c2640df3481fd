"""Start a deposit: the limits of what an account may put in by card."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, bindparam, func, literal_column, select

from audifi.auth.service import lock_user
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.ledger.models import Asset
from audifi.payments import checkouts, limits, problems
from audifi.payments.checkouts import CheckoutRow, NewCheckout
from audifi.payments.models import IS_LIVE, Checkout
from audifi.payments.schemas import DepositCheckout

_own = [Checkout.user_id == bindparam("owner_id"), Checkout.kind == "deposit"]
USED = Statement(
    select(
        Asset.scale,
        select(func.count()).where(*_own, literal_column(f"checkouts.{IS_LIVE}")).scalar_subquery().label("open_pages"),
        select(func.coalesce(func.sum(Checkout.amount), 0).cast(BigInteger))
        .where(
            *_own,
            Checkout.currency == bindparam("currency"),
            Checkout.created_at >= bindparam("midnight"),
            literal_column("checkouts.status NOT IN ('expired', 'failed')"),
        )
        .scalar_subquery()
        .label("today"),
    ).where(Asset.code == bindparam("currency"))
)


@dataclass(frozen=True, slots=True)
class _Used:
    scale: int
    open_pages: int
    today: int


async def start_deposit(
    transaction: Transaction, *, user_id: UUID, wanted: DepositCheckout, now: datetime
) -> CheckoutRow:
    """Record a checkout for a deposit; `checkouts.open_page` makes its page after the commit.

    Raises:
        Problem: 422 outside the limits of one deposit, `deposit.limit_exceeded`, `checkout.limit_exceeded`.
    """
    await lock_user(transaction, user_id)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    used = await transaction.fetch_row(USED, _Used, owner_id=user_id, currency=wanted.currency, midnight=midnight)
    unit = 10**used.scale
    if not limits.MIN_DEPOSIT * unit <= wanted.amount <= limits.MAX_DEPOSIT * unit:
        raise problems.deposit_out_of_range(limits.MIN_DEPOSIT * unit, limits.MAX_DEPOSIT * unit)
    if used.today + wanted.amount > limits.MAX_DEPOSITS_PER_DAY * unit:
        raise problems.deposit_limit_exceeded(limit=limits.MAX_DEPOSITS_PER_DAY * unit, used=used.today)
    if used.open_pages >= limits.MAX_OPEN_DEPOSITS:
        raise problems.too_many_checkouts(limits.MAX_OPEN_DEPOSITS)
    new = NewCheckout(
        kind="deposit",
        amount=wanted.amount,
        currency=wanted.currency,
        success_path=wanted.success_path,
        cancel_path=wanted.cancel_path,
    )
    return await checkouts.create(transaction, user_id=user_id, wanted=new, now=now)
