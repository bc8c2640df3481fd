"""`python -m audifi compliance …`: operators' commands. Each change is recorded with the operator's name and reason."""

import re
from dataclasses import asdict, replace
from typing import Annotated

import typer

from audifi.compliance import service
from audifi.compliance.models import Kyc
from audifi.compliance.queries import ACCOUNT, LAST_CHANGES, RULES, AccountRow, ChangeRow, RuleRow
from audifi.compliance.service import By as ChangedBy
from audifi.core.clock import utc_now
from audifi.core.console import By, Reason, fail, run, show
from audifi.core.db.database import Transaction
from audifi.core.http.problems import Problem
from audifi.ledger.cli import find_owner

compliance = typer.Typer(no_args_is_help=True, help="Verified identities, countries, frozen accounts, and the rules.")


def _country(value: str | None) -> str | None:
    if value is not None and not re.fullmatch("[A-Z]{2}", value):
        raise typer.BadParameter("must be two capital letters")
    return value


Owner = Annotated[str, typer.Argument(metavar="EMAIL|ID", help="The account.")]


@compliance.command("show")
def show_account(owner: Owner) -> None:
    """Show what is known of an account, and its last changes."""

    async def work(tx: Transaction) -> tuple[AccountRow, list[ChangeRow]]:
        row = await _read(tx, owner)
        return row, await tx.fetch_all(LAST_CHANGES, ChangeRow, subject=str(row.user_id))

    row, changes = run(work)
    show(["", str(row.user_id)], [[name.replace("_", " "), value] for name, value in asdict(row).items()][1:])
    show(["at", "before", "since then"], [[change.at, change.old, change.new] for change in changes])


@compliance.command("set")
def set_account(
    owner: Owner,
    reason: Reason,
    by: By,
    kyc: Annotated[Kyc | None, typer.Option(help="How far the verification is.")] = None,
    kyc_ref: Annotated[str | None, typer.Option(help="The verification's id at its provider.")] = None,
    country: Annotated[str | None, typer.Option(help="ISO 3166-1 alpha-2: DE.", callback=_country)] = None,
) -> None:
    """Change what is known of an account; what isn't given stays."""
    values = {"kyc": kyc, "kyc_ref": kyc_ref and kyc_ref[:100], "country": country}
    row = _change(owner, by, reason, **{name: value for name, value in values.items() if value is not None})
    typer.echo(f"{row.user_id}: kyc {row.kyc}, country {row.country or 'unknown'}.")


@compliance.command("freeze")
def freeze(owner: Owner, reason: Reason, by: By) -> None:
    """Let nothing leave an account: no purchase, listing, payout or launch. It still receives."""
    typer.echo(f"{_change(owner, by, reason, frozen_at=utc_now()).user_id} is frozen.")


@compliance.command("unfreeze")
def unfreeze(owner: Owner, reason: Reason, by: By) -> None:
    """End the freeze of an account."""
    typer.echo(f"{_change(owner, by, reason, frozen_at=None).user_id} is not frozen.")


@compliance.command("rules")
def list_rules() -> None:
    """List the rules that were set; all other actions are unrestricted. Change them by PUT /api/v1/compliance/rules."""

    async def work(tx: Transaction) -> list[RuleRow]:
        return await tx.fetch_all(RULES, RuleRow)

    show(
        ["action", "kyc required", "countries blocked", "amount per 12 months"],
        [
            [row.action, row.kyc_required, " ".join(row.countries_blocked), row.amount_per_12_months]
            for row in run(work)
        ],
    )


async def _read(tx: Transaction, owner: str) -> AccountRow:
    row = await tx.fetch_one(ACCOUNT, AccountRow, user_id=await find_owner(tx, owner))
    return row or fail(f"There is no account {owner}.")


def _change(owner: str, by: str, reason: str, **values: object) -> AccountRow:
    async def work(tx: Transaction) -> AccountRow:
        row = await _read(tx, owner)
        new = replace(row, **values)  # type: ignore[arg-type] # each value is of its field's type
        try:
            return await service.set_account(tx, new, by=ChangedBy(operator=by, reason=reason), now=utc_now())
        except Problem as problem:
            fail(f"{problem.title}. {problem.detail}")

    return run(work)
