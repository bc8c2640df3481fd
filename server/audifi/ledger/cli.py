"""`python -m audifi ledger …`: operators' commands. A reversal is recorded with the operator's name and reason."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy import BigInteger, Text, bindparam, func, select

from audifi.auth import addresses
from audifi.auth.models import User
from audifi.core.clock import utc_now
from audifi.core.console import By, Reason, fail, run, show
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.core.http.problems import Problem
from audifi.ledger import service
from audifi.ledger.csv import decimal
from audifi.ledger.models import Account, Asset, Entry, OwnerKind, Transfer
from audifi.ledger.service import PostedTransfer

ledger = typer.Typer(no_args_is_help=True, help="Balances, transfers, reversals, and the proof that they are right.")

Limit = Annotated[int, typer.Option(min=1, max=10_000)]

_owner = func.coalesce(User.email, Account.owner_id.cast(Text)).label("owner")
_is_owner = (Account.owner_kind == "user") & (User.id == Account.owner_id)
FIND_USER = Statement(select(User.id).where(User.email_key == bindparam("email_key")))
ACCOUNTS = Statement(
    select(
        Account.owner_kind,
        _owner,
        Account.purpose,
        Asset.code.label("asset"),
        Asset.scale,
        func.sum(Account.posted).cast(BigInteger).label("posted"),
        func.sum(Account.held).cast(BigInteger).label("held"),
        func.max(Account.last_posted_at).label("last_posted_at"),
        func.max(Account.frozen_at).label("frozen_at"),
    )
    .join(Asset, Asset.id == Account.asset_id)
    .outerjoin(User, _is_owner)
    .group_by(Account.owner_kind, User.email, Account.owner_id, Account.purpose, Asset.code, Asset.scale)
    .order_by(func.max(Account.last_posted_at).desc().nulls_last())
    .limit(bindparam("limit")),
    optional={
        "owner_id": Account.owner_id == bindparam("owner_id"),
        "owner_kind": Account.owner_kind == bindparam("owner_kind"),
    },
)
_newest = select(Transfer.id).order_by(Transfer.id.desc()).limit(bindparam("limit")).cte("newest")
_lines = (
    select(
        Transfer.id,
        Transfer.created_at,
        Transfer.kind,
        Account.owner_kind,
        _owner,
        Account.purpose,
        Asset.code.label("asset"),
        Asset.scale,
        Entry.amount,
        Entry.balance_after,
        Transfer.reference,
        func.coalesce(Transfer.operator, Transfer.actor_id.cast(Transfer.kind.type)).label("actor"),
        Transfer.reason,
    )
    .join_from(Transfer, Entry, Entry.transfer_id == Transfer.id)
    .join(Account, Account.id == Entry.account_id)
    .join(Asset, Asset.id == Entry.asset_id)
    .outerjoin(User, _is_owner)
    .order_by(Transfer.id.desc(), Entry.amount)
)
NEWEST = Statement(_lines.where(Transfer.id.in_(select(_newest.c.id))))
ONE = Statement(_lines.where(Transfer.id == bindparam("transfer_id")))


@dataclass(frozen=True, slots=True)
class BalanceRow:
    owner_kind: OwnerKind
    owner: str | None
    purpose: str
    asset: str
    scale: int
    posted: int
    held: int
    last_posted_at: datetime | None
    frozen_at: datetime | None


@dataclass(frozen=True, slots=True)
class LineRow:
    id: UUID
    created_at: datetime
    kind: str
    owner_kind: OwnerKind
    owner: str | None
    purpose: str
    asset: str
    scale: int
    amount: int
    balance_after: int
    reference: str
    actor: str | None
    reason: str | None


@ledger.command("accounts")
def list_accounts(
    owner: Annotated[str | None, typer.Option(metavar="EMAIL|ID", help="A user, an IPO, a pool …")] = None,
    kind: Annotated[OwnerKind | None, typer.Option(help="The owners' kind.")] = None,
    limit: Limit = 50,
) -> None:
    """List balances, the last changed ones first. Stripes of an account are added up."""

    async def work(tx: Transaction) -> list[BalanceRow]:
        owner_id = await find_owner(tx, owner) if owner else None
        return await tx.fetch_all(ACCOUNTS, BalanceRow, owner_id=owner_id, owner_kind=kind, limit=limit)

    show(
        ["kind", "owner", "purpose", "asset", "balance", "held", "available", "last entry at", "frozen at"],
        [
            [
                row.owner_kind,
                row.owner,
                row.purpose,
                row.asset,
                decimal(row.posted, row.scale),
                decimal(row.held, row.scale),
                decimal(row.posted - row.held, row.scale),
                row.last_posted_at,
                row.frozen_at,
            ]
            for row in run(work)
        ],
    )


@ledger.command("transfers")
def list_transfers(
    transfer_id: Annotated[UUID | None, typer.Argument(metavar="[ID]", help="Only this one.")] = None,
    limit: Limit = 20,
) -> None:
    """List the newest transfers with their entries, and who asked for them."""

    async def work(tx: Transaction) -> list[LineRow]:
        if transfer_id is not None:
            return await tx.fetch_all(ONE, LineRow, transfer_id=transfer_id)
        return await tx.fetch_all(NEWEST, LineRow, limit=limit)

    show(
        ["transfer", "at", "kind", "of", "owner", "purpose", "asset", "amount", "balance", "reference", "by", "reason"],
        [
            [
                row.id,
                row.created_at,
                row.kind,
                row.owner_kind,
                row.owner,
                row.purpose,
                row.asset,
                decimal(row.amount, row.scale),
                decimal(row.balance_after, row.scale),
                row.reference,
                row.actor,
                row.reason,
            ]
            for row in run(work)
        ],
    )


@ledger.command("reverse")
def reverse_transfer(transfer_id: UUID, reason: Reason, by: By) -> None:
    """Post the entries of a transfer with the opposite sign."""

    async def work(tx: Transaction) -> PostedTransfer:
        try:
            return await service.reverse(
                tx, transfer_id=transfer_id, reason=reason[:200], operator=by[:100], now=utc_now()
            )
        except Problem as problem:
            missing = f" Missing: {problem.extensions['missing']} base units." if problem.extensions else ""
            fail(f"{problem.title}. {problem.detail}{missing}")

    typer.echo(f"{transfer_id} is reversed by {run(work).transfer_id}.")


async def find_owner(tx: Transaction, owner: str) -> UUID:
    try:
        return UUID(owner)
    except ValueError:
        pass
    try:
        email_key = addresses.parse(owner).key
    except addresses.InvalidAddressError:
        fail(f"{owner} is neither an e-mail address nor an id.")
    user_id: UUID | None = await tx.fetch_value(FIND_USER, email_key=email_key)
    if user_id is None:
        fail(f"There is no account {owner}.")
    return user_id
