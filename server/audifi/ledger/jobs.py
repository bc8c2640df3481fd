"""What the ledger does at certain times: free expired holds, and sweep stripes."""

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import any_, bindparam, func, literal_column, select, update
from uuid6 import uuid7

from audifi.core.db.database import Database
from audifi.core.db.statements import Statement
from audifi.core.jobs.queue import Schedule
from audifi.ledger import service
from audifi.ledger.accounts import STRIPED, AccountRef, Purpose
from audifi.ledger.measures import OPEN_HOLDS
from audifi.ledger.models import Account, Asset, Hold, OwnerKind
from audifi.ledger.service import NewTransfer, Posting

if TYPE_CHECKING:
    from audifi.services import Services

EVERY_30_SECONDS = "* * * * * */30"
EACH_NIGHT = "10 3 * * *"
BATCH_HOLDS = 500

_holds = Hold.__table__
_is_open = _holds.c.status == literal_column("'open'")  # the condition of ix_ledger_holds_expires_at
_due = (
    select(_holds.c.id)
    .where(_is_open, _holds.c.expires_at <= bindparam("now", type_=_holds.c.expires_at.type))
    .order_by(_holds.c.expires_at)
    .limit(BATCH_HOLDS)
    .with_for_update(skip_locked=True)
)
EXPIRE = Statement(
    update(_holds).where(_holds.c.id == any_(func.array(_due.scalar_subquery()))).values(status="expired")
)
COUNT_OPEN = Statement(
    select(func.count())
    .select_from(_holds)
    .where(_is_open, _holds.c.expires_at > bindparam("now", type_=_holds.c.expires_at.type))
)
FILLED_STRIPES = Statement(
    select(
        Account.owner_kind,
        Account.owner_id,
        Account.purpose,
        Asset.code.label("asset"),
        Account.stripe,
        Account.posted,
    )
    .join(Asset, Asset.id == Account.asset_id)
    .where(
        Account.owner_kind.in_([bindparam(None, kind) for kind in sorted({kind for kind, _ in STRIPED})]),
        Account.stripe > 0,
        Account.posted != 0,
    )
)


@dataclass(frozen=True, slots=True)
class StripeRow:
    owner_kind: OwnerKind
    owner_id: UUID | None
    purpose: Purpose
    asset: str
    stripe: int
    posted: int


async def expire_holds(database: Database, *, now: datetime) -> int:
    """Free what expired holds reserve; return how many holds are open."""
    while await database.execute(EXPIRE, now=now) == BATCH_HOLDS:
        pass
    return int(await database.fetch_value(COUNT_OPEN, now=now))


async def sweep_stripes(database: Database, *, now: datetime) -> None:
    """Move the balance of each stripe to the account's first one.

    What is posted to a stripe meanwhile stays there until the next sweep. Two sweeps at once may leave a stripe below
    zero until then; the sum is right at all times.
    """
    stripes: defaultdict[AccountRef, list[StripeRow]] = defaultdict(list)
    for row in await database.fetch_all(FILLED_STRIPES, StripeRow):
        stripes[AccountRef(row.owner_kind, row.owner_id, row.purpose, row.asset, 0)].append(row)
    for first, rows in stripes.items():
        postings = [Posting(first, sum(row.posted for row in rows))]
        postings += [Posting(replace(first, stripe=row.stripe), -row.posted) for row in rows]
        transfer = NewTransfer(kind="stripe_sweep", key=f"stripe_sweep:{uuid7()}", postings=postings)
        await database.run(partial(service.post, transfer=transfer, now=now))


def schedules(services: "Services") -> list[Schedule]:
    """Return the ledger's schedules."""
    database, clock = services.background_database, services.clock

    async def expire() -> None:
        services.metrics.set(OPEN_HOLDS, await expire_holds(database, now=clock()))

    async def sweep() -> None:
        await sweep_stripes(database, now=clock())

    return [
        Schedule(name="ledger_hold_expiry", cron=EVERY_30_SECONDS, run=expire),
        Schedule(name="ledger_stripe_sweep", cron=EACH_NIGHT, run=sweep),
    ]
