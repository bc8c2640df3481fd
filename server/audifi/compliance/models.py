"""Tables of compliance. No row in the first two means that nothing is known of an account, or that a rule is off."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, Identity, Index, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from audifi.core.db.base import Base, one_of

type Kyc = Literal["none", "pending", "verified", "rejected"]
type Action = Literal["launch", "buy", "list", "resale_buy", "claim", "payout"]
type ChangeKind = Literal["account", "rule", "withholding"]

Instant = DateTime(timezone=True)
COUNTRIES = "countries_blocked::text ~ '^[{]([A-Z]{2}(,[A-Z]{2})*)?[}]$' AND cardinality(countries_blocked) <= 250"
"""The condition of a column of countries."""


def lengths() -> tuple[CheckConstraint, CheckConstraint]:
    """Return the constraints of the columns of `Changed`."""
    return (
        CheckConstraint("char_length(operator) <= 100", name="operator_length"),
        CheckConstraint("char_length(reason) BETWEEN 1 AND 200", name="reason_length"),
    )


class Changed:
    """Who changed the row last, and why. A trigger copies each version of the row to `compliance_changes`."""

    updated_by: Mapped[UUID | None] = mapped_column()
    """The administrator; null for an operator at a console."""
    operator: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    updated_at: Mapped[datetime] = mapped_column(Instant)


class AccountCompliance(Changed, Base):
    """What is known of the person behind an account."""

    __tablename__ = "account_compliance"
    __table_args__ = (
        CheckConstraint(one_of("kyc", Kyc), name="kyc"),
        CheckConstraint("char_length(kyc_ref) BETWEEN 1 AND 100", name="kyc_ref_length"),
        CheckConstraint("country ~ '^[A-Z]{2}$'", name="country"),
        *lengths(),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    kyc: Mapped[str] = mapped_column(Text)
    kyc_ref: Mapped[str | None] = mapped_column(Text)
    """Of the verification, at its provider."""
    country: Mapped[str | None] = mapped_column(Text)
    """ISO 3166-1 alpha-2."""
    frozen_at: Mapped[datetime | None] = mapped_column(Instant)
    """Since when nothing leaves the account; triggers copy it to the user's accounts of the ledger."""
    version: Mapped[int] = mapped_column(BigInteger)


class ComplianceRule(Changed, Base):
    """What an action requires of an account."""

    __tablename__ = "compliance_rules"
    __table_args__ = (
        CheckConstraint(one_of("action", Action), name="action"),
        CheckConstraint(COUNTRIES, name="countries_blocked"),
        CheckConstraint(
            "amount_per_12_months IS NULL OR amount_per_12_months BETWEEN 1 AND 9007199254740991 AND action <> 'list'",
            name="amount_per_12_months",
        ),
        *lengths(),
    )

    action: Mapped[str] = mapped_column(Text, primary_key=True)
    kyc_required: Mapped[bool] = mapped_column()
    countries_blocked: Mapped[list[str]] = mapped_column(ARRAY(Text))
    amount_per_12_months: Mapped[int | None] = mapped_column(BigInteger)
    """In base units, of each currency by itself."""
    version: Mapped[int] = mapped_column(BigInteger)


class WithholdingRate(Changed, Base):
    """The part of a claim that is withheld from people in a country. No row: nothing."""

    __tablename__ = "withholding_rates"
    __table_args__ = (
        CheckConstraint("country ~ '^[A-Z]{2}$'", name="country"),
        CheckConstraint("bps BETWEEN 0 AND 10000", name="bps"),
        *lengths(),
    )

    country: Mapped[str] = mapped_column(Text, primary_key=True)
    bps: Mapped[int] = mapped_column(BigInteger)


class ComplianceChange(Base):
    """A change of a row of the tables above, which a trigger records. Append-only."""

    __tablename__ = "compliance_changes"
    __table_args__ = (CheckConstraint(one_of("kind", ChangeKind), name="kind"), Index(None, "subject", "id"))

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    """The account's id, the action or the country."""
    old: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """The row before; null for the first."""
    new: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """The row since then, with who changed it, when and why."""
    at: Mapped[datetime] = mapped_column(Instant)
