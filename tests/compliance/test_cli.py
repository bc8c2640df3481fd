"""The commands `python -m audifi compliance`."""

import pytest
from typer.testing import CliRunner

from audifi.cli import app as console
from audifi.compliance import service
from audifi.core.http.conditional import precondition_failed
from tests.compliance.rules import set_rule
from tests.compliance.test_accounts import UNKNOWN_ID
from tests.ipos.offerings import Offering, code, user_id
from tests.support.clients import Client


def compliance(offering: Offering, *arguments: str) -> str:
    variables = {"DATABASE_URL": offering.app.database_url, "AUDIFI_OPERATOR": "kim", "FORCE_COLOR": None}
    result = CliRunner().invoke(console, ["compliance", *arguments], env=variables)
    return f"{result.stdout}{result.stderr}".strip()


def test_operator_verifies_freezes_and_unfreezes(offering: Offering) -> None:
    artist, owner = user_id(offering.artist), offering.artist.email
    values = ("--kyc", "verified", "--kyc-ref", "check_1", "--country", "DE", "--reason", "Documents")
    offering.draft()

    assert compliance(offering, "set", owner, *values) == f"{artist}: kyc verified, country DE."
    assert compliance(offering, "freeze", owner, "--reason", "A claim") == f"{artist} is frozen."
    assert code(offering.launch()) == "403 account.frozen"
    assert compliance(offering, "unfreeze", artist, "--reason", "It was settled") == f"{artist} is not frozen."
    assert offering.launch().status_code == 200
    shown = compliance(offering, "show", owner)
    for part in (artist, "check_1", "kim", "A claim", "It was settled"):
        assert part in shown


def test_wrong_arguments_are_explained(offering: Offering, monkeypatch: pytest.MonkeyPatch) -> None:
    async def is_late(*_: object, **__: object) -> None:
        raise precondition_failed()

    owner = offering.artist.email
    monkeypatch.setattr(service, "set_account", is_late)

    assert compliance(offering, "show", UNKNOWN_ID) == f"There is no account {UNKNOWN_ID}."
    assert "two capital letters" in compliance(offering, "set", owner, "--country", "Germany", "--reason", "A letter")
    assert compliance(offering, "freeze", owner, "--reason", "A claim").startswith("Precondition failed.")
    assert "country unknown" not in compliance(offering, "set", owner, "--kyc", "none", "--reason", "A letter")


def test_rules_are_listed(offering: Offering, admin: Client) -> None:
    set_rule(admin, "buy", kyc_required=True, countries_blocked=["US", "CU"], amount_per_12_months=500_000)

    [line] = [line for line in compliance(offering, "rules").splitlines() if line.startswith("buy ")]
    assert line.split() == ["buy", "True", "CU", "US", "500000"]
