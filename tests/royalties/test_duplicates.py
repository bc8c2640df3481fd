"""Lines that two statements have: they count once, unless a person says that they are no duplicates."""

import pytest

from tests.royalties.statements import Label, code, distrokid, new_isrc, sale, unique
from tests.support import databases
from tests.support.app import App
from tests.support.clients import at_once


def test_overlapping_report_waits_for_a_decision(label: Label) -> None:
    master_id = label.offer()
    isrc = label.isrcs[master_id]
    label.upload(distrokid(sale(isrc, "1"), sale(isrc, "2", **{"Country of Sale": "DE"})))

    again = label.upload(
        distrokid(sale(isrc, "1"), sale(isrc, "1.0", Title="Renamed"), sale(isrc, "7", Store="Deezer"))
    )

    assert (again["status"], again["suspected_lines"], again["imported_at"]) == ("suspected_duplicate", 2, None)
    assert (label.revenue(master_id), label.totals(again)) == ([300], [])
    assert code(label.match(again, master_id, numbers=[2])) == "409 statement.not_imported"


def test_confirmed_statement_is_recorded_once(label: Label) -> None:
    master_id = label.offer()
    isrc = label.isrcs[master_id]
    label.upload(distrokid(sale(isrc, "1.004")))
    again = label.upload(distrokid(sale(isrc, "1.006", Title="Renamed")))

    answers = at_once([lambda: label.confirm(again, "import")] * 2)

    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert label.get(again["id"])["status"] == "imported"
    assert label.revenue(master_id) == [100, 101]
    refused = label.confirm(again, "discard")
    assert (code(refused), refused.json()["statement_status"]) == ("409 statement.not_suspected", "imported")


def test_discarded_statement_counts_for_nothing(label: Label) -> None:
    master_id = label.offer()
    isrc = label.isrcs[master_id]
    label.upload(distrokid(sale(isrc, "1")))
    content = distrokid(sale(isrc, "1"), sale(isrc, "3", Store="Deezer"))
    again = label.upload(content)

    assert label.confirm(again, "discard").json()["status"] == "discarded"
    assert label.revenue(master_id) == [100]
    # Its lines are no reason to suspect another statement, and the file can be uploaded again.
    assert label.upload(distrokid(sale(isrc, "3", Store="Deezer")))["status"] == "imported"
    assert label.upload(content)["suspected_lines"] == 2


def test_lines_of_others_and_unmatched_ones_are_not_suspected(label: Label, other: Label) -> None:
    label.offer()
    other.offer()
    isrc = new_isrc()
    label.upload(distrokid(sale(isrc)))

    assert label.upload(unique(distrokid(sale(isrc))))["status"] == "imported"
    assert other.upload(unique(distrokid(sale(isrc))))["status"] == "imported"


def test_equal_lines_in_one_file_all_count(label: Label) -> None:
    master_id = label.offer()

    label.upload(distrokid(*[sale(label.isrcs[master_id], "1")] * 3))

    assert label.revenue(master_id) == [300]


def test_admins_report_of_the_same_sales_is_suspected(label: Label, other: Label) -> None:
    master_id = label.offer()
    content = distrokid(sale(label.isrcs[master_id], "1"))
    label.upload(content)

    statement = other.become_admin().upload(unique(content))

    assert statement["status"] == "suspected_duplicate"
    assert code(label.client.as_signed_in("POST", f"/dividends/statements/{statement['id']}/confirm", {})) in {
        "404 not_found",
        "422 request.invalid",
    }
    assert other.confirm(statement, "import").status_code == 200
    assert label.revenue(master_id) == [100, 100]


@pytest.mark.parametrize("files", [2, 3])
def test_overlapping_statements_at_once_are_recorded_once(app: App, label: Label, files: int) -> None:
    master_id = label.offer()
    isrc = label.isrcs[master_id]
    label.upload(distrokid(sale(isrc, "1")))
    ids = [label.send(unique(distrokid(sale(isrc, "5", Store="Deezer")))) for _ in range(files)]

    carry = f"SELECT FROM royalty_carries WHERE master_id = '{master_id}' FOR UPDATE"
    with databases.holding(app.database_url, carry):
        for statement_id in ids:
            label.complete(statement_id)
    for statement_id in ids:
        label.wait(statement_id)

    statuses = sorted(label.get(statement_id)["status"] for statement_id in ids)
    assert statuses == ["imported", *["suspected_duplicate"] * (files - 1)]
    assert label.revenue(master_id) == [100, 500]
