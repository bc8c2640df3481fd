"""Pools: money that belongs to the holders of an asset, each of whom claims what has accrued on the units held.

A pool is distributed to by a transfer to `pool_account`, and pays by one from it, with a row in `ledger_claims`.
"""

from uuid import UUID

from sqlalchemy import BigInteger, Text, Uuid, bindparam, select, text
from sqlalchemy.orm import aliased
from uuid6 import uuid7

from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.ledger.accounts import AccountRef
from audifi.ledger.models import Asset, Pool

SCALE = 10**9
"""Parts of a base unit in which accruals are counted."""

_shares, _currencies = aliased(Asset), aliased(Asset)
FIND = Statement(
    select(Pool.id)
    .join(_shares, _shares.id == Pool.share_asset_id)
    .join(_currencies, _currencies.id == Pool.currency_asset_id)
    .where(_shares.code == bindparam("share"), _currencies.code == bindparam("currency"))
)
OPEN = Statement(
    text("""
        INSERT INTO ledger_pools (id, share_asset_id, currency_asset_id, units)
        SELECT :id, share.id, currency.id, :units FROM ledger_assets AS share, ledger_assets AS currency
        WHERE share.code = :share AND currency.code = :currency
        ON CONFLICT (share_asset_id, currency_asset_id) DO NOTHING
    """).bindparams(
        bindparam("id", type_=Uuid),
        bindparam("units", type_=BigInteger),
        bindparam("share", type_=Text),
        bindparam("currency", type_=Text),
    )
)


def pool_account(pool_id: UUID, currency: str) -> AccountRef:
    """Return the account of a pool. What it gets is distributed at once."""
    return AccountRef("pool", pool_id, "pool", currency)


async def open_pool(tx: Transaction, *, share: str, currency: str, units: int) -> UUID:
    """Return the id of the pool of an asset in a currency, which is opened if it isn't there.

    Args:
        tx: the caller's.
        share: the code of the asset whose holders get the money.
        currency: its code.
        units: how many units there are in the accounts that accrue; they stay as many.
    """
    values = {"share": share, "currency": currency}
    await tx.execute(OPEN, id=uuid7(), units=units, **values)
    pool_id: UUID = await tx.fetch_value(FIND, **values)
    return pool_id
