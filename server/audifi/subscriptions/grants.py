"""Plans that operators give, as for a sale by hand."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, insert, select, update
from uuid6 import uuid7

from audifi.auth.models import User
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.subscriptions import problems
from audifi.subscriptions.models import PlanGrant
from audifi.subscriptions.plans import PaidPlan

_grants = PlanGrant.__table__
_VALUES = ("id", "plan", "reason", "granted_by", "operator", "starts_at", "ends_at")
COLUMNS = [_grants.c[name] for name in ("id", "user_id", "plan", "reason", "starts_at", "ends_at")]
# A lock on the account: its deletion can't miss the grant.
_account = (
    select(User.id, *(bindparam(name, type_=_grants.c[name].type) for name in _VALUES))
    .where(User.id == bindparam("user_id"), User.deleted_at.is_(None))
    .with_for_update(read=True, key_share=True)
)
INSERT = Statement(insert(_grants).from_select(["user_id", *_VALUES], _account).returning(*COLUMNS))
END = Statement(
    update(_grants)
    .where(_grants.c.id == bindparam("grant_id"), _grants.c.ends_at > bindparam("now"))
    .values(ends_at=bindparam("now"))
    .returning(*COLUMNS)
)


@dataclass(frozen=True, slots=True)
class GrantRow:
    id: UUID
    user_id: UUID
    plan: PaidPlan
    reason: str
    starts_at: datetime
    ends_at: datetime


async def grant(
    tx: Transaction,
    *,
    user_id: UUID,
    plan: PaidPlan,
    reason: str,
    ends_at: datetime,
    granted_by: UUID | None = None,
    operator: str | None = None,
    now: datetime,
) -> GrantRow:
    """Give an account a plan from now on; return the grant.

    Args:
        tx: where.
        user_id: the account.
        plan: what it gets. It has the highest of its grants and its subscription.
        reason: why; only operators see it.
        ends_at: until when.
        granted_by: the administrator.
        operator: or the operator at a console.
        now: the instant.

    Raises:
        Problem: 422.
    """
    if ends_at <= now:
        raise problems.ends_in_past()
    row = await tx.fetch_one(
        INSERT,
        GrantRow,
        id=uuid7(),
        user_id=user_id,
        plan=plan,
        reason=reason[:200],
        granted_by=granted_by,
        operator=operator and operator[:100],
        starts_at=now,
        ends_at=ends_at,
    )
    if row is None:
        raise problems.unknown_user()
    return row


async def end(tx: Transaction, *, grant_id: UUID, now: datetime) -> GrantRow | None:
    """End a grant; None if there is none that is running."""
    return await tx.fetch_one(END, GrantRow, grant_id=grant_id, now=now)
