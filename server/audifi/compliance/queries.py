"""Read queries of accounts, rules, rates and their changes."""

from dataclasses import dataclass
from datetime import datetime
from typing import get_args
from uuid import UUID

from sqlalchemy import Text, bindparam, func, select

from audifi.auth.models import User
from audifi.compliance.models import AccountCompliance, Action, ChangeKind, ComplianceChange, ComplianceRule, Kyc
from audifi.compliance.models import WithholdingRate as Rate
from audifi.core.db.database import Database
from audifi.core.db.pagination import PagedList
from audifi.core.db.statements import Statement

ACTIONS: tuple[Action, ...] = get_args(Action.__value__)

_accounts, _rules, _changes = AccountCompliance.__table__, ComplianceRule.__table__, ComplianceChange.__table__


@dataclass(frozen=True, slots=True)
class AccountRow:
    """What is known of an account."""

    user_id: UUID
    kyc: Kyc
    kyc_ref: str | None
    country: str | None
    frozen_at: datetime | None
    version: int


@dataclass(frozen=True, slots=True)
class RuleRow:
    """What an action requires."""

    action: Action
    kyc_required: bool
    countries_blocked: list[str]
    amount_per_12_months: int | None
    version: int


@dataclass(frozen=True, slots=True)
class RateRow:
    """A rate of withholding."""

    country: str
    bps: int


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A change; the rows before and after as JSON."""

    id: int
    kind: ChangeKind
    subject: str
    old: str | None
    new: str
    at: datetime


ACCOUNT_COLUMNS = tuple(_accounts.c[name] for name in AccountRow.__slots__)
RULE_COLUMNS = tuple(_rules.c[name] for name in RuleRow.__slots__)
ACCOUNT = Statement(
    select(
        User.id.label("user_id"),
        func.coalesce(_accounts.c.kyc, "none").label("kyc"),
        _accounts.c.kyc_ref.label("kyc_ref"),
        _accounts.c.country.label("country"),
        _accounts.c.frozen_at,
        func.coalesce(_accounts.c.version, 0).label("version"),
    )
    .select_from(User)
    .outerjoin(_accounts, _accounts.c.user_id == User.id)
    .where(User.id == bindparam("user_id"))
)
RULES = Statement(select(*RULE_COLUMNS).limit(len(ACTIONS)))
RATES = Statement(select(Rate.country, Rate.bps).order_by(Rate.country).limit(1000))
CHANGES_OF = select(
    _changes.c.id,
    _changes.c.kind,
    _changes.c.subject,
    _changes.c.old.cast(Text).label("old"),
    _changes.c.new.cast(Text).label("new"),
    _changes.c.at,
).where(_changes.c.subject == bindparam("subject"))
CHANGES = PagedList("compliance-changes", CHANGES_OF, ChangeRow, key=_changes.c.id, sorts={})
LAST_CHANGES = Statement(CHANGES_OF.order_by(_changes.c.id.desc()).limit(20))


async def rules(database: Database) -> list[RuleRow]:
    """Return the rule of each action; one that was never set is off."""
    rows = {row.action: row for row in await database.fetch_all(RULES, RuleRow)}
    return [
        rows.get(action)
        or RuleRow(action=action, kyc_required=False, countries_blocked=[], amount_per_12_months=None, version=0)
        for action in ACTIONS
    ]
