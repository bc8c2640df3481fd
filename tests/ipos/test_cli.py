"""The commands `python -m audifi ipos`."""

import re

from typer.testing import CliRunner

from audifi.cli import app as console
from tests.ipos.offerings import Offering, post


def ipos(offering: Offering, *arguments: str) -> str:
    variables = {"DATABASE_URL": offering.app.database_url, "AUDIFI_OPERATOR": "kim", "FORCE_COLOR": None}
    result = CliRunner().invoke(console, ["ipos", *arguments], env=variables)
    return f"{result.stdout}{result.stderr}".strip()


def test_offerings_are_listed_by_status(offering: Offering) -> None:
    offering.draft()

    assert offering.master_id in ipos(offering, "list", "--status", "draft")
    assert offering.master_id not in ipos(offering, "list", "--status", "live")


def test_operator_pauses_resumes_and_cancels(offering: Offering) -> None:
    offering.open()

    assert ipos(offering, "pause", offering.master_id, "--reason", "A claim") == "The offering is paused."
    assert ipos(offering, "resume", offering.master_id) == "The offering is live."
    assert ipos(offering, "cancel", offering.master_id, "--reason", "A claim") == "The offering is canceling."
    shown = ipos(offering, "show", offering.master_id)
    assert [event for event in ("canceling", "resumed", "paused", "launched") if event in shown] == [
        "canceling",
        "resumed",
        "paused",
        "launched",
    ]
    assert "kim" in shown
    assert "A claim" in shown
    assert "Offering not live" in ipos(offering, "pause", offering.master_id, "--reason", "A claim")


def test_master_without_offering_is_said_so(offering: Offering) -> None:
    assert ipos(offering, "show", offering.master_id) == f"{offering.master_id} has no offering."


def test_lists_show_what_clients_see(offering: Offering) -> None:
    offering.open(reflection_hours=24)
    buyer = offering.buyer()
    purchase = offering.buy(buyer, 30).json()["purchase_id"]
    offering.buy(buyer, 12)
    withdrawn = post(buyer, f"{offering.path}/purchases/{purchase}/withdraw")
    assert withdrawn.status_code == 200

    shown = ipos(offering, "show", offering.master_id)

    assert re.search(rf"{offering.master_id} +Night drive +\w+ +12 +800 ", ipos(offering, "list", "--limit", "1000"))
    assert re.search(r"unit price +2\.50 USD", shown)
    assert re.search(r"in escrow +30\.00 USD", shown)
    assert f"launched  {offering.artist.email}" in shown
