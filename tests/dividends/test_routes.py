"""`/api/v1/dividends` over HTTP, with an offering that is sold out."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from audifi.dividends import distributions
from tests.ipos.offerings import Offering, balance, code, fund, make_admin, post, user_id
from tests.support import databases
from tests.support.clients import Client, at_once


@dataclass
class SoldOut:
    """A sold-out offering of 10 shares with two holders, and its revenue."""

    offering: Offering
    ana: Client
    ben: Client

    @property
    def artist(self) -> Client:
        return self.offering.artist

    @property
    def master_id(self) -> str:
        return self.offering.master_id

    def revenue(self, amount: int = 1000, **changes: Any) -> dict[str, Any]:
        return {
            "master_id": self.master_id,
            "source": "streaming",
            "amount": amount,
            "currency": "USD",
            "period_start": "2026-03-01",
            "period_end": "2026-03-31",
            "provider": "DistroKid",
            "external_ref": str(uuid4()),
        } | changes

    def record(self, amount: int = 1000, **changes: Any) -> str:
        answer = post(self.artist, "/dividends/revenue", self.revenue(amount, **changes))
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def process(self, event_id: str, client: Client | None = None, **body: Any) -> httpx2.Response:
        return post(client or self.artist, f"/dividends/revenue/{event_id}/process", body)

    def distribute(self, amount: int = 1000) -> dict[str, Any]:
        """Let the artist pay revenue, and share it out when the notice has passed."""
        fund(self.offering.app, self.artist, amount)
        declared = self.process(self.record(amount))
        assert declared.status_code == 201, declared.text
        self.offering.pass_time(self.ana, self.ben, hours=24)
        self.post_due()
        body: dict[str, Any] = declared.json()
        return body

    def post_due(self) -> None:
        async def run() -> None:
            async with databases.connect_pools(self.offering.app.database_url) as database:
                await distributions.post_due(database, now=self.offering.now())

        asyncio.run(run())

    def get(self, path: str, client: Client | None = None) -> Any:
        answer = (client or self.ana).as_signed_in("GET", f"/dividends/{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def claim(self, client: Client, **body: Any) -> httpx2.Response:
        return post(client, "/dividends/claim", body)


@pytest.fixture
def sold(offering: Offering) -> SoldOut:
    offering.open(total_shares=10, retained_shares=0, max_per_account=9)
    ana, ben = offering.buyer(money=2500), offering.buyer(money=2500)
    for buyer, quantity in ((ana, 7), (ben, 3)):
        assert offering.buy(buyer, quantity).status_code == 201
    return SoldOut(offering, ana, ben)


def test_revenue_goes_from_its_record_to_claims(sold: SoldOut) -> None:
    declared = sold.distribute(1001)

    assert (declared["gross"], declared["platform"], declared["artist"], declared["holders"]) == (1001, 100, 401, 500)
    [claimable] = sold.get("claimable")["data"]
    assert (claimable["shares"], claimable["amount"], claimable["withheld"]) == (7, 350, 0)
    before = balance(sold.offering.app, sold.ana)
    paid = sold.claim(sold.ana)
    assert paid.status_code == 201, paid.text
    [claim] = paid.json()["data"]
    assert (claim["master_id"], claim["currency"], claim["amount"]) == (sold.master_id, "USD", 350)
    assert balance(sold.offering.app, sold.ana) - before == 350
    assert code(sold.claim(sold.ana)) == "409 dividend.nothing_to_claim"
    assert sold.get("claimable")["data"] == []
    [entry] = sold.get("history")["data"]
    assert (entry["transfer_id"], entry["title"], entry["amount"]) == (claim["transfer_id"], "Night drive", 350)
    assert sold.get("summary")["data"] == [
        {"currency": "USD", "claimable": 0, "claimed": 350, "withheld": 0, "claims": 1}
    ]
    assert sold.get("summary", sold.ben)["data"] == [
        {"currency": "USD", "claimable": 150, "claimed": 0, "withheld": 0, "claims": 0}
    ]


def test_claims_at_once_with_one_key_pay_once(sold: SoldOut) -> None:
    sold.distribute()
    before = balance(sold.offering.app, sold.ana)

    answers = at_once([partial(post, sold.ana, "/dividends/claim", {}, key="one")] * 6)

    assert {answer.status_code for answer in answers} <= {201, 409}
    assert balance(sold.offering.app, sold.ana) - before == 350


def test_contract_shows_the_pool_and_the_next_record_time(sold: SoldOut) -> None:
    assert sold.get(f"contract/{sold.master_id}")["pools"] == []
    sold.distribute()
    sold.claim(sold.ana)
    fund(sold.offering.app, sold.artist, 500)
    declared = sold.process(sold.record(500)).json()

    shown = sold.get(f"contract/{sold.master_id}")

    assert shown["next_record_at"] == declared["record_at"]
    assert sold.get("claimable", sold.ben)["data"][0]["next_record_at"] == declared["record_at"]
    [pool] = shown["pools"]
    assert (pool["distributed"], pool["claimed"], pool["unclaimed"]) == (500, 350, 150)
    assert pool["per_share"] == "50.000000000"
    assert [each["status"] for each in shown["distributions"]] == ["declared", "posted"]
    assert (shown["total_shares"], shown["holders_bps"], shown["platform_bps"]) == (10, 5000, 1000)


def test_declaration_keeps_the_notice(sold: SoldOut) -> None:
    fund(sold.offering.app, sold.artist, 1000)
    event_id = sold.record()
    soon = (sold.offering.now() + timedelta(hours=23)).isoformat()

    assert code(sold.process(event_id, record_at=soon)) == "422 request.invalid"
    declared = sold.process(event_id).json()

    times = [datetime.fromisoformat(declared[name]) for name in ("declared_at", "record_at")]
    assert times[1] - times[0] == timedelta(hours=24)
    assert code(sold.process(event_id)) == "409 revenue.declared"


def test_revenue_is_listed_and_summed_up_for_its_artist(sold: SoldOut) -> None:
    sold.distribute()
    waiting, voided = sold.record(70), sold.record(30)
    assert post(sold.artist, f"/dividends/revenue/{voided}/void").json()["status"] == "voided"

    path = f"revenue/{sold.master_id}"
    assert [event["amount"] for event in sold.get(path, sold.artist)["data"]] == [30, 70, 1000]
    assert [event["id"] for event in sold.get(f"{path}?status=recorded", sold.artist)["data"]] == [waiting]
    expected = {
        "currency": "USD",
        "recorded": 70,
        "funded": 0,
        "distributed": 1000,
        "platform": 100,
        "artist": 400,
        "holders": 500,
    }
    assert sold.get(f"{path}/summary", sold.artist)["data"] == [expected]
    assert sold.get("artist-summary", sold.artist)["data"] == [expected]
    assert sold.get("artist-summary", sold.ana)["data"] == []


def test_revenue_of_others_is_not_found(sold: SoldOut) -> None:
    event_id = sold.record()

    for method, path in (
        ("GET", f"revenue/{sold.master_id}"),
        ("GET", f"revenue/{sold.master_id}/summary"),
        ("GET", f"revenue/{uuid4()}"),
        ("GET", f"contract/{uuid4()}"),
    ):
        assert code(sold.ana.as_signed_in(method, f"/dividends/{path}")) == "404 not_found"
    assert code(post(sold.ana, "/dividends/revenue", sold.revenue())) == "404 not_found"
    assert code(sold.process(event_id, sold.ana)) == "404 not_found"
    assert code(post(sold.ana, f"/dividends/revenue/{event_id}/void")) == "404 not_found"


def test_admin_books_a_receipt_for_an_artist(sold: SoldOut) -> None:
    admin = make_admin(sold.offering.app, sold.offering.buyer())
    event_id = sold.record()
    receipt = {"reference": "BANK-1", "reason": "line 42"}

    assert code(sold.process(event_id, receipt=receipt)) == "403 role.insufficient"
    assert code(sold.process(event_id, admin)) == "422 request.invalid"
    assert sold.process(event_id, admin, receipt=receipt).status_code == 201
    [event] = sold.get(f"revenue/{sold.master_id}", admin)["data"]
    assert (event["status"], event["funded_from"]) == ("funded", "receipt")


def test_retry_records_revenue_once(sold: SoldOut) -> None:
    body = sold.revenue()

    first, retry = (post(sold.artist, "/dividends/revenue", body, key="one") for _ in range(2))

    assert first.json() == retry.json()
    assert code(post(sold.artist, "/dividends/revenue", body)) == "409 revenue.duplicate"
    assert "Idempotency-Key" in sold.artist.as_signed_in("POST", "/dividends/claim", {}).json()["detail"]


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": 0},
        {"amount": 1.0},
        {"amount": 2**53},
        {"currency": "GBP"},
        {"currency": "usd"},
        {"source": "resale_royalty"},
        {"period_end": "2026-02-28"},
        {"provider": " "},
        {"external_ref": "a\u0000b"},
        {"external_ref": "x" * 201},
        {"unknown": 1},
    ],
    ids=str,
)
def test_bad_revenue_is_refused(sold: SoldOut, changes: dict[str, Any]) -> None:
    assert code(post(sold.artist, "/dividends/revenue", sold.revenue(**changes))) == "422 request.invalid"


def test_year_of_claims_is_exported(sold: SoldOut) -> None:
    sold.distribute()
    sold.claim(sold.ana)
    databases.execute(
        sold.offering.app.database_url, f"UPDATE masters SET title = '=1+1' WHERE id = '{sold.master_id}'"
    )
    year = sold.offering.now().year

    exported = sold.ana.as_signed_in("GET", f"/dividends/statements/{year}.csv")

    header, line = exported.text.splitlines()
    assert header == "claimed_at,master_id,title,currency,amount,withheld,paid,transfer_id"
    assert line.split(",")[1:7] == [sold.master_id, "'=1+1", "USD", "3.50", "0.00", "3.50"]
    empty = sold.ana.as_signed_in("GET", f"/dividends/statements/{year - 1}.csv")
    assert empty.text.splitlines() == [header]


def test_artist_of_a_live_offering_must_wait(offering: Offering) -> None:
    offering.open()
    sold = SoldOut(offering, offering.artist, offering.artist)

    assert code(sold.process(sold.record())) == "409 ipo.live"


def test_account_with_dividends_cannot_be_deleted(sold: SoldOut) -> None:
    sold.distribute()
    offering = sold.offering
    # Ana has sold her shares and spent her money.
    owner = user_id(sold.ana)
    shares = databases.fetch_value(
        offering.app.database_url,
        "SELECT code FROM ledger_accounts AS a JOIN ledger_assets AS s ON s.id = asset_id"
        f" WHERE owner_id = '{owner}' AND purpose = 'shares'",
    )
    ben = user_id(sold.ben)
    left = balance(offering.app, sold.ana)
    databases.execute(
        offering.app.database_url,
        "SELECT ledger_post_v2(gen_random_uuid(), gen_random_uuid()::text, 'sale',"
        f" ARRAY['user/{owner}/shares/{shares}/0', 'user/{ben}/shares/{shares}/0',"
        f" 'user/{owner}/available/USD/0', 'user/{ben}/available/USD/0'], ARRAY[-7, 7, {-left}, {left}], now())",
        f"UPDATE share_lots SET account_id = ledger_account_id_v1('user/{ben}/shares/{shares}/0')"
        f" WHERE account_id = ledger_account_id_v1('user/{owner}/shares/{shares}/0')",
    )
    sold.ana.sign_in()

    refused = sold.ana.as_signed_in("DELETE", "/auth/me")

    assert code(refused) == "409 account.not_empty"
    assert "Claim the dividends" in refused.json()["detail"]
