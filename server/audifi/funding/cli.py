"""`python -m audifi funding …`: operators book receipts, report disputes, settle payouts. Their names are recorded."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy import Boolean, and_, bindparam, select

from audifi.auth.models import User
from audifi.core.clock import utc_now
from audifi.core.console import By, Reason, fail, run, show
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.core.http.problems import Problem
from audifi.core.http.schemas import MAX_AMOUNT
from audifi.funding import deposits, disputes, payouts, suspense
from audifi.funding.deposits import Attribution, DepositRow, Receipt
from audifi.funding.disputes import DisputeReport
from audifi.funding.models import Deposit, DepositStatus, Dispute, DisputeStatus, Payout, PayoutStatus
from audifi.funding.payouts import IS_OPEN, PayoutRow
from audifi.funding.suspense import UNMATCHED, UnmatchedRow
from audifi.ledger.cli import Limit, find_owner
from audifi.ledger.csv import decimal
from audifi.ledger.models import Asset
from audifi.ledger.service import PostedTransfer

funding = typer.Typer(no_args_is_help=True, help="Deposits, disputes and payouts: list, book, report, settle.")

Owner = Annotated[str | None, typer.Option(metavar="EMAIL|ID", help="Only this user's.")]
Reference = Annotated[str, typer.Option(help="The bank's reference; at most 100 characters.")]

DEPOSITS = Statement(
    select(
        Deposit.id,
        Deposit.created_at,
        User.email,
        Deposit.provider,
        Deposit.provider_ref,
        Deposit.currency,
        Asset.scale,
        Deposit.amount,
        Deposit.disputed,
        Deposit.status,
    )
    .join(Asset, Asset.code == Deposit.currency)
    .join(User, User.id == Deposit.user_id)
    .order_by(Deposit.id.desc())
    .limit(bindparam("limit")),
    optional={
        "user_id": Deposit.user_id == bindparam("user_id"),
        "deposit_id": Deposit.id == bindparam("deposit_id"),
    },
)
DISPUTES = Statement(
    select(
        Dispute.updated_at,
        Dispute.deposit_id,
        Dispute.provider_ref,
        Deposit.currency,
        Asset.scale,
        Dispute.amount,
        Dispute.status,
        Dispute.operator,
        Dispute.reason,
    )
    .join(Deposit, Deposit.id == Dispute.deposit_id)
    .join(Asset, Asset.code == Deposit.currency)
    .order_by(Dispute.id.desc())
    .limit(bindparam("limit"))
)
PAYOUTS = Statement(
    select(
        Payout.id,
        Payout.created_at,
        Payout.submitted_at,
        Payout.ended_at,
        User.email,
        Payout.provider,
        Payout.provider_ref,
        Payout.currency,
        Asset.scale,
        Payout.amount,
        Payout.status,
        Payout.operator,
        Payout.reason,
    )
    .join(Asset, Asset.code == Payout.currency)
    .join(User, User.id == Payout.user_id)
    .order_by(Payout.id)
    .limit(bindparam("limit")),
    optional={
        "user_id": Payout.user_id == bindparam("user_id"),
        "only_open": and_(IS_OPEN, bindparam("only_open", type_=Boolean)),
    },
)
SCALE = Statement(select(Asset.scale).where(Asset.code == bindparam("currency"), Asset.kind == "currency"))


@dataclass(frozen=True, slots=True)
class ListedDeposit:
    id: UUID
    created_at: datetime
    email: str
    provider: str
    provider_ref: str
    currency: str
    scale: int
    amount: int
    disputed: int
    status: DepositStatus


@dataclass(frozen=True, slots=True)
class ListedDispute:
    updated_at: datetime
    deposit_id: UUID
    provider_ref: str
    currency: str
    scale: int
    amount: int
    status: DisputeStatus
    operator: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class ListedPayout:
    id: UUID
    created_at: datetime
    submitted_at: datetime | None
    ended_at: datetime | None
    email: str
    provider: str
    provider_ref: str | None
    currency: str
    scale: int
    amount: int
    status: PayoutStatus
    operator: str | None
    reason: str | None


@funding.command("deposits")
def list_deposits(owner: Owner = None, limit: Limit = 20) -> None:
    """List the newest deposits."""

    async def work(tx: Transaction) -> list[ListedDeposit]:
        user_id = await find_owner(tx, owner) if owner else None
        return await tx.fetch_all(DEPOSITS, ListedDeposit, user_id=user_id, deposit_id=None, limit=limit)

    show(
        ["deposit", "recorded at", "user", "provider", "reference", "currency", "amount", "disputed", "status"],
        [
            [
                row.id,
                row.created_at,
                row.email,
                row.provider,
                row.provider_ref,
                row.currency,
                decimal(row.amount, row.scale),
                decimal(row.disputed, row.scale),
                row.status,
            ]
            for row in run(work)
        ],
    )


@funding.command("disputes")
def list_disputes(limit: Limit = 20) -> None:
    """List the newest disputes."""

    async def work(tx: Transaction) -> list[ListedDispute]:
        return await tx.fetch_all(DISPUTES, ListedDispute, limit=limit)

    show(
        ["reported at", "deposit", "reference", "currency", "amount", "status", "by", "reason"],
        [
            [
                row.updated_at,
                row.deposit_id,
                row.provider_ref,
                row.currency,
                decimal(row.amount, row.scale),
                row.status,
                row.operator,
                row.reason,
            ]
            for row in run(work)
        ],
    )


@funding.command("payouts")
def list_payouts(
    *,
    owner: Owner = None,
    include_ended: Annotated[bool, typer.Option("--all", help="Include ended payouts.")] = False,
    limit: Limit = 50,
) -> None:
    """List open payouts, oldest first."""

    async def work(tx: Transaction) -> list[ListedPayout]:
        user_id = await find_owner(tx, owner) if owner else None
        return await tx.fetch_all(
            PAYOUTS, ListedPayout, user_id=user_id, only_open=None if include_ended else True, limit=limit
        )

    show(
        [
            *("payout", "requested at", "submitted at", "ended at", "user", "provider", "reference", "currency"),
            *("amount", "status", "by", "reason"),
        ],
        [
            [
                row.id,
                row.created_at,
                row.submitted_at,
                row.ended_at,
                row.email,
                row.provider,
                row.provider_ref,
                row.currency,
                decimal(row.amount, row.scale),
                row.status,
                row.operator,
                row.reason,
            ]
            for row in run(work)
        ],
    )


@funding.command("deposit")
def book_deposit(
    owner: Annotated[str, typer.Argument(metavar="EMAIL|ID", help="The user whose money came in.")],
    amount: Annotated[str, typer.Argument(help="A decimal number: 25.00.")],
    currency: Annotated[str, typer.Argument(help="ISO 4217: USD.")],
    reference: Reference,
    reason: Reason,
    by: By,
) -> None:
    """Book a receipt of the bank, once per reference."""

    async def work(tx: Transaction) -> DepositRow:
        receipt = Receipt(
            provider="operator",
            reference=reference[:100],
            user_id=await find_owner(tx, owner),
            currency=currency,
            amount=await _base_units(tx, amount, currency),
        )
        return await deposits.book(tx, receipt=receipt, now=utc_now(), by=_attribution(by, reason))

    typer.echo(f"{_try(work).id} is booked.")


@funding.command("unmatched")
def list_unmatched() -> None:
    """List receipts that match nobody, oldest first. `ledger reverse ID` sends one back, once the bank has."""

    async def work(tx: Transaction) -> list[UnmatchedRow]:
        return await tx.fetch_all(UNMATCHED, UnmatchedRow, transfer_id=None)

    show(
        ["transfer", "kept at", "provider", "reference", "currency", "amount", "reason"],
        [
            [
                row.id,
                row.created_at,
                row.provider,
                row.reference,
                row.currency,
                decimal(row.amount, row.scale),
                row.reason,
            ]
            for row in run(work)
        ],
    )


@funding.command("keep")
def keep_receipt(
    amount: Annotated[str, typer.Argument(help="A decimal number: 25.00.")],
    currency: Annotated[str, typer.Argument(help="ISO 4217: USD.")],
    reference: Reference,
    reason: Reason,
    by: By,
) -> None:
    """Keep a receipt of the bank that matches nobody, once per reference, until `assign`."""

    async def work(tx: Transaction) -> PostedTransfer:
        return await suspense.keep(
            tx,
            provider="operator",
            reference=reference[:100],
            currency=currency,
            amount=await _base_units(tx, amount, currency),
            now=utc_now(),
            by=_attribution(by, reason),
        )

    typer.echo(f"{_try(work).transfer_id} is kept.")


@funding.command("assign")
def assign_receipt(
    transfer_id: UUID,
    owner: Annotated[str, typer.Argument(metavar="EMAIL|ID", help="The user whose money came in.")],
    reason: Reason,
    by: By,
) -> None:
    """Book a receipt that matched nobody as a user's deposit."""

    async def work(tx: Transaction) -> DepositRow:
        return await suspense.assign(
            tx,
            transfer_id=transfer_id,
            user_id=await find_owner(tx, owner),
            by=_attribution(by, reason),
            now=utc_now(),
        )

    typer.echo(f"{_try(work).id} is booked.")


@funding.command("dispute")
def report_dispute(
    deposit_id: UUID,
    status: DisputeStatus,
    amount: Annotated[str, typer.Option(help="What the bank took, a decimal number.")],
    reference: Reference,
    reason: Reason,
    by: By,
) -> None:
    """Report a chargeback of a deposit: open or lost takes the money, won gives it back for good."""

    async def work(tx: Transaction) -> DepositRow:
        rows = await tx.fetch_all(DEPOSITS, ListedDeposit, user_id=None, deposit_id=deposit_id, limit=1)
        if not rows:
            fail(f"There is no deposit {deposit_id}.")
        report = DisputeReport(
            provider=rows[0].provider,
            deposit_reference=rows[0].provider_ref,
            reference=reference[:100],
            status=status,
            amount=await _base_units(tx, amount, rows[0].currency),
        )
        return await disputes.dispute_reported(tx, report=report, now=utc_now(), by=_attribution(by, reason))

    typer.echo(f"{deposit_id} is {_try(work).status}.")


@funding.command("submit")
def submit_payout(payout_id: UUID, by: By) -> None:
    """Say that you are sending a payout now. From then on its user can't cancel it. Do it before you send the money."""
    _settle(payouts.submit, payout_id, _attribution(by))


@funding.command("paid")
def pay_payout(payout_id: UUID, reference: Reference, by: By) -> None:
    """Say that the bank has paid a payout."""
    _settle(payouts.payout_paid, payout_id, _attribution(by), reference=reference[:100])


@funding.command("failed")
def fail_payout(payout_id: UUID, reason: Reason, by: By) -> None:
    """Say that a payout wasn't paid, or came back: its user has the money again."""
    _settle(payouts.payout_failed, payout_id, _attribution(by, reason))


def _settle(change: Callable[..., Awaitable[PayoutRow]], payout_id: UUID, by: Attribution, **values: str) -> None:
    async def work(tx: Transaction) -> PayoutRow:
        row = await change(tx, payout_id=payout_id, now=utc_now(), by=by, **values)
        if row.provider != "operator":  # it sends the money, too
            fail(f"{payout_id} is sent by {row.provider}, and not by operators.")
        return row

    typer.echo(f"{payout_id} is {_try(work).status}.")


def _try[Row](work: Callable[[Transaction], Awaitable[Row]]) -> Row:
    async def attempt(tx: Transaction) -> Row:
        try:
            return await work(tx)
        except Problem as problem:
            details = [error.detail for error in problem.errors]
            fail(" ".join([f"{problem.title}.", *filter(None, [problem.detail]), *details]))

    return run(attempt)


def _attribution(by: str, reason: str | None = None) -> Attribution:
    return Attribution(operator=by[:100], reason=reason and reason[:200])


async def _base_units(tx: Transaction, amount: str, currency: str) -> int:
    scale: int | None = await tx.fetch_value(SCALE, currency=currency)
    if scale is None:
        fail(f"{currency} is not a currency of the ledger.")
    try:
        units = Decimal(amount).scaleb(scale)
        if units == units.to_integral_value() and 1 <= units <= MAX_AMOUNT:
            return int(units)
    except InvalidOperation:
        pass
    return fail(f"{amount} is not an amount in {currency}.")
