"""Statements over HTTP: from the announced file to recorded revenue."""

from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from audifi.royalties import limits
from tests.masters.sending import storage_request
from tests.royalties.statements import Label, code, distrokid, new_isrc, new_upc, sale, unique
from tests.support import databases
from tests.support.app import App
from tests.support.clients import at_once


def counts(statement: dict[str, Any]) -> list[Any]:
    return [statement[name] for name in ("status", "lines", "unmatched_lines", "suspected_lines")]


def test_statement_becomes_revenue(label: Label) -> None:
    first, second = label.offer(), label.offer()
    content = distrokid(
        sale(label.isrcs[first], "10.001"),
        sale(label.isrcs[second], "0.004", **{"Team Percentage": "50", "Country of Sale": "DE"}),
        sale(label.isrcs[first], "2.345", **{"Sale Month": "2025-12", "Quantity": "-1"}),
        sale(new_isrc(), "99"),
    )

    statement = label.upload(content)

    assert counts(statement) == ["imported", 4, 1, 0]
    assert (statement["bytes_read"], statement["failure"]) == (len(content), None)
    assert (label.revenue(first), label.revenue(second)) == ([1234], [])
    totals = {total["master_id"]: total for total in label.totals(statement)}
    assert {name: totals[first][name] for name in ("lines", "amount", "recorded", "carried_out")} == {
        "lines": 2,
        "amount": "12.346000000000",
        "recorded": 1234,
        "carried_out": "0.006000000000",
    }
    assert (totals[first]["period_start"], totals[first]["period_end"]) == ("2025-12-01", "2026-01-31")
    assert (totals[second]["recorded"], totals[second]["event_id"]) == (0, None)
    lines = label.lines(statement)
    assert [(line["number"], line["status"], line["master_id"]) for line in lines] == [
        (2, "matched", first),
        (3, "matched", second),
        (4, "matched", first),
        (5, "unmatched", None),
    ]
    assert (lines[1]["team_percentage"], lines[2]["quantity"], lines[1]["amount"]) == ("50.0000", -1, "0.004000000000")


def test_last_month_of_the_calendar_is_a_month(label: Label) -> None:
    master_id = label.offer()
    statement = label.upload(distrokid(sale("n/a", **{"Sale Month": "9999-12"})))
    assert statement["unmatched_lines"] == 1

    assert label.match(statement, master_id, numbers=[2]).status_code == 200
    [total] = label.totals(statement)
    assert total["period_end"] == "9999-12-31"


def test_fraction_of_a_cent_is_carried_over_two_statements(label: Label) -> None:
    master_id = label.offer()
    isrc = label.isrcs[master_id]

    label.upload(distrokid(sale(isrc, "10.006")))
    second = label.upload(distrokid(sale(isrc, "10.006", **{"Reporting Date": "2026-03-25"})))

    assert label.revenue(master_id) == [1000, 1001]
    [total] = label.totals(second)
    assert (total["carried_in"], total["carried_out"]) == ("0.006000000000", "0.002000000000")


def test_negative_total_reduces_the_next_statement(label: Label) -> None:
    master_id = label.offer()
    isrc = label.isrcs[master_id]

    label.upload(distrokid(sale(isrc, "1"), sale(isrc, "-4.5")))
    assert label.revenue(master_id) == []
    label.upload(distrokid(sale(isrc, "5", **{"Sale Month": "2026-02"})))
    assert label.revenue(master_id) == [150]


def test_providers_and_currencies_have_carries_of_their_own(label: Label) -> None:
    master_id = label.offer()
    isrc = label.isrcs[master_id]
    columns = b"reporting_date,sale_month,store,isrc,amount,currency\n"
    half_cents = columns + b"".join(f"2026-02,2026-01,A,{isrc},0.005,{each}\n".encode() for each in ("USD", "EUR"))

    label.upload(half_cents, preset="canonical", format="csv", provider="one")
    label.upload(half_cents + b"\n", preset="canonical", format="csv", provider="two")
    assert label.revenue(master_id) == []
    label.upload(half_cents.replace(b"2026-02", b"2026-03"), preset="canonical", format="csv", provider="two")
    assert label.revenue(master_id) == [1, 1]


def test_mapped_statement_is_imported(label: Label) -> None:
    upc = new_upc()
    master_id = label.offer(upc)
    columns = {"reporting_date": "Date", "sale_month": "Month", "store": "Shop", "amount": "Net", "upc": "Barcode"}
    content = f"Date,Month,Shop,Net,Barcode\n2026-02-25,2026-01,Deezer,3,{upc[1:]}\n".encode()

    statement = label.upload(
        content, preset="mapped", format="csv", provider="cd_baby", columns=columns, currency="EUR"
    )

    assert (statement["provider"], label.revenue(master_id)) == ("cd_baby", [300])


def test_upc_of_two_masters_matches_none(label: Label, other: Label) -> None:
    shared, single = new_upc(), new_upc()
    label.offer(shared)
    other.offer(shared)
    label.offer(single)
    isrc = new_isrc()

    statement = label.upload(
        distrokid(
            sale("", UPC=shared),
            sale("", UPC=single),
            sale(isrc, UPC=single),
            sale("", UPC=""),
            sale("n/a", UPC=single),
        )
    )

    assert [line["status"] for line in label.lines(statement)] == ["unmatched", "matched", *["unmatched"] * 3]


def test_lines_of_another_artist_match_nothing(label: Label, other: Label) -> None:
    label.offer()
    upc = new_upc()
    theirs = other.offer(upc)

    content = distrokid(sale(other.isrcs[theirs]), sale("", UPC=upc), sale(new_isrc()))
    statement = label.upload(content)

    assert counts(statement) == ["imported", 3, 3, 0]
    assert {(line["status"], line["master_id"]) for line in label.lines(statement)} == {("unmatched", None)}
    assert other.revenue(theirs) == []
    assert code(label.match(statement, theirs, isrc=other.isrcs[theirs])) == "422 request.invalid"
    assert code(label.match(statement, str(uuid4()), isrc=other.isrcs[theirs])) == "422 request.invalid"


def test_admin_imports_for_all_artists(label: Label, other: Label) -> None:
    master_id = label.offer()
    admin = other.become_admin()

    statement = admin.upload(distrokid(sale(label.isrcs[master_id], "2")))

    assert (counts(statement), label.revenue(master_id)) == (["imported", 1, 0, 0], [200])
    assert label.client.as_signed_in("GET", f"/dividends/statements/{statement['id']}").status_code == 404
    of_artist = label.upload(distrokid(sale(new_isrc())))
    assert admin.get(of_artist["id"])["id"] == of_artist["id"]
    assert [each["id"] for each in admin.list_statements()] == [statement["id"]]


def test_statement_is_private(label: Label, other: Label) -> None:
    label.offer()
    path = f"/dividends/statements/{label.upload(distrokid(sale(new_isrc())))['id']}"

    for method, rest, body in (
        ("GET", "", None),
        ("GET", "/lines", None),
        ("GET", "/totals", None),
        ("POST", "/complete", None),
        ("POST", "/confirm", {"decision": "import"}),
        ("POST", "/match", {"master_id": str(uuid4()), "numbers": [2]}),
    ):
        assert code(other.client.as_signed_in(method, path + rest, body)) == "404 not_found", rest


def test_lines_are_listed_by_status_and_page(label: Label) -> None:
    master_id = label.offer()
    statement = label.upload(
        distrokid(*[sale(isrc) for isrc in (label.isrcs[master_id], new_isrc(), label.isrcs[master_id], new_isrc())])
    )

    unmatched = label.get(statement["id"], "/lines?status=unmatched&limit=1")
    rest = label.lines(statement, f"?status=unmatched&cursor={unmatched['next_cursor']}")
    assert [line["number"] for line in [*unmatched["data"], *rest]] == [3, 5]
    assert [line["number"] for line in label.lines(statement, "?status=matched")] == [2, 4]


def test_wrong_line_leaves_nothing(label: Label) -> None:
    master_id = label.offer()
    isrc = label.isrcs[master_id]

    statement = label.upload(distrokid(*[sale(isrc)] * 6000, sale(isrc, "0,0012")))

    assert counts(statement) == ["failed", 0, 0, 0]
    assert statement["failure"] == {
        "code": "statement.amount_invalid",
        "detail": "The amount has a decimal comma. Export the file again with a decimal point: 0.0012, not 0,0012.",
        "line": 6002,
    }
    assert (label.lines(statement), label.totals(statement), label.revenue(master_id)) == ([], [], [])
    assert label.upload(distrokid(*[sale(isrc)] * 2))["status"] == "imported"


def test_file_that_was_not_sent_fails(label: Label) -> None:
    label.offer()
    statement_id = label.begin(unique(distrokid())).json()["id"]

    assert label.complete(statement_id).json()["status"] == "parsing"
    label.wait(statement_id)
    assert label.get(statement_id)["failure"] == {
        "code": "statement.unreadable",
        "detail": "No file was sent to the URL.",
        "line": None,
    }
    assert label.complete(statement_id).json()["status"] == "failed"


def test_storage_refuses_another_file(label: Label) -> None:
    label.offer()
    content = unique(distrokid())
    begun = label.begin(content).json()

    for other_content in (content + b"\n", content[:-2] + b"x\n"):
        sent = storage_request("PUT", begun["url"], content=other_content, headers=begun["headers"])
        assert sent.status_code >= 400


def test_url_is_completed_within_an_hour(app: App, label: Label) -> None:
    label.offer()
    statement_id = label.begin(unique(distrokid())).json()["id"]

    app.clock.advance(minutes=76)
    label.client.refresh()
    assert code(label.complete(statement_id)) == "409 upload.expired"


def test_artist_without_an_offered_master_is_refused(label: Label) -> None:
    assert code(label.begin(distrokid())) == "409 statement.nothing_to_match"


def test_three_statements_at_once_are_allowed(app: App, label: Label) -> None:
    label.offer()

    answers = [label.begin(unique(distrokid())) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [201, 201, 201, 409]
    assert code(answers[3]) == "409 upload.limit_reached"
    app.clock.advance(minutes=16)
    label.client.refresh()
    assert label.begin(unique(distrokid())).status_code == 201


def test_stored_lines_of_an_account_are_bounded(app: App, label: Label, monkeypatch: pytest.MonkeyPatch) -> None:
    label.offer()
    label.upload(unique(distrokid(sale(new_isrc()))))

    monkeypatch.setattr(limits, "MAX_ACCOUNT_LINES", 1_000_001)
    assert label.begin(unique(distrokid())).status_code == 201
    assert code(label.begin(unique(distrokid()))) == "409 statement.limit_reached"
    app.clock.advance(minutes=16)
    label.client.refresh()
    monkeypatch.setattr(limits, "MAX_ACCOUNT_LINES", 1_000_000)
    assert code(label.begin(unique(distrokid()))) == "409 statement.limit_reached"


def test_statements_of_a_day_are_limited(label: Label) -> None:
    for _ in range(limits.STATEMENTS.amount):
        assert code(label.begin(distrokid())) == "409 statement.nothing_to_match"

    assert code(label.begin(distrokid())) == "429 rate_limit.exceeded"


def test_same_file_is_refused(label: Label, other: Label) -> None:
    label.offer()
    other.offer()
    content = unique(distrokid(sale(new_isrc())))
    begun = [label.send(content), label.send(content)]

    answers = at_once([partial(label.complete, each) for each in begun])
    assert sorted(answer.status_code for answer in answers) == [202, 409]
    assert code(label.begin(content)) == "409 statement.duplicate"
    assert other.begin(content).status_code == 201
    assert code(other.become_admin().begin(content)) == "409 statement.duplicate"


@pytest.mark.parametrize(
    "body",
    [
        {"preset": "bandcamp"},
        {"format": "xlsx"},
        {"format": "jsonl"},
        {"size": 0},
        {"size": (100 << 20) + 1},
        {"sha256": "../" + "0" * 61},
        {"provider": "distrokid"},
        {"currency": "USD"},
        {"preset": "canonical"},
        {"preset": "canonical", "provider": "The Orchard"},
        {"preset": "mapped", "provider": "cd_baby", "currency": "USD"},
        {"columns": {"reporting_date": "a", "sale_month": "b", "store": "c", "amount": "d", "isrc": "e"}},
    ],
    ids=str,
)
def test_invalid_upload_is_refused(label: Label, body: dict[str, Any]) -> None:
    assert code(label.begin(b"x", **body)) == "422 request.invalid"


@pytest.mark.parametrize(
    "changes",
    [{"isrc": None}, {"currency": "f"}, {"store": ""}, {"amount": "x" * 101}, {"label": "f"}],
    ids=str,
)
def test_invalid_columns_are_refused(label: Label, changes: dict[str, Any]) -> None:
    columns = {"reporting_date": "a", "sale_month": "b", "store": "c", "amount": "d", "isrc": "e"} | changes
    body = {"preset": "mapped", "provider": "cd_baby", "columns": columns, "currency": "USD"}

    assert code(label.begin(b"x", **body)) == "422 request.invalid"


def test_deleted_account_leaves_no_statements(app: App, label: Label) -> None:
    label.become_admin()
    statement = label.upload(unique(distrokid(sale(new_isrc()))))

    assert label.client.as_signed_in("DELETE", "/auth/me").status_code == 204
    query = "SELECT status FROM royalty_statements WHERE id = $1::text::uuid"
    assert databases.fetch_value(app.database_url, query, statement["id"]) == "discarded"
