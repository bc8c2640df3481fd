"""What the demo prints at its end: the masters with their offerings, the accounts, and how to sign in."""

from dataclasses import dataclass

import typer
from sqlalchemy import BigInteger, bindparam, case, func, select

from audifi.core.console import show
from audifi.core.db.statements import Statement
from audifi.demo.accounts import PEOPLE, Person
from audifi.demo.masters import MASTERS, DemoMaster
from audifi.demo.world import DOMAIN, World
from audifi.ipos.queries import CURRENT, IpoRow, shown_status
from audifi.ledger.csv import decimal
from audifi.ledger.models import Account, Asset
from audifi.masters.queries import GET, FullMasterRow

CURRENCY, SCALE = "USD", 2


def _sum(purpose: str) -> object:
    amount = case((Account.purpose == purpose, Account.posted - Account.held), else_=0)
    return func.coalesce(func.sum(amount), 0).cast(BigInteger).label(purpose)


BALANCES = Statement(
    select(*map(_sum, ("available", "pending", "debt", "shares")))  # type: ignore[call-overload] # columns
    .join_from(Account, Asset, Asset.id == Account.asset_id)
    .where(
        Account.owner_kind == "user",
        Account.owner_id == bindparam("user_id"),
        (Asset.code == CURRENCY) | (Asset.kind == "share"),
    )
)


@dataclass(frozen=True, slots=True)
class BalancesRow:
    available: int
    pending: int
    debt: int
    shares: int


async def print_summary(world: World) -> None:
    """Print the present content of the demo, with later changes."""
    typer.echo("")
    columns = ["master", "artist", "status", "offering", "sold", "offered", "price", "id"]
    show(columns, [await _master_cells(world, master) for master in reversed(MASTERS)])
    typer.echo("")
    columns = ["e-mail", "name", f"available {CURRENCY}", "pending", "owes", "shares", "about"]
    show(columns, [await _person_cells(world, person) for person in PEOPLE])
    settings = world.services.settings
    address = f"http://{settings.host}:{settings.port}/api/v1/auth/magic-link/request"
    body = f'{{"email": "{PEOPLE[0].name}@{DOMAIN}", "delivery": "body"}}'
    typer.echo(
        f"\nSign in as one of them, on your page or with\n\n  curl {address} --json '{body}'\n\n"
        f"The server prints the e-mail with the link and the code, and keeps it in {settings.mail_folder}.\n"
    )


async def _master_cells(world: World, master: DemoMaster) -> list[object]:
    database = world.services.database
    master_id = await world.find_master(master.artist, master.title)
    row = await database.fetch_one(GET, FullMasterRow, master_id=master_id)
    ipo = await database.fetch_one(CURRENT, IpoRow, master_id=master_id)
    status = row.status if row else "deleted"
    if ipo is None:
        return [master.title, master.artist, status, None, None, None, None, master_id]
    price = f"{decimal(ipo.unit_price, SCALE)} {ipo.currency}"
    shown = shown_status(ipo, world.today)
    return [master.title, master.artist, status, shown, ipo.sold - ipo.returned, ipo.offered, price, master_id]


async def _person_cells(world: World, person: Person) -> list[object]:
    user_id = await world.find_user(person.name)
    row = await world.services.database.fetch_row(BALANCES, BalancesRow, user_id=user_id)
    money = [decimal(amount, SCALE) for amount in (row.available, row.pending, -row.debt)]
    return [f"{person.name}@{DOMAIN}", person.display_name, *money, row.shares, person.about]
