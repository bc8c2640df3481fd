"""Statements for tests: artists with offered masters, files in the distributors' columns, and requests."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import httpx2
from stdnum import ean

from audifi.core.files.store import FileStore
from tests.ipos.offerings import Offering, approved_master, make_admin, post
from tests.masters.sending import storage_request
from tests.support import databases
from tests.support.app import App
from tests.support.clients import Client
from tests.support.sendgrid import SendGrid
from tests.support.waiting import wait_until

DISTROKID = (
    "Reporting Date",
    "Sale Month",
    "Store",
    "Artist",
    "Title",
    "ISRC",
    "UPC",
    "Quantity",
    "Team Percentage",
    "Song/Album",
    "Country of Sale",
    "Songwriter Royalties Withheld",
    "Earnings (USD)",
)
TUNECORE = (
    "Sales Period",
    "Posted Date",
    "Store Name",
    "Country Of Sale",
    "Artist",
    "Release Type",
    "Release Title",
    "Song Title",
    "Label",
    "UPC",
    "Optional UPC",
    "TC Song ID",
    "Optional ISRC",
    "Sales Type",
    "# Units Sold",
    "Per Unit Price",
    "Net Sales",
    "Net Sales Currency",
    "Exchange Rate",
    "Total Earned",
    "Currency",
)
SALE = {
    "Reporting Date": "2026-02-25",
    "Sale Month": "2026-01",
    "Store": "Spotify",
    "Artist": "Ana Ruiz",
    "Title": "Midnight Drive",
    "Quantity": "12",
    "Team Percentage": "100",
    "Song/Album": "Song",
    "Country of Sale": "US",
    "Songwriter Royalties Withheld": "0",
    "Earnings (USD)": "1.5",
}


def new_isrc() -> str:
    """Return an ISRC that no other test uses."""
    return f"USAA{secrets.randbelow(10**8):08}"


def new_upc() -> str:
    """Return 13 digits that no other test uses."""
    digits = f"0{secrets.randbelow(10**11):011}"
    return f"{digits}{ean.calc_check_digit(digits)}"


def table(columns: Sequence[str], rows: Sequence[Mapping[str, str]], separator: str = "\t") -> bytes:
    """Return a file with a line of column names; cells that a row doesn't have are empty."""
    lines = [columns, *([row.get(name, "") for name in columns] for row in rows)]
    return "".join(separator.join(line) + "\n" for line in lines).encode()


def distrokid(*rows: dict[str, str]) -> bytes:
    """Return a file with a sale in each line; a row has the cells that differ from `SALE`."""
    return table(DISTROKID, [SALE | row for row in rows])


def sale(isrc: str, earnings: str = "1.5", **cells: str) -> dict[str, str]:
    return {"ISRC": isrc, "Earnings (USD)": earnings, **cells}


def unique(content: bytes) -> bytes:
    """Return the file with a blank line that makes it another file."""
    return content + b" " * secrets.randbelow(10**4) + b"\n"


@dataclass
class Label:
    """An artist's account."""

    app: App
    client: Client
    sendgrid: SendGrid
    isrcs: dict[str, str] = field(default_factory=dict)
    """By master."""

    @classmethod
    def sign_in(cls, app: App, sendgrid: SendGrid) -> Self:
        return cls(app, Client(app.http, sendgrid).sign_in(), sendgrid)

    def become_admin(self) -> Self:
        make_admin(self.app, self.client)
        return self

    def offer(self, upc: str | None = None) -> str:
        """Offer a master with a new ISRC; return its id."""
        master_id = approved_master(self.app, self.client)
        self.isrcs[master_id] = new_isrc()
        databases.execute(
            self.app.database_url,
            f"UPDATE master_tracks SET isrc = '{self.isrcs[master_id]}' WHERE master_id = '{master_id}'",
            f"UPDATE masters SET upc = {repr(upc) if upc else 'NULL'} WHERE id = '{master_id}'",
        )
        Offering(app=self.app, sendgrid=self.sendgrid, artist=self.client, master_id=master_id).open()
        return master_id

    def cancel_offering(self, master_id: str) -> httpx2.Response:
        return post(self.client, f"/masters/{master_id}/ipo/cancel")

    def begin(self, content: bytes, **body: Any) -> httpx2.Response:
        values = {
            "preset": "distrokid",
            "format": "tsv",
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        return self.client.as_signed_in("POST", "/dividends/statements", values | body)

    def send(self, content: bytes, **body: Any) -> str:
        """Send a file to the storage; return the statement's id."""
        begun = self.begin(content, **body)
        assert begun.status_code == 201, begun.text
        sent = storage_request("PUT", begun.json()["url"], content=content, headers=begun.json()["headers"])
        assert sent.status_code == 200, sent.text
        return str(begun.json()["id"])

    def complete(self, statement_id: str) -> httpx2.Response:
        return self.client.as_signed_in("POST", f"/dividends/statements/{statement_id}/complete")

    def upload(self, content: bytes, **body: Any) -> dict[str, Any]:
        """Upload a file; return the statement when its import has ended."""
        statement_id = self.send(content, **body)
        completed = self.complete(statement_id)
        assert completed.status_code == 202, completed.text
        self.wait(statement_id)
        return self.get(statement_id)

    def wait(self, statement_id: str) -> None:
        query = f"SELECT status FROM royalty_statements WHERE id = '{statement_id}'"
        wait_until(lambda: databases.fetch_value(self.app.database_url, query) != "parsing")

    def get(self, statement_id: str, path: str = "") -> dict[str, Any]:
        answer = self.client.as_signed_in("GET", f"/dividends/statements/{statement_id}{path}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def list_statements(self) -> list[dict[str, Any]]:
        return list(self.client.as_signed_in("GET", "/dividends/statements").json()["data"])

    def lines(self, statement: dict[str, Any], query: str = "") -> list[dict[str, Any]]:
        return list(self.get(statement["id"], f"/lines{query}")["data"])

    def totals(self, statement: dict[str, Any]) -> list[dict[str, Any]]:
        return list(self.get(statement["id"], "/totals")["data"])

    def confirm(self, statement: dict[str, Any], decision: str) -> httpx2.Response:
        path = f"/dividends/statements/{statement['id']}/confirm"
        return self.client.as_signed_in("POST", path, {"decision": decision})

    def match(self, statement: dict[str, Any], master_id: str, **body: Any) -> httpx2.Response:
        path = f"/dividends/statements/{statement['id']}/match"
        return self.client.as_signed_in("POST", path, {"master_id": master_id, **body})

    def revenue(self, master_id: str) -> list[int]:
        """Return the amounts of the revenue events of a master, the oldest first."""
        amounts = databases.fetch_value(
            self.app.database_url,
            "SELECT coalesce(array_agg(amount ORDER BY revenue_events.id), '{}') FROM revenue_events"
            f" JOIN ipos ON ipos.id = ipo_id WHERE master_id = '{master_id}'",
        )
        assert isinstance(amounts, list)
        return amounts


def code(answer: httpx2.Response) -> str:
    return f"{answer.status_code} {answer.json()['code']}"


def begin_parsing(app: App, statement_id: str) -> None:
    """Set the status as completing the upload does, without its job."""
    databases.execute(app.database_url, f"UPDATE royalty_statements SET status = 'parsing' WHERE id = '{statement_id}'")


def file_store(storage: Mapping[str, str]) -> FileStore:
    return FileStore(**{name.removeprefix("FILES_").lower(): value for name, value in storage.items()})
