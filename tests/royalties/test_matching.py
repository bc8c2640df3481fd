"""Unmatched lines that a person matches later."""

from typing import Any
from uuid import uuid4

import pytest

from audifi.royalties import assigning, matching
from tests.royalties.statements import Label, code, distrokid, new_isrc, new_upc, sale, unique
from tests.support.clients import at_once


def matched(label: Label, statement: dict[str, Any], master_id: str, **body: Any) -> tuple[int, int]:
    answer = label.match(statement, master_id, **body)
    assert answer.status_code == 200, answer.text
    return answer.json()["matched_lines"], answer.json()["remaining_lines"]


def test_lines_are_matched_by_isrc_upc_or_number(label: Label) -> None:
    master_id = label.offer()
    isrc, upc = new_isrc(), new_upc()
    statement = label.upload(
        distrokid(
            sale(isrc, "1.004"),
            sale(isrc, "2"),
            sale("", "4", UPC=upc),
            sale(new_isrc(), "8", UPC=upc),
            sale("n/a", "16"),
            sale("n/a", "32"),
        )
    )

    assert matched(label, statement, master_id, isrc=isrc) == (2, 0)
    assert matched(label, statement, master_id, upc=upc) == (2, 0)
    assert matched(label, statement, master_id, numbers=[6, 99]) == (1, 0)
    assert matched(label, statement, master_id, isrc=isrc) == (0, 0)
    assert label.revenue(master_id) == [300, 1200, 1600]
    assert label.get(statement["id"])["unmatched_lines"] == 1
    assert [line["number"] for line in label.lines(statement, "?status=unmatched")] == [7]
    carried = [(total["carried_in"], total["carried_out"]) for total in label.totals(statement)]
    assert carried == [("0.000000000000", "0.004000000000"), *[("0.004000000000", "0.004000000000")] * 2]


def test_lines_matched_at_once_count_once(label: Label) -> None:
    master_id = label.offer()
    isrc = new_isrc()
    statement = label.upload(distrokid(sale(isrc, "1")))

    answers = at_once([lambda: label.match(statement, master_id, isrc=isrc)] * 3)

    assert sorted(answer.json()["matched_lines"] for answer in answers) == [0, 0, 1]
    assert label.revenue(master_id) == [100]


def test_many_lines_are_matched_in_several_requests(label: Label, monkeypatch: pytest.MonkeyPatch) -> None:
    master_id = label.offer()
    isrc = new_isrc()
    statement = label.upload(distrokid(*[sale(isrc, "1")] * 3))
    monkeypatch.setattr(assigning, "MATCH", assigning.match_at_most(2))

    assert matched(label, statement, master_id, isrc=isrc) == (2, 1)
    assert matched(label, statement, master_id, isrc=isrc) == (1, 0)
    assert label.revenue(master_id) == [200, 100]


def test_match_of_counted_lines_needs_a_confirmation(label: Label) -> None:
    master_id = label.offer()
    isrc = new_isrc()
    first, second = (label.upload(unique(distrokid(sale(isrc, "1")))) for _ in range(2))
    matched(label, first, master_id, isrc=isrc)

    refused = label.match(second, master_id, isrc=isrc)
    assert (code(refused), refused.json()["suspected_lines"]) == ("409 statement.suspected_duplicate", 1)
    assert label.get(second["id"])["unmatched_lines"] == 1
    assert matched(label, second, master_id, isrc=isrc, confirm_duplicates=True) == (1, 0)
    assert label.revenue(master_id) == [100, 100]


def test_admin_matches_for_the_artist_alone(label: Label, other: Label) -> None:
    master_id, theirs = label.offer(), other.offer()
    isrc = new_isrc()
    statement = label.upload(distrokid(sale(isrc, "1"), sale(isrc, "2")))
    admin = other.become_admin()

    assert code(admin.match(statement, theirs, isrc=isrc)) == "422 request.invalid"
    assert matched(admin, statement, master_id, isrc=isrc) == (2, 0)
    statement = admin.upload(unique(distrokid(sale(new_isrc(), "3", UPC=(upc := new_upc())))))
    assert matched(admin, statement, master_id, upc=upc) == (1, 0)
    assert label.revenue(master_id) == [300, 300]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"isrc": "USRC17607839", "upc": "0036000291452"},
        {"numbers": []},
        {"numbers": [0]},
        {"numbers": list(range(1, 1002))},
        {"isrc": "a\0"},
        {"isrc": "x" * 41},
    ],
    ids=lambda body: str(body)[:40],
)
def test_invalid_selection_is_refused(label: Label, body: dict[str, Any]) -> None:
    answer = label.match({"id": str(uuid4())}, str(uuid4()), **body)

    assert code(answer) == "422 request.invalid"


def test_identifiers_are_forgotten_when_there_are_many(label: Label, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "MAX_REMEMBERED", 1)
    first, second, third = label.offer(), label.offer(), label.offer()
    rows = [sale(label.isrcs[each], "0.01") for each in [first, second] * 2500 + [third, first]]

    statement = label.upload(distrokid(*rows))

    assert statement["unmatched_lines"] == 0
    assert [label.revenue(each) for each in (first, second, third)] == [[2501], [2500], [1]]
