"""`python -m audifi ledger …`."""

import re
from typing import Any
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner, Result

from audifi.cli import app as console
from audifi.core.db.database import Database
from tests.ledger.ledgers import available, deposit, external, hold, move, run
from tests.support import databases

ADDRESS = "ana@example.com"


def ledger(url: str, *arguments: str) -> Result:
    variables = {"DATABASE_URL": url, "AUDIFI_OPERATOR": "kim", "FORCE_COLOR": None}
    return CliRunner().invoke(console, ["ledger", *arguments], env=variables)


def output_of(url: str, *arguments: str) -> str:
    result = ledger(url, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def user_id(ledger_url: str) -> UUID:
    """An account with an address, and 60.00, of which 10.00 are held."""
    user_id = uuid4()
    databases.execute(
        ledger_url,
        "UPDATE users SET email = id || '@example.com', email_key = id || '@example.com'",
        f"INSERT INTO users (id, email, email_key, created_at) VALUES ('{user_id}', '{ADDRESS}', '{ADDRESS}', now())",
    )

    async def act(database: Database) -> None:
        await deposit(database, available(user_id), 6000, reference="INV-7")
        await hold(database, available(user_id), 1000)

    run(ledger_url, act)
    return user_id


def test_accounts_are_listed_by_owner(ledger_url: str, user_id: UUID) -> None:
    for owner in (ADDRESS.upper(), str(user_id)):
        listed = output_of(ledger_url, "accounts", "--owner", owner)
        assert re.search(rf"user +{ADDRESS} +available +USD +60\.00 +10\.00 +50\.00", listed)
    assert ADDRESS not in output_of(ledger_url, "accounts", "--kind", "provider", "--limit", "10000")
    assert output_of(ledger_url, "accounts", "--owner", str(uuid4())) == "None.\n"


@pytest.mark.parametrize(
    ("owner", "sentence"),
    [("nobody@example.com", "There is no account nobody@"), ("nobody", "nobody is neither an e-mail address")],
)
def test_unknown_owner_is_named(ledger_url: str, owner: str, sentence: str) -> None:
    result = ledger(ledger_url, "accounts", "--owner", owner)

    assert result.exit_code == 1
    assert sentence in result.stderr


@pytest.mark.usefixtures("user_id")
def test_transfers_are_listed_with_their_entries(ledger_url: str) -> None:
    listed = output_of(ledger_url, "transfers", "--limit", "100")

    assert re.search(rf"adjustment +user +{ADDRESS} +available +USD +60\.00 +60\.00 +INV-7", listed)
    assert re.search(r"adjustment +provider .* external +USD +-60\.00", listed)


def test_reversal_records_who_and_why(ledger_url: str, user_id: UUID) -> None:
    async def act(database: Database) -> UUID:
        return (await deposit(database, available(user_id), 500)).transfer_id

    transfer_id = run(ledger_url, act)
    done = output_of(ledger_url, "reverse", str(transfer_id), "--reason", "booked twice")

    reversal = re.fullmatch(rf"{transfer_id} is reversed by ([0-9a-f-]+)\.\n", done)
    assert reversal, done
    listed = output_of(ledger_url, "transfers", reversal[1])
    assert re.search(r"reversal +user .* -5\.00 +60\.00 +kim +booked twice", listed)
    again = ledger(ledger_url, "reverse", str(transfer_id), "--reason", "again")
    assert (again.exit_code, "Transfer already reversed." in again.stderr) == (1, True)


def test_refused_reversal_says_what_is_missing(ledger_url: str, user_id: UUID) -> None:
    async def act(database: Database) -> Any:
        deposited = await deposit(database, available(user_id), 500)
        await move(database, available(user_id), external(), 5200)
        return deposited.transfer_id

    refused = ledger(ledger_url, "reverse", str(run(ledger_url, act)), "--reason", "booked twice")

    assert refused.exit_code == 1
    assert "Insufficient balance." in refused.stderr
    assert "Missing: 200 base units." in refused.stderr


def test_check_proves_the_ledger(ledger_url: str) -> None:
    assert output_of(ledger_url, "check") == "6 of 6 invariants hold.\n"
