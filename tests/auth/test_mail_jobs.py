"""The job that mails a link: to whom, with what, and when it doesn't."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from uuid6 import uuid7

from audifi.auth.jobs import SignInMail, sign_in_mails
from audifi.auth.models import SignInFlow
from audifi.auth.tokens import Keys
from audifi.core.config.settings import DatabaseSettings
from audifi.core.db.connection import create_engine
from audifi.core.email.sender import EmailError, SendGridSender
from audifi.core.jobs.queue import GiveUpError, Handler
from tests.auth.test_tokens import NEW, OLD, OTHER, keys
from tests.support.app import Clock
from tests.support.clients import new_address
from tests.support.sendgrid import SendGrid

SEED = b"s" * 32


class Queue:
    """A flow with its mail in the queue, and what a machine does with it."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], sendgrid: SendGrid, made_by: Keys) -> None:
        self.email = new_address()
        self.clock = Clock()
        self.job = b""
        self.sessions, self._made_by = sessions, made_by
        self.mailer = SendGridSender(api_url=sendgrid.url, api_key="SG.x", sender="a@audifi.test")

    async def add(self) -> None:
        link = self._made_by.links(SEED + self.email.encode())[0]
        self.job = SignInMail(flow_id=uuid7(), seed=SEED + self.email.encode()).to_bytes()
        row = {
            "id": SignInMail.from_bytes(self.job).flow_id,
            "email": self.email,
            "email_key": self.email,
            "token_hash": self._made_by.digests("link token", link.token)[0],
            "code_hash": b"",
            "flow_hash": b"",
            "delivery": "body",
            "created_at": self.clock(),
            "expires_at": self.clock() + timedelta(minutes=10),
        }
        async with self.sessions.begin() as session:
            await session.execute(insert(SignInFlow).values(**row))

    def machine(self, of: Keys) -> Handler:
        return sign_in_mails(
            sessions=self.sessions, keys=of, mailer=self.mailer, app_url="https://app.audifi.test", clock=self.clock
        ).handler


@asynccontextmanager
async def queue(database_url: str, sendgrid: SendGrid, made_by: Keys) -> AsyncIterator[Queue]:
    engine = create_engine(DatabaseSettings(database_url=database_url))
    try:
        queued = Queue(async_sessionmaker(engine), sendgrid, made_by)
        await queued.add()
        yield queued
        await queued.mailer.close()
    finally:
        await engine.dispose()


def test_a_mail_that_was_queued_under_the_secret_before_is_sent(database_url: str, sendgrid: SendGrid) -> None:
    async def run() -> str:
        async with queue(database_url, sendgrid, keys(OLD)) as queued:
            await queued.machine(keys(NEW, OLD))(queued.job)
            text: str = sendgrid.wait_for(queued.email)["content"][0]["value"]
            return text.replace(keys(OLD).links(SEED + queued.email.encode())[0].token, "the link that was stored")

    assert "the link that was stored" in asyncio.run(run())


def test_one_of_a_secret_that_nobody_has_any_more_is_given_up(database_url: str, sendgrid: SendGrid) -> None:
    async def run() -> None:
        async with queue(database_url, sendgrid, keys(OLD)) as queued:
            with pytest.raises(GiveUpError, match="MAGIC_LINK_SECRET has changed"):
                await queued.machine(keys(NEW, OTHER))(queued.job)
            assert sendgrid.mails_to(queued.email) == []

    asyncio.run(run())


def test_one_whose_link_was_used_or_is_gone_is_not_sent(database_url: str, sendgrid: SendGrid) -> None:
    async def run() -> None:
        async with queue(database_url, sendgrid, keys()) as queued:
            async with queued.sessions.begin() as session:
                used = update(SignInFlow).where(SignInFlow.email == queued.email).values(consumed_at=queued.clock())
                await session.execute(used)
            await queued.machine(keys())(queued.job)
            await queued.machine(keys())(SignInMail(flow_id=uuid7(), seed=SEED).to_bytes())
            assert sendgrid.mails_to(queued.email) == []

    asyncio.run(run())


def test_one_whose_link_has_expired_is_given_up(database_url: str, sendgrid: SendGrid) -> None:
    async def run() -> None:
        async with queue(database_url, sendgrid, keys()) as queued:
            queued.clock.advance(minutes=10)
            with pytest.raises(GiveUpError, match="expired before its mail could be sent"):
                await queued.machine(keys())(queued.job)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "error"), [(400, GiveUpError), (401, GiveUpError), (429, EmailError), (500, EmailError)]
)
def test_what_the_provider_will_never_take_is_given_up_and_the_rest_tried_again(
    database_url: str, sendgrid: SendGrid, status: int, error: type[Exception]
) -> None:
    async def run() -> None:
        async with queue(database_url, sendgrid, keys()) as queued:
            sendgrid.status = status
            with pytest.raises(error, match=rf"^SendGrid answered {status}$"):
                await queued.machine(keys())(queued.job)

    asyncio.run(run())


def test_a_mail_says_how_long_its_link_is_still_good(database_url: str, sendgrid: SendGrid) -> None:
    async def run() -> str:
        async with queue(database_url, sendgrid, keys()) as queued:
            queued.clock.advance(minutes=6, seconds=30)
            await queued.machine(keys())(queued.job)
            text: str = sendgrid.wait_for(queued.email)["content"][0]["value"]
            return text

    assert "4 minutes" in asyncio.run(run())
