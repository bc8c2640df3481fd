"""`python -m audifi funding …`."""

import re
from typing import Any
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner, Result

from audifi.cli import app as console
from audifi.core.db.database import Database
from tests.funding.fundings import balances, funded, new_user, requesting, run
from tests.support import databases


def funding(url: str, *arguments: str) -> Result:
    variables = {"DATABASE_URL": url, "AUDIFI_OPERATOR": "kim", "FORCE_COLOR": None}
    return CliRunner().invoke(console, ["funding", *arguments], env=variables)


def output_of(url: str, *arguments: str) -> str:
    result = funding(url, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def user_id(funding_url: str) -> UUID:
    return run(funding_url, new_user)


def has(url: str, user_id: UUID) -> tuple[int, int, int]:
    async def act(database: Database) -> Any:
        return await balances(database, user_id)

    values: tuple[int, int, int] = run(url, act)
    return values


def book(url: str, user_id: object, amount: str = "25.00", currency: str = "USD", reference: str = "") -> Result:
    options = ["--reference", reference or str(uuid4()), "--reason", "statement of 3 May"]
    return funding(url, "deposit", str(user_id), amount, currency, *options)


def test_operator_books_a_receipt_once(funding_url: str, user_id: UUID) -> None:
    reference = str(uuid4())
    first, second = (book(funding_url, f"{user_id}@example.com", reference=reference) for _ in range(2))

    assert first.exit_code == 0, first.output
    assert re.fullmatch(r"[0-9a-f-]{36} is booked\.\n", first.stdout)
    assert second.stdout == first.stdout
    listed = output_of(funding_url, "deposits", "--owner", str(user_id))
    assert re.search(rf"{user_id}@example.com +operator +{reference} +USD +25\.00 +0\.00 +succeeded", listed)
    assert has(funding_url, user_id) == (2500, 0, 0)


@pytest.mark.parametrize(
    ("amount", "currency", "sentence"),
    [
        ("0.001", "USD", "0.001 is not an amount in USD."),
        ("0", "USD", "0 is not an amount in USD."),
        ("1.5", "JPY", "1.5 is not an amount in JPY."),
        ("NaN", "USD", "NaN is not an amount in USD."),
        ("ten", "USD", "ten is not an amount in USD."),
        ("1", "XXX", "XXX is not a currency of the ledger."),
    ],
)
def test_amount_that_is_none_is_named(
    funding_url: str, user_id: UUID, amount: str, currency: str, sentence: str
) -> None:
    refused = book(funding_url, user_id, amount, currency)

    assert (refused.exit_code, refused.stderr.strip()) == (1, sentence)


def test_unknown_account_and_deposit_are_named(funding_url: str) -> None:
    assert "There is no such account" in book(funding_url, uuid4()).stderr
    unknown = uuid4()
    options = ["--amount", "1", "--reference", "x", "--reason", "y"]
    assert f"There is no deposit {unknown}." in funding(funding_url, "dispute", str(unknown), "open", *options).stderr


def test_operator_reports_a_dispute_and_its_end(funding_url: str, user_id: UUID) -> None:
    deposit_id = book(funding_url, user_id).stdout.split()[0]
    options = ["--amount", "10", "--reference", str(uuid4()), "--reason", "letter of the bank"]

    opened = output_of(funding_url, "dispute", deposit_id, "open", *options)
    assert opened == f"{deposit_id} is disputed.\n"
    assert has(funding_url, user_id) == (1500, 0, 0)
    listed = output_of(funding_url, "disputes", "--limit", "1")
    assert re.search(rf"{deposit_id} +{options[3]} +USD +10\.00 +open +kim +letter of the bank", listed)
    assert output_of(funding_url, "dispute", deposit_id, "won", *options) == f"{deposit_id} is succeeded.\n"
    assert has(funding_url, user_id) == (2500, 0, 0)
    refused = funding(funding_url, "dispute", deposit_id, "open", "--amount", "26", *options[2:3], "new", *options[4:])
    assert "Dispute amount exceeded." in refused.stderr


def test_receipt_that_matches_nobody_is_kept_and_assigned_once(funding_url: str, user_id: UUID) -> None:
    reference = str(uuid4())
    options = ["--reference", reference, "--reason", "no name on it"]
    first, second = (output_of(funding_url, "keep", "25.00", "USD", *options) for _ in range(2))
    assert first == second
    transfer_id = first.split()[0]
    listed = output_of(funding_url, "unmatched")
    assert re.search(rf"{transfer_id} .* operator +{reference} +USD +25\.00 +no name on it", listed)
    assert "Transfer key reused" in funding(funding_url, "keep", "26.00", "USD", *options).stderr

    assigned = output_of(funding_url, "assign", transfer_id, str(user_id), "--reason", "called us")
    assert re.fullmatch(r"[0-9a-f-]{36} is booked\.\n", assigned)
    assert has(funding_url, user_id) == (2500, 0, 0)
    assert transfer_id not in output_of(funding_url, "unmatched")
    deposits = output_of(funding_url, "deposits", "--owner", str(user_id))
    assert re.search(rf"operator +{reference} +USD +25\.00 +0\.00 +succeeded", deposits)
    again = funding(funding_url, "assign", transfer_id, str(user_id), "--reason", "called us")
    assert (again.exit_code, has(funding_url, user_id)) == (1, (2500, 0, 0))


def test_receipt_in_use_is_not_assigned_to_another(funding_url: str, user_id: UUID) -> None:
    """The same reference was booked meanwhile: nothing is moved."""
    reference = str(uuid4())
    kept = output_of(funding_url, "keep", "25.00", "USD", "--reference", reference, "--reason", "no name").split()[0]
    other = run(funding_url, new_user)
    assert book(funding_url, other, reference=reference).exit_code == 0

    refused = funding(funding_url, "assign", kept, str(user_id), "--reason", "called us")

    assert "reference" in refused.stderr
    assert kept in output_of(funding_url, "unmatched")
    assert (has(funding_url, user_id), has(funding_url, other)) == ((0, 0, 0), (2500, 0, 0))


def test_operator_settles_payouts(funding_url: str) -> None:
    async def act(database: Database) -> Any:
        user_id, _ = await funded(database, 5000)
        return user_id, *[(await database.run(requesting(user_id, amount))).id for amount in (1000, 2000)]

    user_id, first, second = run(funding_url, act)
    owner = ("--owner", str(user_id))
    assert len(output_of(funding_url, "payouts", *owner).splitlines()) == 3
    early = funding(funding_url, "paid", str(first), "--reference", "SEPA 1")
    assert (early.exit_code, early.stderr.strip()) == (1, "Payout status conflict. The payout is requested.")

    assert output_of(funding_url, "submit", str(first)) == f"{first} is submitted.\n"
    assert output_of(funding_url, "paid", str(first), "--reference", "SEPA 1") == f"{first} is paid.\n"
    assert output_of(funding_url, "failed", str(second), "--reason", "no account") == f"{second} is failed.\n"
    assert has(funding_url, user_id) == (4000, 0, 0)
    assert output_of(funding_url, "payouts", *owner) == "None.\n"
    listed = output_of(funding_url, "payouts", *owner, "--all")
    assert re.search(rf"{first} .* SEPA 1 +USD +10\.00 +paid +kim", listed)
    assert re.search(rf"{second} .* USD +20\.00 +failed +kim +no account", listed)
    assert output_of(funding_url, "payouts", "--limit", "1").count("\n") <= 2


def test_operators_do_not_settle_payouts_of_a_provider(funding_url: str) -> None:
    async def act(database: Database) -> Any:
        user_id, _ = await funded(database, 5000)
        payout = await database.run(requesting(user_id, 1000))
        await database.fetch_sql("UPDATE payouts SET provider = 'stripe' WHERE id = $1", payout.id)
        return payout.id

    payout_id = run(funding_url, act)
    for command in (("submit",), ("failed", "--reason", "a mistake")):
        refused = funding(funding_url, *command, str(payout_id))
        assert refused.exit_code == 1
        assert refused.stderr.strip() == f"{payout_id} is sent by stripe, and not by operators."
    query = "SELECT status FROM payouts WHERE id = $1"
    assert databases.fetch_value(funding_url, query, payout_id) == "requested"


def test_check_proves_deposits_and_payouts(funding_url: str) -> None:
    assert output_of(funding_url, "check") == "4 of 4 invariants hold.\n"
