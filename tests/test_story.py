"""From an artist's upload to a fan's dividend and a chargeback, on two server processes and one database."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from typer.testing import CliRunner

from audifi.cli import app as console
from dev.postgres import Postgres
from tests.ipos.offerings import code, post, user_id
from tests.masters.requests import confirm, make_admin, register, review, submit
from tests.masters.samples import png, wav
from tests.masters.sending import unique, upload
from tests.support import api as apis
from tests.support import databases
from tests.support.app import check_invariants
from tests.support.clients import Client, asking, at_once
from tests.support.sendgrid import SendGrid
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PRICE = 1000


@dataclass(frozen=True, kw_only=True)
class Platform:
    """Two servers, and what an operator does at a console."""

    here: httpx2.Client
    there: httpx2.Client
    database_url: str
    sendgrid: SendGrid

    def account(self) -> Client:
        return Client(self.here, self.sendgrid).sign_in()

    def operate(self, *command: str) -> str:
        variables = {"DATABASE_URL": self.database_url, "AUDIFI_OPERATOR": "kim", "FORCE_COLOR": None}
        done = CliRunner().invoke(console, list(command), env=variables)
        assert done.exit_code == 0, done.output
        return done.stdout

    def check(self) -> None:
        check_invariants(self.database_url)
        self.operate("ledger", "check")


@pytest.fixture
def platform(
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: Postgres,
    shared_sendgrid: SendGrid,
    storage: Mapping[str, str],
) -> Iterator[Platform]:
    url = databases.create_database(postgres_server, databases.TEMPLATE)
    settings = {
        "ENVIRONMENT": "development",
        "MASTER_REVIEW": "true",
        "FUNDING": "operator",
        "TRUSTED_PROXIES": "127.0.0.0/8",
        "SENDGRID_API_KEY": "SG.x",
        "SENDGRID_API_URL": shared_sendgrid.url,
        "RATE_LIMIT_FACTOR": "100",
        "SHUTDOWN_DRAIN_SECONDS": "0",
        "PROCEEDS_DELAY_DAYS": "0",
        "DECLARE_NOTICE_HOURS": "0",
        **storage,
    }
    with ExitStack() as stack:

        def start(folder: Path) -> httpx2.Client:
            api = stack.enter_context(apis.running(folder, DATABASE_URL=url, **settings))
            return stack.enter_context(asking(api.url))

        folders = [tmp_path_factory.mktemp(name) for name in ("here", "there")]
        here, there = at_once([partial(start, folder) for folder in folders])
        yield Platform(here=here, there=there, database_url=url, sendgrid=shared_sendgrid)


@dataclass(kw_only=True)
class Story:
    """Who takes part, and what they made."""

    platform: Platform
    artist: Client
    ana: Client
    ben: Client
    eve: Client
    admin: Client
    master: str = ""
    deposits: dict[str, str] = field(default_factory=dict)

    @property
    def ipo(self) -> str:
        return f"/masters/{self.master}/ipo"

    def there(self, client: Client) -> Client:
        """Return the same client on the other server."""
        return replace(client, http=self.platform.there)

    def on_both(self, client: Client, send: Callable[[Client], httpx2.Response]) -> list[int]:
        """Send a request to both servers at once; return the statuses in order."""
        answers = at_once([partial(send, each) for each in (client, self.there(client))])
        return sorted(answer.status_code for answer in answers)

    def buy(self, client: Client, quantity: int, *, key: str | None = None, **body: Any) -> httpx2.Response:
        body |= {"quantity": quantity, "expected_total": quantity * PRICE}
        return post(client, f"{self.ipo}/mint", body, key=key)

    def sell(self, client: Client, first: int, last: int) -> httpx2.Response:
        expires_at = datetime.now(UTC) + timedelta(days=30)
        body = {"serials": [first, last], "unit_price": PRICE, "expires_at": expires_at.isoformat()}
        return post(client, f"/masters/{self.master}/listings", body)


def made(answer: httpx2.Response) -> dict[str, Any]:
    """Return the body of a success."""
    assert answer.is_success, answer.text
    body: dict[str, Any] = answer.json()
    return body


def money(client: Client, purpose: str = "available") -> int:
    accounts = made(client.as_signed_in("GET", "/ledger/accounts?limit=100"))["data"]
    return sum(each["balance"] for each in accounts if (each["purpose"], each["asset"]) == (purpose, "USD"))


def register_a_master(story: Story) -> None:
    artist = story.artist
    story.master = register(artist)
    assert upload(artist, story.master, unique(wav()), "audio/wav") == "verified"
    assert upload(story.there(artist), story.master, unique(png()), "image/png") == "verified"
    made(confirm(artist, story.master))
    assert made(submit(artist, story.master))["status"] == "submitted"
    assert made(review(story.admin, story.master))["status"] == "approved"


def offer_shares(story: Story) -> None:
    """Offer eight of ten shares, on the first day to those on the allowlist."""
    opens_at = datetime.now(UTC) + timedelta(seconds=3)
    terms = {
        "currency": "USD",
        "total_shares": 10,
        "retained_shares": 2,
        "unit_price": PRICE,
        "max_per_account": 5,
        "opens_at": opens_at.isoformat(),
        "allowlist_until": (opens_at + timedelta(days=1)).isoformat(),
        "ends_at": (opens_at + timedelta(days=10)).isoformat(),
    }
    made(post(story.artist, story.ipo, terms))
    entries = [{"user_id": user_id(client)} for client in (story.ana, story.ben)]
    assert story.artist.as_signed_in("PUT", f"{story.ipo}/allowlist", {"entries": entries}).status_code == 204
    made(post(story.there(story.artist), f"{story.ipo}/launch"))


def pay_in(story: Story) -> None:
    for fan, amount in ((story.ana, 5000), (story.ben, 5000), (story.eve, 2000)):
        body = {"currency": "USD", "amount": amount, "user_id": user_id(fan), "reason": "A statement"}
        booked = post(story.admin, "/ledger/deposits", body | {"reference": f"BANK-{uuid4()}"})
        story.deposits[fan.email] = made(booked)["id"]


def buy_on_both_servers(story: Story) -> None:
    wait_until(lambda: made(story.artist.as_signed_in("GET", story.ipo))["status"] == "live")
    key = str(uuid4())
    assert set(story.on_both(story.ana, lambda client: story.buy(client, 3, key=key))) <= {201, 409}
    assert made(story.buy(story.ana, 3, key=key))["serials"] == [[1, 3]]
    assert money(story.ana) == 2000
    assert code(story.buy(story.there(story.ana), 3)) == "409 ipo.cap_exceeded"
    assert code(story.buy(story.eve, 1)) == "403 ipo.allowlist_only"
    reservation = made(post(story.ben, f"{story.ipo}/reservations", {"quantity": 1}))["id"]
    assert made(story.buy(story.there(story.ben), 1, reservation_id=reservation))["serials"] == [[4, 4]]
    made(story.buy(story.ben, 2))
    assert code(story.sell(story.ana, 1, 1)) == "409 ipo.live"


def end_the_offering(story: Story) -> None:
    """The artist gets the money less the fee of 5 %."""
    assert made(post(story.there(story.artist), f"{story.ipo}/complete"))["status"] == "completed"
    wait_until(lambda: money(story.artist) == 5700)
    assert money(story.artist, "pending") == 0


def resell(story: Story) -> None:
    """The artist gets 10 %, the first two buyers 5 % and 3 %, of whom the seller is one."""
    listing = made(story.sell(story.ana, 1, 2))["id"]

    def buy(client: Client) -> httpx2.Response:
        return post(client, f"/listings/{listing}/buy", {"expected_total": 2000})

    assert story.on_both(story.eve, buy) == [201, 409]
    assert (money(story.ana), money(story.ben), money(story.eve)) == (2000 + 1740, 2000 + 60, 0)
    assert money(story.artist) == 5900


def share_revenue_out(story: Story) -> None:
    revenue = {
        "master_id": story.master,
        "source": "streaming",
        "amount": 1000,
        "currency": "USD",
        "period_start": "2026-03-01",
        "period_end": "2026-03-31",
        "provider": "A distributor",
        "external_ref": str(uuid4()),
    }
    event = made(post(story.artist, "/dividends/revenue", revenue))["id"]
    made(post(story.there(story.artist), f"/dividends/revenue/{event}/process", {}))
    wait_until(lambda: bool(made(story.eve.as_signed_in("GET", "/dividends/claimable"))["data"]))


def claim(story: Story) -> None:
    """Half of the revenue is the holders': 50 for each of ten shares. Two of them are Eve's."""
    assert story.on_both(story.eve, lambda client: post(client, "/dividends/claim", {})) == [201, 409]
    for holder, amount in ((story.ana, 50), (story.ben, 150)):
        assert made(post(holder, "/dividends/claim", {}))["data"][0]["amount"] == amount
    assert money(story.eve) == 100
    assert money(story.artist) == 5900 - 1000 + 400


def pay_out_and_dispute(story: Story) -> None:
    """Ben is paid out. Eve's bank takes back what she paid in: she owes it, and can't buy."""
    operate, eve = story.platform.operate, story.eve
    payout = made(post(story.ben, "/ledger/payouts", {"currency": "USD", "amount": 2000}))["id"]
    operate("funding", "submit", payout)
    operate("funding", "paid", payout, "--reference", "WIRE-1")
    assert money(story.ben) == 2060 + 150 - 2000
    dispute = ("--amount", "20.00", "--reference", "CASE-1", "--reason", "the bank's notice")
    operate("funding", "dispute", story.deposits[eve.email], "open", *dispute)
    assert (money(eve), money(eve, "debt")) == (0, -1900)
    listing = made(story.sell(story.ana, 3, 3))["id"]
    assert code(post(eve, f"/listings/{listing}/buy", {"expected_total": PRICE})) == "403 account.in_debt"
    operate("funding", "dispute", story.deposits[eve.email], "won", *dispute)
    assert (money(eve), money(eve, "debt")) == (100, 0)


STEPS: tuple[Callable[[Story], None], ...] = (
    register_a_master,
    offer_shares,
    pay_in,
    buy_on_both_servers,
    end_the_offering,
    resell,
    share_revenue_out,
    claim,
    pay_out_and_dispute,
)


def test_shares_are_sold_resold_and_paid_for(platform: Platform) -> None:
    artist, ana, ben, eve = (platform.account() for _ in range(4))
    admin = make_admin(platform.database_url, platform.account())
    story = Story(platform=platform, artist=artist, ana=ana, ben=ben, eve=eve, admin=admin)

    for step in STEPS:
        step(story)
        platform.check()

    history = made(eve.ask("GET", f"/masters/{story.master}/shares/1"))["movements"]
    assert [movement["reason"] for movement in history] == ["resale", "sale"]
