"""Read queries of deposits and payouts."""

from sqlalchemy import bindparam, select

from audifi.core.db.pagination import PagedList
from audifi.funding import deposits, payouts
from audifi.funding.deposits import DepositRow
from audifi.funding.models import Deposit, Payout
from audifi.funding.payouts import PayoutRow

DEPOSITS = PagedList(
    "deposits",
    select(*deposits.COLUMNS).where(Deposit.user_id == bindparam("owner_id")),
    DepositRow,
    key=Deposit.id,
    sorts={},
)
PAYOUTS = PagedList(
    "payouts",
    select(*payouts.COLUMNS).where(Payout.user_id == bindparam("owner_id")),
    PayoutRow,
    key=Payout.id,
    sorts={},
)
