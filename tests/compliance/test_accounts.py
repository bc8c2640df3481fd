"""Frozen accounts, and the record of changes."""

from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID, uuid4

import asyncpg
import pytest

from audifi.compliance import service
from audifi.compliance.queries import AccountRow
from audifi.compliance.service import By
from audifi.core.db.database import Database, Transaction
from audifi.ledger.accounts import user_account
from tests.compliance.rules import UNKNOWN, get, put, set_account
from tests.compliance.test_rules import ATTEMPTS, ask
from tests.ipos.offerings import Offering, balance, code, fund, user_id
from tests.ledger import ledgers
from tests.support import databases
from tests.support.clients import Client
from tests.support.races import in_order

UNKNOWN_ID = "01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17"
FROZEN = "SELECT count(*) FROM ledger_accounts WHERE owner_id = $1 AND frozen_at IS NOT NULL"


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_frozen_account_does_nothing_until_unfrozen(offering: Offering, admin: Client, attempt: str) -> None:
    offering.open()
    user = offering.buyer()
    set_account(admin, user, is_frozen=True)
    refused = ATTEMPTS[attempt](offering, user)
    set_account(admin, user)

    assert code(refused) == "403 account.frozen"
    assert ATTEMPTS[attempt](offering, user).is_success


def test_frozen_artist_cannot_launch_but_is_paid(offering: Offering, admin: Client) -> None:
    offering.draft()
    set_account(admin, offering.artist, is_frozen=True)

    assert code(offering.launch()) == "403 account.frozen"
    fund(offering.app, offering.artist, 2500)
    assert balance(offering.app, offering.artist) == 2500
    assert [ask(offering.app, action, offering.artist, amount=1) for action in ("list", "claim")] == [
        "account.frozen",
        "allowed",
    ]


def test_ledger_accounts_follow_the_freeze(offering: Offering, admin: Client) -> None:
    """Also the accounts that are opened later."""
    user = offering.buyer()
    of_user, url = UUID(user_id(user)), offering.app.database_url
    frozen = set_account(admin, user, is_frozen=True)
    fund(offering.app, user, 100, currency="EUR")
    of_both = databases.fetch_value(url, FROZEN, of_user)
    again = set_account(admin, user, is_frozen=True, country="DE")
    shown = user.as_signed_in("GET", "/ledger/accounts").json()["data"]
    set_account(admin, user, country="DE")

    assert of_both == 2
    assert again["frozen_at"] == frozen["frozen_at"]
    assert {account["frozen_at"] for account in shown} == {frozen["frozen_at"]}
    assert databases.fetch_value(url, FROZEN, of_user) == 0


@pytest.mark.parametrize("freeze_first", [True, False])
def test_account_opened_during_a_freeze_is_frozen(freeze_first: bool, offering: Offering) -> None:  # noqa: FBT001
    user = UUID(user_id(offering.buyer()))
    now = datetime.now(UTC)
    row = AccountRow(user_id=user, kyc="none", kyc_ref=None, country=None, frozen_at=now, version=0)

    async def freeze(tx: Transaction) -> None:
        await service.set_account(tx, row, by=By(reason="A decision"), now=now)

    async def receive(tx: Transaction) -> None:
        await ledgers.post_in(tx, (user_account(user, "available", "EUR"), 5), (ledgers.external("EUR"), -5))

    async def act(database: Database) -> list[str]:
        return await in_order(database, *((freeze, receive) if freeze_first else (receive, freeze)))

    assert ledgers.run(offering.app.database_url, act) == ["done", "done"]
    assert databases.fetch_value(offering.app.database_url, FROZEN, user) == 2


def test_frozen_account_is_not_deleted(offering: Offering, admin: Client) -> None:
    user = Client(offering.app.http, offering.sendgrid).sign_in()
    set_account(admin, user, is_frozen=True)

    assert code(user.as_signed_in("DELETE", "/auth/me")) == "409 account.not_empty"
    set_account(admin, user)
    assert user.as_signed_in("DELETE", "/auth/me").is_success


def test_only_administrators_see_and_set_accounts(offering: Offering, admin: Client) -> None:
    path = f"accounts/{user_id(offering.artist)}"
    paths = (path, "rules", "withholding", f"changes?subject={UNKNOWN_ID}")

    codes = {code(offering.artist.as_signed_in("GET", f"/compliance/{each}")) for each in paths}
    codes.add(code(put(offering.artist, path, UNKNOWN, 0)))
    codes.add(code(put(offering.artist, "rules/buy", {"kyc_required": True, "countries_blocked": []}, 0)))

    assert codes == {"403 role.insufficient"}
    assert code(admin.as_signed_in("GET", f"/compliance/accounts/{UNKNOWN_ID}")) == "404 not_found"
    assert code(put(admin, f"accounts/{UNKNOWN_ID}", UNKNOWN, 0)) == "404 not_found"


def test_change_needs_the_version_that_was_read(offering: Offering, admin: Client) -> None:
    path = f"accounts/{user_id(offering.artist)}"

    assert code(put(admin, path, UNKNOWN, None)) == "428 precondition.required"
    assert code(put(admin, path, UNKNOWN, 1)) == "412 precondition.failed"
    assert put(admin, path, UNKNOWN, 0).headers["ETag"] == '"1"'
    assert code(put(admin, path, UNKNOWN, 0)) == "412 precondition.failed"
    assert put(admin, path, UNKNOWN, 1).json()["version"] == 2
    assert code(put(admin, "rules/buy", {"kyc_required": True, "countries_blocked": []}, 999)) == (
        "412 precondition.failed"
    )


@pytest.mark.parametrize(
    ("values", "pointer"),
    [
        ({"kyc": "maybe"}, "/kyc"),
        ({"country": "de"}, "/country"),
        ({"country": "DEU"}, "/country"),
        ({"kyc_ref": "a b"}, "/kyc_ref"),
        ({"kyc_ref": "x" * 101}, "/kyc_ref"),
        ({"is_frozen": 1}, "/is_frozen"),
        ({"reason": " "}, "/reason"),
        ({"frozen_at": None}, "/frozen_at"),
    ],
)
def test_invalid_values_are_refused(admin: Client, values: dict[str, object], pointer: str) -> None:
    refused = put(admin, f"accounts/{user_id(admin)}", UNKNOWN | values, 0)

    assert code(refused) == "422 request.invalid"
    assert refused.json()["errors"][0]["pointer"] == pointer


def test_changes_are_recorded_with_old_and_new(offering: Offering, admin: Client) -> None:
    subject = user_id(offering.artist)
    set_account(admin, offering.artist, kyc="pending", reason="Documents have arrived")
    set_account(admin, offering.artist, kyc="verified", kyc_ref="check_1", country="DE", reason="They are valid")

    newest, first = get(admin, f"changes?subject={subject}")["data"]

    assert (newest["kind"], newest["subject"], newest["changed_by"]) == ("account", subject, user_id(admin))
    assert (newest["reason"], first["reason"]) == ("They are valid", "Documents have arrived")
    assert (first["old"], newest["old"]) == (None, first["new"])
    assert newest["new"] == {
        "kyc": "verified",
        "kyc_ref": "check_1",
        "country": "DE",
        "frozen_at": None,
        "version": 2,
    }
    age = offering.now() - datetime.fromisoformat(newest["at"])
    assert abs(age) < timedelta(minutes=10)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE compliance_changes SET subject = ''",
        "DELETE FROM compliance_changes",
        "TRUNCATE compliance_changes",
        "DELETE FROM account_compliance",
        "DELETE FROM compliance_rules",
        "DELETE FROM withholding_rates",
    ],
)
def test_record_is_append_only(migrated_database_url: str, statement: str) -> None:
    with pytest.raises(asyncpg.RestrictViolationError):
        databases.execute(migrated_database_url, statement)


def test_change_by_hand_is_recorded(migrated_database_url: str) -> None:
    user = uuid4()
    change = partial(databases.execute, migrated_database_url)
    change(
        f"INSERT INTO users (id, email, email_key, created_at) VALUES ('{user}', '{user}', '{user}', now())",
        "INSERT INTO account_compliance (user_id, kyc, version, operator, reason, updated_at)"
        f" VALUES ('{user}', 'verified', 1, 'kim', 'By hand', now())",
        "UPDATE account_compliance SET kyc = 'none', version = 2",
    )

    recorded = "SELECT string_agg(concat(old ->> 'kyc', '>', new ->> 'kyc'), ' ' ORDER BY id) FROM compliance_changes"
    assert databases.fetch_value(migrated_database_url, recorded) == ">verified verified>none"
