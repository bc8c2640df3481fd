"""Completed offerings whose holders sell their shares, for tests."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx2

from tests.ipos.offerings import Offering, post, user_id
from tests.support import databases
from tests.support.clients import Client

MONEY = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Market:
    """A completed offering, whose first buyer has serials 1 to 10, the second 11 to 14, the third 15 to 16."""

    offering: Offering
    ipo_id: str
    minters: list[Client]

    @property
    def seller(self) -> Client:
        return self.minters[0]

    @property
    def path(self) -> str:
        return f"/masters/{self.offering.master_id}/listings"

    def list_shares(
        self, first: int, last: int, *, seller: Client | None = None, key: str | None = None, **changes: Any
    ) -> httpx2.Response:
        """List serials of the seller."""
        body = {
            "serials": [first, last],
            "unit_price": 1000,
            "expires_at": (self.offering.now() + timedelta(days=1)).isoformat(),
        }
        return post(seller or self.seller, self.path, body | changes, key=key)

    def open(self, first: int, last: int, **changes: Any) -> str:
        """List serials; return the listing's id."""
        listed = self.list_shares(first, last, **changes)
        assert listed.status_code == 201, listed.text
        return str(listed.json()["id"])

    def buy(self, buyer: Client, listing_id: str, total: int, *, key: str | None = None) -> httpx2.Response:
        return post(buyer, f"/listings/{listing_id}/buy", {"expected_total": total}, key=key)

    def cancel(self, listing_id: str, *, seller: Client | None = None) -> httpx2.Response:
        return (seller or self.seller).as_signed_in("DELETE", f"/listings/{listing_id}")

    def listings(self, query: str = "") -> list[dict[str, Any]]:
        answer = self.seller.as_signed_in("GET", f"{self.path}{query}")
        assert answer.status_code == 200, answer.text
        rows: list[dict[str, Any]] = answer.json()["data"]
        return rows

    def preview(self, listing_id: str) -> dict[str, Any]:
        answer = self.seller.as_signed_in("GET", f"/listings/{listing_id}/preview")
        assert answer.status_code == 200, answer.text
        preview: dict[str, Any] = answer.json()
        return preview

    def freeze(self, client: Client) -> None:
        databases.execute(
            self.offering.app.database_url,
            "INSERT INTO account_compliance (user_id, kyc, frozen_at, version, operator, reason, updated_at)"
            f" VALUES ('{user_id(client)}', 'none', now(), 1, 'ana', 'A test', now())",
        )

    def serials(self, client: Client) -> Any:
        """Return the ranges of serials that an account holds."""
        holdings = client.as_signed_in("GET", "/masters/holdings").json()["data"]
        return holdings[0]["serials"] if holdings else []

    def balances(self, *clients: Client) -> list[int]:
        """Return what accounts can spend, in cents."""
        balance = "SELECT posted FROM ledger_accounts WHERE owner_id = '{}' AND purpose = 'available'"
        url = self.offering.app.database_url
        return [int(str(databases.fetch_value(url, balance.format(user_id(client))) or 0)) for client in clients]


def open_market(offering: Offering, **terms: Any) -> Market:
    """Offer 20 shares, sell 16 of them, and complete the offering."""
    ipo = offering.open(**{"total_shares": 20, "retained_shares": 0, "max_per_account": 10} | terms)
    minters = [offering.buyer(money=MONEY) for _ in range(3)]
    for minter, quantity in zip(minters, (10, 4, 2), strict=True):
        assert offering.buy(minter, quantity).status_code == 201
    completed = post(offering.artist, f"{offering.path}/complete")
    assert completed.status_code == 200, completed.text
    return Market(offering=offering, ipo_id=ipo["id"], minters=minters)
