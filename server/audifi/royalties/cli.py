"""`python -m audifi royalties …`: operators' commands."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy import bindparam, select

from audifi.core.console import run, show
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.ledger.cli import Limit
from audifi.royalties.models import RoyaltyStatement, StatementStatus

royalties = typer.Typer(no_args_is_help=True, help="Royalty statements: uploads, and the status of their import.")

LIST = Statement(
    select(
        RoyaltyStatement.id,
        RoyaltyStatement.user_id,
        RoyaltyStatement.provider,
        RoyaltyStatement.status,
        RoyaltyStatement.lines,
        RoyaltyStatement.unmatched_lines,
        RoyaltyStatement.bytes_read,
        RoyaltyStatement.size,
        RoyaltyStatement.created_at,
        RoyaltyStatement.failure,
        RoyaltyStatement.failure_line,
    )
    .order_by(RoyaltyStatement.id.desc())
    .limit(bindparam("limit")),
    optional={"status": RoyaltyStatement.status == bindparam("status")},
)


@dataclass(frozen=True, slots=True)
class ListedRow:
    id: UUID
    user_id: UUID
    provider: str
    status: StatementStatus
    lines: int
    unmatched_lines: int
    bytes_read: int
    size: int
    created_at: datetime
    failure: str | None
    failure_line: int | None


@royalties.command("statements")
def list_statements(status: Annotated[StatementStatus | None, typer.Option()] = None, limit: Limit = 20) -> None:
    """List the newest statements."""

    async def work(tx: Transaction) -> list[ListedRow]:
        return await tx.fetch_all(LIST, ListedRow, status=status, limit=limit)

    show(
        ["statement", "account", "provider", "status", "lines", "unmatched", "read", "begun", "failure", "line"],
        [
            [
                row.id,
                row.user_id,
                row.provider,
                row.status,
                row.lines,
                row.unmatched_lines,
                f"{row.bytes_read * 100 // row.size} %",
                row.created_at,
                row.failure,
                row.failure_line,
            ]
            for row in run(work)
        ],
    )
