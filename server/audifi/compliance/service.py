"""Checks of the compliance rules, for other features, and changes of the rules.

A feature that spends or sells something checks the rules in the transaction of the effect. They are off by default, and
a check takes no round trip of its own: it is part of a statement that runs anyway, inside `problems.refusals()`.

- In an SQL function, before the first lock of an account of the ledger:
  `PERFORM compliance_check_v1('resale_buy', buyer, ipo.id, total, ipo.currency, at);`
- In a statement of SQLAlchemy, as one more column: `select(func.count(), rule_check("launch"))`, with the parameters
  `user_id`, `ipo_id`, `amount`, `currency` and `now`.
- By itself, in one round trip: `check`.

| action | account | ipo | amount |
| --- | --- | --- | --- |
| launch | the artist | null | all offered shares at their price |
| buy, resale_buy | the buyer | the shares' offering, whose own countries count, too | the price |
| list | the seller | the shares' offering | 0: it has no limit |
| claim | the holder | null | what is paid |
| payout | the user | null | the amount |

A limit counts, in each currency by itself, what was done in the last 12 months, whenever the rule was switched on.
Amounts are read where they are recorded (`compliance_used_v1`), so what is undone counts no more: transfers of kind
`ipo_purchase`, `ipo_withdraw` and `ipo_refund` for buy, `resale` for resale_buy, `dividend_claim` for claim. Actions of
an account that have a limit wait for each other.

`compliance_withholding_bps_v1(account)` returns the rate that applies to a claim.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import BigInteger, ColumnElement, Text, Uuid, bindparam, case, exists, func, literal, or_, select
from sqlalchemy.dialects import postgresql

from audifi.compliance import problems
from audifi.compliance.models import AccountCompliance, Action, ComplianceRule, Instant, WithholdingRate
from audifi.compliance.queries import ACCOUNT_COLUMNS, RULE_COLUMNS, AccountRow, RuleRow
from audifi.core.db.database import Database, Transaction
from audifi.core.db.statements import Statement, parameters
from audifi.core.http import problems as core
from audifi.core.http.conditional import precondition_failed

_accounts, _rules, _rates = AccountCompliance.__table__, ComplianceRule.__table__, WithholdingRate.__table__
_BY = ("updated_by", "operator", "reason", "updated_at")


def rule_check(action: Action) -> ColumnElement[Any]:
    """Return the check of the rules of an action as a column of a statement; its value has no meaning."""
    return _call(literal(action))


def _call(action: ColumnElement[str]) -> ColumnElement[Any]:
    return func.compliance_check_v1(
        action,
        bindparam("user_id", type_=Uuid),
        bindparam("ipo_id", type_=Uuid),
        bindparam("amount", type_=BigInteger),
        bindparam("currency", type_=Text),
        bindparam("now", type_=Instant),
    )


CHECK = Statement(select(_call(bindparam("action", type_=Text))))


def _upsert(table: Any, key: str, columns: tuple[str, ...], **changes: Any) -> Any:
    """Return an insert or update of the version that was read; it returns no row if there is another by now."""
    names = (key, *columns, *_BY)
    is_there = exists().where(table.c[key] == bindparam(key))
    row = select(
        *(bindparam(name, type_=table.c[name].type) for name in names), bindparam("expected_version") + 1
    ).where(or_(bindparam("expected_version", type_=BigInteger) == 0, is_there))
    insert = postgresql.insert(table).from_select([*names, "version"], row)
    new = insert.excluded
    return insert.on_conflict_do_update(
        index_elements=[key],
        set_={name: new[name] for name in (*columns, *_BY, "version")}
        | {name: change(new[name], table.c[name]) for name, change in changes.items()},
        where=table.c.version == new.version - 1,
    )


def _still_frozen(new: ColumnElement[Any], old: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((new.is_not(None), func.coalesce(old, new)))


SET_ACCOUNT = Statement(
    _upsert(_accounts, "user_id", ("kyc", "kyc_ref", "country", "frozen_at"), frozen_at=_still_frozen).returning(
        *ACCOUNT_COLUMNS
    )
)
SET_RULE = Statement(
    _upsert(_rules, "action", ("kyc_required", "countries_blocked", "amount_per_12_months")).returning(*RULE_COLUMNS)
)
_rate = postgresql.insert(_rates).values(parameters("country", "bps", *_BY))
SET_RATE = Statement(
    _rate.on_conflict_do_update(index_elements=["country"], set_={name: _rate.excluded[name] for name in ("bps", *_BY)})
)


@dataclass(frozen=True, kw_only=True)
class By:
    """Who makes a change, and why."""

    user_id: UUID | None = None
    """The administrator."""
    operator: str | None = None
    """The operator at a console."""
    reason: str

    def values(self, now: datetime) -> dict[str, Any]:
        return {
            "updated_by": self.user_id,
            "operator": self.operator and self.operator[:100],
            "reason": self.reason[:200],
            "updated_at": now,
        }


async def check(
    database: Database | Transaction,
    *,
    action: Action,
    user_id: UUID,
    ipo_id: UUID | None = None,
    amount: int = 0,
    currency: str = "",
    now: datetime,
) -> None:
    """Check the rules of an action; see the module for its parameters.

    Raises:
        Problem: `account.frozen`, `kyc.required`, `country.unknown`, `country.blocked`, `limit.exceeded`.
    """
    with problems.refusals():
        await database.fetch_value(
            CHECK, action=action, user_id=user_id, ipo_id=ipo_id, amount=amount, currency=currency, now=now
        )


async def set_account(database: Database | Transaction, account: AccountRow, *, by: By, now: datetime) -> AccountRow:
    """Change what is known of an account, or freeze it; return it.

    Args:
        database: where.
        account: the new values, and the version that they replace. It is frozen if `frozen_at` isn't None; a freeze
            that goes on keeps its time.
        by: who.
        now: the instant.

    Raises:
        Problem: 404, or 412.
    """
    write = database.write_one if isinstance(database, Database) else database.fetch_one
    try:
        row = await write(SET_ACCOUNT, AccountRow, **_values(account), **by.values(now))
    except asyncpg.ForeignKeyViolationError:
        raise core.not_found() from None
    if row is None:
        raise precondition_failed()
    return row


async def set_rule(database: Database, rule: RuleRow, *, by: By, now: datetime) -> RuleRow:
    """Change the rule of an action, from the version in `rule`; return it.

    Raises:
        Problem: 412, or 422 for a limit of `list`.
    """
    if rule.action == "list" and rule.amount_per_12_months is not None:
        raise problems.list_has_no_limit()
    row = await database.write_one(SET_RULE, RuleRow, **_values(rule), **by.values(now))
    if row is None:
        raise precondition_failed()
    return row


def _values(row: AccountRow | RuleRow) -> dict[str, Any]:
    values = asdict(row)
    return values | {"expected_version": values.pop("version")}


async def set_withholding(database: Database, *, country: str, bps: int, by: By, now: datetime) -> None:
    """Set the rate of a country; 0 withholds nothing."""
    await database.execute(SET_RATE, country=country, bps=bps, **by.values(now))
