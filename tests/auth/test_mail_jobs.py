"""The job that sends the sign-in e-mail."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import bindparam, update
from uuid6 import uuid7

from audifi.auth.jobs import SignInEmail, sign_in_emails
from audifi.auth.models import SignInFlow
from audifi.auth.service import ADD_FLOW
from audifi.auth.tokens import Keys
from audifi.core.db.database import Database
from audifi.core.db.statements import Statement
from audifi.core.email.sender import EmailError, SendGridSender
from audifi.core.jobs.queue import Handler, PermanentJobError
from tests.auth.test_tokens import NEW, OLD, OTHER, keys
from tests.support import databases
from tests.support.app import Clock
from tests.support.clients import new_address
from tests.support.sendgrid import SendGrid

SEED = b"s" * 32
FLOWS = SignInFlow.__table__
CONSUME = Statement(update(FLOWS).where(FLOWS.c.email == bindparam("of")).values(consumed_at=bindparam("at")))


class Queue:
    """A flow with its queued e-mail, and the machine's handler."""

    def __init__(self, database: Database, sendgrid: SendGrid, made_by: Keys) -> None:
        self.email = new_address()
        self.clock = Clock()
        self.job = b""
        self.database, self._made_by = database, made_by
        self.mailer = SendGridSender(api_url=sendgrid.url, api_key="SG.x", sender="a@audifi.test")

    async def add(self) -> None:
        link = self._made_by.links(SEED + self.email.encode(), email=self.email)[0]
        self.job = SignInEmail(flow_id=uuid7(), seed=SEED + self.email.encode()).to_bytes()
        row = {
            "id": SignInEmail.from_bytes(self.job).flow_id,
            "email": self.email,
            "email_key": self.email,
            "token_hash": self._made_by.digests("link token", link.token)[0],
            "code_hash": b"",
            "flow_hash": b"",
            "delivery": "body",
            "redirect_to": None,
            "ip": None,
            "user_agent": None,
            "created_at": self.clock(),
            "expires_at": self.clock() + timedelta(minutes=10),
        }
        await self.database.execute(ADD_FLOW, **row)

    def machine(self, of: Keys) -> Handler:
        return sign_in_emails(
            database=self.database, keys=of, mailer=self.mailer, app_url="https://app.audifi.test", clock=self.clock
        ).handler


@asynccontextmanager
async def queue(database_url: str, sendgrid: SendGrid, made_by: Keys) -> AsyncIterator[Queue]:
    async with databases.connect_pools(database_url) as database:
        queued = Queue(database, sendgrid, made_by)
        await queued.add()
        yield queued
        await queued.mailer.close()


def test_email_queued_under_the_previous_secret_is_sent(database_url: str, sendgrid: SendGrid) -> None:
    async def run() -> str:
        async with queue(database_url, sendgrid, keys(OLD)) as queued:
            await queued.machine(keys(NEW, OLD))(queued.job)
            text: str = sendgrid.wait_for(queued.email)["content"][0]["value"]
            link = keys(OLD).links(SEED + queued.email.encode(), email=queued.email)[0]
            return text.replace(link.token, "the link that was stored")

    assert "the link that was stored" in asyncio.run(run())


def test_email_of_an_unknown_secret_fails(database_url: str, sendgrid: SendGrid) -> None:
    async def run() -> None:
        async with queue(database_url, sendgrid, keys(OLD)) as queued:
            with pytest.raises(PermanentJobError, match="MAGIC_LINK_SECRET has changed"):
                await queued.machine(keys(NEW, OTHER))(queued.job)
            assert sendgrid.mails_to(queued.email) == []

    asyncio.run(run())


def test_email_of_a_used_or_deleted_flow_is_not_sent(database_url: str, sendgrid: SendGrid) -> None:
    async def run() -> None:
        async with queue(database_url, sendgrid, keys()) as queued:
            await queued.database.execute(CONSUME, of=queued.email, at=queued.clock())
            await queued.machine(keys())(queued.job)
            await queued.machine(keys())(SignInEmail(flow_id=uuid7(), seed=SEED).to_bytes())
            assert sendgrid.mails_to(queued.email) == []

    asyncio.run(run())


def test_email_of_an_expired_flow_fails(database_url: str, sendgrid: SendGrid) -> None:
    async def run() -> None:
        async with queue(database_url, sendgrid, keys()) as queued:
            queued.clock.advance(minutes=10)
            with pytest.raises(PermanentJobError, match="expired before its e-mail could be sent"):
                await queued.machine(keys())(queued.job)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "error"), [(400, PermanentJobError), (401, PermanentJobError), (429, EmailError), (500, EmailError)]
)
def test_permanent_errors_fail_and_others_are_retried(
    database_url: str, sendgrid: SendGrid, status: int, error: type[Exception]
) -> None:
    async def run() -> None:
        async with queue(database_url, sendgrid, keys()) as queued:
            sendgrid.status = status
            with pytest.raises(error, match=rf"^SendGrid answered {status}$"):
                await queued.machine(keys())(queued.job)

    asyncio.run(run())


def test_email_states_how_long_its_link_is_valid(database_url: str, sendgrid: SendGrid) -> None:
    async def run() -> str:
        async with queue(database_url, sendgrid, keys()) as queued:
            queued.clock.advance(minutes=6, seconds=30)
            await queued.machine(keys())(queued.job)
            text: str = sendgrid.wait_for(queued.email)["content"][0]["value"]
            return text

    assert "4 minutes" in asyncio.run(run())


def test_email_shows_the_request_and_bypasses_unsubscribes(database_url: str, sendgrid: SendGrid) -> None:
    async def run() -> tuple[str, dict[str, Any]]:
        async with queue(database_url, sendgrid, keys()) as queued:
            queued.clock.advance(minutes=2)
            await queued.machine(keys())(queued.job)
            return queued.email, sendgrid.wait_for(queued.email)

    email, mail = asyncio.run(run())
    query = "SELECT to_char(created_at AT TIME ZONE 'UTC', 'HH24:MI:SS') FROM sign_in_flows WHERE email = $1"
    requested = databases.fetch_value(database_url, query, email)
    assert all(f"at {requested} UTC" in part["value"] for part in mail["content"])
    assert mail["headers"] == {"X-Entity-Ref-ID": mail["custom_args"]["message_id"]}
    assert mail["mail_settings"] == {"bypass_unsubscribe_management": {"enable": True}}
