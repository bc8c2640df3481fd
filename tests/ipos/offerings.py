"""Offerings for tests: masters that are approved, money, and requests."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2

from audifi.ledger.accounts import Purpose, provider_account, user_account
from tests.masters.requests import give_files
from tests.support import databases
from tests.support.app import App
from tests.support.clients import Client
from tests.support.sendgrid import SendGrid

NOTHING = "\\x" + "00" * 32


@dataclass(frozen=True, kw_only=True)
class Offering:
    """An artist's master, and the offering of its shares."""

    app: App
    sendgrid: SendGrid
    artist: Client
    master_id: str

    @property
    def path(self) -> str:
        return f"/masters/{self.master_id}/ipo"

    def buyer(self, *, money: int = 1_000_000) -> Client:
        """Return a new account with some money."""
        return fund(self.app, Client(self.app.http, self.sendgrid).sign_in(), money)

    def now(self) -> datetime:
        return self.app.clock()

    def terms(self, **changes: Any) -> dict[str, Any]:
        opens_at = self.now() + timedelta(minutes=1)
        return {
            "currency": "USD",
            "total_shares": 1000,
            "retained_shares": 200,
            "unit_price": 250,
            "max_per_account": 100,
            "opens_at": opens_at.isoformat(),
            "ends_at": (opens_at + timedelta(days=10)).isoformat(),
        } | changes

    def draft(self, **changes: Any) -> httpx2.Response:
        return post(self.artist, self.path, self.terms(**changes))

    def launch(self) -> httpx2.Response:
        return post(self.artist, f"{self.path}/launch")

    def open(self, **changes: Any) -> dict[str, Any]:
        """Draft, launch and open the offering; return it."""
        draft = self.draft(**changes)
        assert draft.status_code == 201, draft.text
        launched = self.launch()
        assert launched.status_code == 200, launched.text
        self.app.clock.advance(minutes=1)
        ipo: dict[str, Any] = launched.json()
        return ipo

    def pass_time(self, *clients: Client, **duration: float) -> None:
        """Move the clock, and keep the sessions of the artist and the clients."""
        left = timedelta(**duration)
        while left > timedelta(0):
            step = min(left, timedelta(days=5))
            self.app.clock.advance(seconds=step.total_seconds())
            left -= step
            for client in (self.artist, *clients):
                assert client.refresh().status_code == 200

    def get(self, path: str = "") -> dict[str, Any]:
        answer = self.artist.as_signed_in("GET", self.path + path)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def buy(self, buyer: Client, quantity: int = 1, *, key: str | None = None, **body: Any) -> httpx2.Response:
        values = {"quantity": quantity, "expected_total": quantity * 250} | body
        return post(buyer, f"{self.path}/mint", values, key=key)


def post(client: Client, path: str, body: Any = None, *, key: str | None = None) -> httpx2.Response:
    return client.as_signed_in("POST", path, body, headers={"Idempotency-Key": key or str(uuid4())})


def code(answer: httpx2.Response) -> str:
    return f"{answer.status_code} {answer.json()['code']}"


def user_id(client: Client) -> str:
    return str(client.as_signed_in("GET", "/auth/me").json()["id"])


def make_admin(app: App, client: Client) -> Client:
    databases.execute(app.database_url, f"UPDATE users SET role = 'admin' WHERE email_key = '{client.email}'")
    return client


def fund(app: App, client: Client, amount: int, purpose: Purpose = "available", currency: str = "USD") -> Client:
    """Pay an amount into an account."""
    addresses = [
        provider_account("operator", "external", currency).address,
        user_account(UUID(user_id(client)), purpose, currency).address,
    ]
    databases.execute(
        app.database_url,
        f"SELECT ledger_post_v1(gen_random_uuid(), '{uuid4()}', 'adjustment', ARRAY{addresses},"
        f" ARRAY[{-amount}, {amount}], '{datetime.now(UTC).isoformat()}')",
    )
    return client


def balance(app: App, client: Client, purpose: str = "available", asset: str = "USD") -> int:
    value = databases.fetch_value(
        app.database_url,
        "SELECT coalesce(sum(posted), 0)::bigint FROM ledger_accounts AS a JOIN ledger_assets AS s ON s.id = a.asset_id"
        f" WHERE owner_id = '{user_id(client)}' AND purpose = '{purpose}' AND code = '{asset}'",
    )
    return int(str(value))


def approved_master(app: App, artist: Client) -> str:
    """Return the id of an approved master of an artist."""
    return str(insert_master(app.database_url, UUID(user_id(artist))))


def insert_master(database_url: str, artist_id: UUID) -> UUID:
    """Insert an approved master: its own tests show how it becomes one."""
    master_id = uuid4()
    databases.execute(
        database_url,
        "INSERT INTO masters (id, artist_id, type, title, description, genre, release_date, mood_tags, status,"
        " rights_confirmed_at, audio_sha256, cover_sha256, version, created_at)"
        f" VALUES ('{master_id}', '{artist_id}', 'track', 'Night drive', 'A song.', 'House', '2026-01-31', '{{}}',"
        f" 'approved', now(), '{NOTHING}', '{NOTHING}', 1, now())",
        f"INSERT INTO master_tracks (master_id, position, title) VALUES ('{master_id}', 1, 'Night drive')",
        "INSERT INTO rights_confirmations"
        " (master_id, id, user_id, statement_version, statement_sha256, holder, created_at)"
        f" SELECT id, gen_random_uuid(), artist_id, '1', '{NOTHING}', 'owner', rights_confirmed_at FROM masters"
        f" WHERE id = '{master_id}'",
    )
    give_files(database_url, str(master_id))
    return master_id


def insert_funded_users(database_url: str, count: int, amount: int) -> list[UUID]:
    """Insert accounts with some money."""
    users = [uuid4() for _ in range(count)]
    external = provider_account("operator", "external", "USD").address
    for user in users:
        addresses = [external, user_account(user, "available", "USD").address]
        databases.execute(
            database_url,
            "INSERT INTO users (id, email, email_key, created_at)"
            f" VALUES ('{user}', '{user}@example.com', '{user}@example.com', now())",
            f"SELECT ledger_post_v1(gen_random_uuid(), '{user}', 'adjustment', ARRAY{addresses},"
            f" ARRAY[{-amount}, {amount}], now())",
        )
    return users
