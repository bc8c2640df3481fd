"""`python -m audifi dividends …`: operators' commands. A cancellation is recorded with the operator's name."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy import bindparam, select

from audifi.core.console import By, Reason, fail, run, show
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.core.http.problems import Problem
from audifi.dividends import distributions
from audifi.dividends.distributions import DistributionRow
from audifi.dividends.models import Distribution, DistributionStatus
from audifi.ipos.models import Ipo
from audifi.ledger.cli import Limit
from audifi.ledger.csv import decimal
from audifi.ledger.models import Asset

dividends = typer.Typer(no_args_is_help=True, help="Distributions: what was and will be shared out.")

LIST = Statement(
    select(
        Distribution.id,
        Ipo.master_id,
        Distribution.status,
        Distribution.currency,
        Asset.scale,
        Distribution.gross,
        Distribution.holders,
        Distribution.record_at,
        Distribution.posted_at,
        Distribution.canceled_by,
        Distribution.cancel_reason,
    )
    .join(Ipo, Ipo.id == Distribution.ipo_id)
    .join(Asset, Asset.code == Distribution.currency)
    .order_by(Distribution.id.desc())
    .limit(bindparam("limit")),
    optional={"status": Distribution.status == bindparam("status")},
)


@dataclass(frozen=True, slots=True)
class ListedRow:
    id: UUID
    master_id: UUID
    status: DistributionStatus
    currency: str
    scale: int
    gross: int
    holders: int
    record_at: datetime
    posted_at: datetime | None
    canceled_by: str | None
    cancel_reason: str | None


@dividends.command("distributions")
def list_distributions(status: Annotated[DistributionStatus | None, typer.Option()] = None, limit: Limit = 20) -> None:
    """List the newest distributions."""

    async def work(tx: Transaction) -> list[ListedRow]:
        return await tx.fetch_all(LIST, ListedRow, status=status, limit=limit)

    show(
        [
            *("distribution", "master", "status", "currency", "revenue", "holders'", "record at", "posted at"),
            *("canceled by", "reason"),
        ],
        [
            [
                row.id,
                row.master_id,
                row.status,
                row.currency,
                decimal(row.gross, row.scale),
                decimal(row.holders, row.scale),
                row.record_at,
                row.posted_at,
                row.canceled_by,
                row.cancel_reason,
            ]
            for row in run(work)
        ],
    )


@dividends.command("cancel")
def cancel(distribution_id: UUID, reason: Reason, by: By) -> None:
    """Cancel a declared distribution. Its revenue stays funded: its artist can void it or declare it again."""

    async def work(tx: Transaction) -> DistributionRow:
        try:
            return await distributions.cancel(
                tx, distribution_id=distribution_id, operator=by[:100], reason=reason[:500]
            )
        except Problem as problem:
            fail(f"{distribution_id}: {problem.title}.")

    typer.echo(f"{distribution_id} is {run(work).status}.")
