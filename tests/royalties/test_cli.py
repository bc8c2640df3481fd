"""The commands `python -m audifi royalties`."""

from typer.testing import CliRunner

from audifi.cli import app as console
from tests.royalties.statements import Label, distrokid, new_isrc, sale, unique
from tests.support.app import EVERY_ROW, App


def royalties(app: App, *arguments: str) -> str:
    variables = {"DATABASE_URL": app.database_url, "AUDIFI_OPERATOR": "kim", "FORCE_COLOR": None, "COLUMNS": "400"}
    result = CliRunner().invoke(console, ["royalties", *arguments], env=variables)
    return f"{result.stdout}{result.stderr}".strip()


def test_operator_lists_statements(app: App, label: Label) -> None:
    master_id = label.offer()
    imported = label.upload(distrokid(sale(label.isrcs[master_id]), sale(new_isrc())))["id"]
    failed = label.upload(unique(distrokid(sale(new_isrc(), "0,5"))))["id"]

    [line] = [line for line in royalties(app, "statements", *EVERY_ROW).splitlines() if imported in line]
    assert line.split()[2:8] == ["distrokid", "imported", "2", "1", "100", "%"]
    shown = royalties(app, "statements", *EVERY_ROW, "--status", "failed")
    assert failed in shown
    assert "statement.amount_invalid" in shown
    assert imported not in shown
