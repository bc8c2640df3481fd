"""An app whose payments go to a running stand-in of Stripe, which sends its events to the app."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
from pydantic import SecretStr
from stripe import StripeClient

from tests.support import app as apps
from tests.support import databases
from tests.support.app import App, Clock
from tests.support.clients import Client
from tests.support.sendgrid import SendGrid
from tests.support.waiting import wait_until
from tools.stripe_stand_in import server
from tools.stripe_stand_in.webhooks import Endpoint

SECRET, CONNECT_SECRET = "whsec_of_the_platform", "whsec_of_connected_accounts"
KEY = "rk_test_of_the_tests"
PATHS = {"success_path": "/back?from=stripe", "cancel_path": "/wallet"}
OPEN_JOBS = "SELECT count(*) FROM pgqueuer WHERE status IN ('queued', 'picked')"


@dataclass(kw_only=True)
class Shop:
    """The app, the stand-in, and what people do at both."""

    app: App
    stand_in: server.Handle
    sendgrid: SendGrid
    stripe: StripeClient = field(init=False)

    def __post_init__(self) -> None:
        self.stripe = StripeClient(KEY, base_addresses={"api": self.stand_in.url}, max_network_retries=0)

    def fan(self) -> Client:
        """Return a signed-in account."""
        return Client(self.app.http, self.sendgrid).sign_in()

    def again(self, client: Client) -> Client:
        """Sign an account in again: the clock was moved, and its token has expired."""
        return client.sign_in()

    def settle(self) -> None:
        """Wait until no event is on its way, and no job is left, nor one that their calls have caused."""
        deliveries = -1
        while (now := len(self.stand_in.do("deliveries")["data"])) != deliveries:
            deliveries = now
            self.stand_in.do("drain")
            self._wake()
            wait_until(lambda: self.value(OPEN_JOBS) == 0)

    def _wake(self) -> None:
        """Let the app look for jobs that another process has queued: by itself it looks every 5 seconds."""
        jobs = self.app.services.jobs
        assert jobs._task  # noqa: SLF001 - the app runs
        jobs._task.get_loop().call_soon_threadsafe(jobs.wake)  # noqa: SLF001

    def advance(self, *, days: float = 0, hours: float = 0, seconds: int = 0) -> None:
        """Move the clocks of both, and let the events be processed. Access tokens expire after 15 minutes."""
        self.settle()
        self.move_clocks(seconds + int(days * 86_400 + hours * 3600))
        self.settle()

    def move_clocks(self, seconds: int) -> None:
        """Move the clocks of both, and nothing else."""
        assert self.app.clock.stopped_at
        # The app's first: else it would refuse the events, whose signatures came from the future.
        self.app.clock.stopped_at += timedelta(seconds=seconds)
        self.stand_in.do("clock", seconds=seconds)

    def value(self, query: str, *arguments: object) -> Any:
        """Return the first column of the first row of the app's database."""
        return databases.fetch_value(self.app.database_url, query, *arguments)

    def execute(self, statement: str) -> None:
        databases.execute(self.app.database_url, statement)

    def deposit(self, client: Client, amount: int = 5000, *, key: str | None = None, **fields: Any) -> httpx2.Response:
        """Open a page for a deposit."""
        body = {"amount": amount, "currency": "USD", **PATHS} | fields
        return client.as_signed_in("POST", "/payments/checkout", body, headers={"Idempotency-Key": key or str(uuid4())})

    def opened(self, client: Client, amount: int = 5000, **fields: Any) -> str:
        """Open a page for a deposit; return the checkout's id."""
        response = self.deposit(client, amount, **fields)
        assert response.status_code == 201, response.text
        return str(response.json()["checkout_id"])

    def session(self, checkout_id: str) -> str:
        """Return the id at Stripe of a checkout."""
        return str(self.value("SELECT provider_id FROM checkouts WHERE id = $1", UUID(checkout_id)))

    def pay(self, checkout_id: str, card: str = "pm_card_visa", **fields: Any) -> dict[str, Any]:
        """Pay on the page of a checkout; `settle` waits for the events."""
        return self.stand_in.do("pay_checkout", session=self.session(checkout_id), card=card, **fields)

    def deposited(
        self, client: Client, amount: int = 5000, card: str = "pm_card_visa", *, currency: str = "USD"
    ) -> str:
        """Deposit money by card; return the checkout's id."""
        checkout_id = self.opened(client, amount, currency=currency)
        self.pay(checkout_id, card)
        self.settle()
        return checkout_id

    def charge(self, deposit_id: str) -> str:
        """Return the id at Stripe of the charge of a deposit."""
        intent = self.value("SELECT provider_ref FROM deposits WHERE id = $1", UUID(deposit_id))
        return str(self.stripe.v1.payment_intents.retrieve(intent).latest_charge)

    def dispute(self, deposit_id: str, **fields: Any) -> str:
        """Let the cardholder dispute a deposit; return the dispute's id at Stripe."""
        dispute = self.stand_in.do("dispute", charge=self.charge(deposit_id), **fields)
        self.settle()
        return str(dispute["id"])

    def sync(self, client: Client, checkout_id: str) -> httpx2.Response:
        """Do what the page does that Stripe leads back to."""
        return client.as_signed_in("POST", f"/payments/checkouts/{checkout_id}/sync")

    def balance(self, client: Client, currency: str = "USD") -> int:
        """Return what the account can spend."""
        accounts = client.as_signed_in("GET", "/ledger/accounts").json()["data"]
        return sum(
            account["balance"]
            for account in accounts
            if account["purpose"] == "available" and account["asset"] == currency
        )

    def external(self, currency: str = "USD") -> int:
        """Return what is with Stripe, as the ledger has it."""
        return int(
            self.value(
                "SELECT coalesce(-sum(posted), 0)::bigint FROM ledger_accounts AS a"
                " JOIN ledger_assets AS s ON s.id = a.asset_id"
                " WHERE owner_kind = 'provider' AND purpose = 'external' AND s.code = $1",
                currency,
            )
        )


def settings_for(stand_in_url: str) -> dict[str, Any]:
    """Return the settings of an app whose payments go to a stand-in."""
    return {
        "environment": "development",
        "payments": "stand_in",
        "currencies": "USD,EUR,NOK",
        "stripe_secret_key": SecretStr(KEY),
        "stripe_webhook_secret": SecretStr(SECRET),
        "stripe_connect_webhook_secret": SecretStr(CONNECT_SECRET),
        "stripe_api_base": stand_in_url,
    }


@contextmanager
def running(database_url: str, sendgrid: SendGrid, **settings: Any) -> Iterator[Shop]:
    """Run a shop on a database of its own. The clocks stand, and begin at the present."""
    start = int(datetime.now(UTC).timestamp())
    with server.running(start=start) as stand_in:
        clock = Clock(stopped_at=datetime.fromtimestamp(start, UTC))
        values = settings_for(stand_in.url) | settings
        with apps.running(database_url, sendgrid_url=sendgrid.url, clock=clock, **values) as app:
            webhooks = f"{app.url}/api/v1/payments/webhooks"
            for endpoint in (
                Endpoint(id="we_platform", url=f"{webhooks}/stripe", secret=SECRET),
                Endpoint(id="we_connect", url=f"{webhooks}/stripe-connect", secret=CONNECT_SECRET, connect=True),
            ):
                stand_in.do("add_endpoint", **vars(endpoint))
            yield Shop(app=app, stand_in=stand_in, sendgrid=sendgrid)
