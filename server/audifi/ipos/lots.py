"""Shares as ranges of serials: lots say where they are, movements where they have been."""

from typing import Any

from sqlalchemy import Text, Uuid, bindparam, delete, func, insert, literal, select, update

from audifi.core.db.statements import Statement, parameters
from audifi.ipos.models import ShareLot, ShareMovement

_lots, _movements = ShareLot.__table__, ShareMovement.__table__


def _account(parameter: str) -> Any:
    return func.ledger_account_id_v1(bindparam(parameter, type_=Text))


INSERT_LOT = Statement(
    insert(_lots).values(
        parameters("id", "ipo_id", "serials", "transferable_at")
        | {"account_id": _account("address"), "custody": "ledger", "acquired_at": bindparam("now")}
    )
)
DELETE_LOTS = Statement(delete(_lots).where(_lots.c.ipo_id == bindparam("ipo_id")))
MOVE_LOTS = Statement(
    update(_lots)
    .where(
        _lots.c.ipo_id == bindparam("of_ipo"), _lots.c.serials.op("<@")(bindparam("range", type_=_lots.c.serials.type))
    )
    .values(account_id=_account("to_address"), acquired_at=bindparam("now"))
)
MOVE_ALL_LOTS = Statement(
    update(_lots)
    .where(_lots.c.ipo_id == bindparam("ipo_id"), _lots.c.account_id == _account("from_address"))
    .values(
        account_id=_account("to_address"), acquired_at=bindparam("now"), transferable_at=bindparam("transferable_at")
    )
)
INSERT_MOVEMENT = Statement(
    insert(_movements).values(
        parameters("id", "ipo_id", "transfer_id", "serials", "reason", "price")
        | {"from_id": _account("from_address"), "to_id": _account("to_address"), "at": bindparam("now")}
    )
)
MINT_RETURNED = Statement(
    insert(_movements).from_select(
        ["id", "ipo_id", "transfer_id", "serials", "from_id", "to_id", "reason", "price", "at"],
        select(
            func.gen_random_uuid(),
            _lots.c.ipo_id,
            bindparam("transfer_id", type_=Uuid),
            _lots.c.serials,
            _lots.c.account_id,
            _account("to_address"),
            literal("mint"),
            literal(0),
            bindparam("now", type_=_movements.c.at.type),
        ).where(_lots.c.ipo_id == bindparam("ipo_id"), _lots.c.account_id == _account("from_address")),
    )
)
"""The shares that buyers gave back go to the artist; before `MOVE_ALL_LOTS`."""
