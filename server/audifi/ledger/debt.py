"""Debts of users: what chargebacks took beyond what they had.

`service.post` pays them first from what a user gets. A user in debt may receive and claim, but neither buy, list nor
withdraw: these operations call `refuse`, or in SQL `PERFORM ledger_refuse_debt_v1(user_id)`.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Text, Uuid, bindparam, func, select
from sqlalchemy.dialects.postgresql import array
from uuid6 import uuid7

from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.ledger import problems
from audifi.ledger.accounts import user_account
from audifi.ledger.models import Instant

REFUSE = Statement(select(func.ledger_refuse_debt_v1(bindparam("user_id", type_=Uuid))))
PAY = Statement(
    select(
        func.ledger_pay_debts_v1(
            bindparam("id", type_=Uuid),
            bindparam("key", type_=Text),
            array([func.ledger_account_id_v1(bindparam("available", type_=Text))]),
            bindparam("now", type_=Instant),
        )
    )
)


async def refuse(transaction: Transaction, *, user_id: UUID) -> None:
    """
    Raises:
        Problem: `account.in_debt`, if the user owes something in any currency.
    """
    with problems.refusals():
        await transaction.execute(REFUSE, user_id=user_id)


async def pay(transaction: Transaction, *, user_id: UUID, asset: str, now: datetime) -> None:
    """Pay a debt from what has become free of the available balance: after a hold was voided."""
    payment_id = uuid7()
    available = user_account(user_id, "available", asset).address
    await transaction.execute(PAY, id=payment_id, key=f"debt_payment:{payment_id}", available=available, now=now)
