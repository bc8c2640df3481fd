"""What other features ask: which plan an account has, whether it has a feature, and uses of a limit.

A plan is in force while `access_until` of its subscription, or the end of its grant, lies ahead. No job ends it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, Date, Text, Uuid, bindparam, column, text
from sqlalchemy.dialects.postgresql import ARRAY

from audifi.core.db.database import Database, Transaction
from audifi.core.db.statements import Statement
from audifi.core.http.schemas import MAX_AMOUNT
from audifi.subscriptions import problems
from audifi.subscriptions.measures import REFUSALS
from audifi.subscriptions.models import Instant
from audifi.subscriptions.plans import ENTITLEMENTS, MONTHLY, VERSION, Entitlements, LimitKey, PlanFeature, PlanName
from audifi.subscriptions.queries import IN_FORCE, PLAN_OF, RANK, PlanRow

UNLIMITED = MAX_AMOUNT
_PARAMETERS = (
    bindparam("user_id", type_=Uuid),
    bindparam("key", type_=Text),
    bindparam("ref", type_=Uuid),
    bindparam("period", type_=Date),
    bindparam("now", type_=Instant),
)
_OF_ACCOUNT = IN_FORCE.replace(":user_ids", "ARRAY[:user_id]")
# A counter is raised only below the limit: of two uses at once, the second waits for the first and asks again.
USE = Statement(
    text(f"""
        WITH allowed AS MATERIALIZED (
            SELECT bound FROM ({_OF_ACCOUNT} UNION ALL SELECT :user_id, 'FREE', {VERSION}) AS plans
                JOIN unnest(:plans, :versions, :bounds) AS limits(plan, version, bound) USING (plan, version)
            ORDER BY {RANK} DESC, version DESC LIMIT 1
        ), new AS (
            INSERT INTO usage_uses AS u (user_id, key, ref, period, used_at)
                VALUES (:user_id, :key, :ref, :period, :now)
                ON CONFLICT (user_id, key, ref)
                DO UPDATE SET period = excluded.period, used_at = excluded.used_at, released_at = NULL
                WHERE u.released_at IS NOT NULL
                RETURNING 1
        ), counted AS (
            INSERT INTO usage_counters AS c (user_id, key, period, used)
                SELECT :user_id, :key, :period, 1 FROM new, allowed WHERE bound > 0
                ON CONFLICT (user_id, key, period)
                DO UPDATE SET used = c.used + 1 WHERE c.used < (SELECT bound FROM allowed)
                RETURNING 1
        )
        SELECT bound, EXISTS (SELECT FROM new) AND NOT EXISTS (SELECT FROM counted) AS is_refused,
            (SELECT used FROM usage_counters WHERE user_id = :user_id AND key = :key AND period = :period) AS used
        FROM allowed
    """)  # noqa: S608 - of constants
    .bindparams(
        *_PARAMETERS,
        bindparam("plans", type_=ARRAY(Text)),
        bindparam("versions", type_=ARRAY(BigInteger)),
        bindparam("bounds", type_=ARRAY(BigInteger)),
    )
    .columns(column("bound", BigInteger), column("is_refused", Boolean), column("used", BigInteger))
)  # fmt: skip
RELEASE = Statement(
    text("""
        WITH released AS (
            UPDATE usage_uses SET released_at = :now
                WHERE user_id = :user_id AND key = :key AND ref = :ref AND period = :period AND released_at IS NULL
                RETURNING user_id, key, period
        )
        UPDATE usage_counters AS c SET used = used - 1 FROM released AS r
            WHERE c.user_id = r.user_id AND c.key = r.key AND c.period = r.period
    """).bindparams(*_PARAMETERS)
)


@dataclass(frozen=True, slots=True)
class UseRow:
    bound: int
    is_refused: bool
    used: int | None
    """Before this use."""


@dataclass(frozen=True, kw_only=True)
class PlanInForce:
    """The plan of an account at an instant."""

    name: PlanName
    version: int

    @property
    def entitlements(self) -> Entitlements:
        return ENTITLEMENTS[self.name, self.version]


FREE = PlanInForce(name="FREE", version=VERSION)


async def plan_of(reads: Database | Transaction, *, user_ids: Sequence[UUID], now: datetime) -> dict[UUID, PlanInForce]:
    """Return the plan of each account: the highest of its subscription and its grants. One round trip."""
    rows = await reads.fetch_all(PLAN_OF, PlanRow, user_ids=list(user_ids), now=now)
    return dict.fromkeys(user_ids, FREE) | {
        row.user_id: PlanInForce(name=row.plan, version=row.version) for row in rows
    }


async def require(reads: Database | Transaction, *, user_id: UUID, feature: PlanFeature, now: datetime) -> None:
    """Refuse what the account's plan doesn't have.

    Raises:
        Problem: `plan.feature_required`.
    """
    plans = await plan_of(reads, user_ids=[user_id], now=now)
    if feature not in plans[user_id].entitlements.features:
        reads.on_event(REFUSALS, feature)
        raise problems.feature_required(feature)


async def use(tx: Transaction, *, user_id: UUID, key: LimitKey, ref: UUID, now: datetime) -> None:
    """Count a use of a limit, in the transaction that makes what is counted: is it rolled back, nothing was used.

    Several keys are used in alphabetical order.

    Args:
        tx: the caller's; it must not go on after a refusal.
        user_id: the account.
        key: what is limited.
        ref: the id of what is made. The same one again is no second use, unless it was released.
        now: the instant.

    Raises:
        Problem: `plan.limit_reached`.
    """
    row = await tx.fetch_row(
        USE,
        UseRow,
        user_id=user_id,
        key=key,
        ref=ref,
        period=period_of(key, now),
        now=now,
        plans=[plan for plan, _ in ENTITLEMENTS],
        versions=[version for _, version in ENTITLEMENTS],
        bounds=[UNLIMITED if (bound := each.limits[key]) is None else bound for each in ENTITLEMENTS.values()],
    )
    if row.is_refused:
        tx.on_event(REFUSALS, key)
        # Another request's use may have been committed since the statement began.
        used = max(row.bound, row.used or 0)
        raise problems.limit_reached(key=key, limit=row.bound, used=used, resets_at=resets_at(key, now))


async def release(tx: Transaction, *, user_id: UUID, key: LimitKey, ref: UUID, now: datetime) -> None:
    """Take a use back; nothing if there is none. One of a month that is over stays."""
    await tx.execute(RELEASE, user_id=user_id, key=key, ref=ref, period=period_of(key, now), now=now)


def period_of(key: LimitKey, now: datetime) -> date:
    """Return the period that a use counts in; `date.min` is PostgreSQL's `-infinity`."""
    return now.astimezone(UTC).date().replace(day=1) if key in MONTHLY else date.min


def resets_at(key: LimitKey, now: datetime) -> datetime | None:
    """Return when the count begins anew; None for what counts what exists."""
    if key not in MONTHLY:
        return None
    month = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)
