"""The in-memory set of revoked sessions."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import pytest

from audifi.auth import revocations
from audifi.auth.revocations import RevokedSessions
from tests.support import databases
from tests.support.app import App, Clock
from tests.support.clients import Client
from tests.support.waiting import assert_soon, until, wait_until

USER = "01900000-0000-7000-8000-000000000000"


@asynccontextmanager
async def revoked_sessions(url: str, clock: Clock | None = None, **bounds: int) -> AsyncIterator[RevokedSessions]:
    async with databases.connect_pools(url) as database:
        yield RevokedSessions(database, clock or Clock(), **bounds)


async def add_session(url: str, revoked_at: str) -> UUID:
    id_ = uuid4()
    user = (
        "INSERT INTO users (id, email, email_key, created_at) VALUES ('{0}', '{0}', '{0}', now())"
        " ON CONFLICT DO NOTHING"
    )
    statement = f"""
        INSERT INTO sessions (id, user_id, refresh_nonce, rotated_at, auth_time, amr, created_at, last_used_at,
            idle_expires_at, absolute_expires_at, revoked_at, revoked_reason)
        VALUES ('{id_}', '{USER}', '', now(), now(), '{{}}', now(), now(), now(), now(), {revoked_at}, 'signed_out')
    """
    await asyncio.to_thread(databases.execute, url, user.format(USER), statement)
    return id_


def test_recent_revocations_are_known(migrated_database_url: str) -> None:
    async def run() -> None:
        async with revoked_sessions(migrated_database_url) as revoked:
            recent = await add_session(migrated_database_url, "now() - interval '11 minutes'")
            old = await add_session(migrated_database_url, "now() - interval '12 minutes'")
            await revoked.poll()
            assert recent in revoked
            assert old not in revoked
            assert uuid4() not in revoked

    asyncio.run(run())


def test_revocation_committed_late_is_found_by_the_next_poll(migrated_database_url: str) -> None:
    async def run() -> None:
        async with revoked_sessions(migrated_database_url) as revoked:
            await revoked.poll()
            late = await add_session(migrated_database_url, "now() - interval '50 seconds'")
            await revoked.poll()
            assert late in revoked

    asyncio.run(run())


def test_clock_set_back_hides_no_revocation(migrated_database_url: str) -> None:
    async def run() -> None:
        clock = Clock()
        clock.advance(hours=1)
        async with revoked_sessions(migrated_database_url, clock) as revoked:
            await revoked.poll()
            clock.advance(hours=-1)
            session_id = await add_session(migrated_database_url, "now()")
            await revoked.poll()
            assert session_id in revoked

    asyncio.run(run())


def test_revocation_is_forgotten_after_its_tokens_expire(migrated_database_url: str) -> None:
    async def run() -> None:
        clock = Clock()
        async with revoked_sessions(migrated_database_url, clock) as revoked:
            session_id = await add_session(migrated_database_url, "now()")
            here = uuid4()
            revoked.add([here], clock())
            await revoked.poll()
            clock.advance(seconds=600)
            await revoked.poll()
            assert {session_id in revoked, here in revoked} == {True}
            clock.advance(seconds=70)
            await revoked.poll()
            assert {session_id in revoked, here in revoked} == {False}

    asyncio.run(run())


def test_set_is_not_current_without_a_recent_poll(migrated_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with revoked_sessions(migrated_database_url) as revoked:
            seen = [revoked.is_current]
            await revoked.poll()
            seen.append(revoked.is_current)
            monkeypatch.setattr(revocations, "STALE_SECONDS", 0)
            seen.append(revoked.is_current)
            assert seen == [False, True, False]

    asyncio.run(run())


def test_set_is_not_current_with_too_many_revocations(migrated_database_url: str) -> None:
    async def run() -> None:
        async with revoked_sessions(migrated_database_url, max_rows=2) as revoked:
            assert await revoked.poll()
            for _ in range(2):
                await add_session(migrated_database_url, "now()")
            assert revoked.is_current
            assert not await revoked.poll()
            assert not revoked.is_current, "immediately, not only when the last poll is 5 s old"

    asyncio.run(run())


@pytest.mark.parametrize("has_polled", [False, True])
def test_set_recovers_after_too_many_revocations(migrated_database_url: str, *, has_polled: bool) -> None:
    async def run() -> None:
        clock = Clock()
        async with revoked_sessions(migrated_database_url, clock, max_rows=2) as revoked:
            if has_polled:
                assert await revoked.poll()
            for _ in range(2):
                await add_session(migrated_database_url, "now()")
            assert not await revoked.poll()
            clock.advance(seconds=600)
            assert not await revoked.poll()
            clock.advance(seconds=70)
            new = await add_session(migrated_database_url, "now() + interval '670 seconds'")
            assert await revoked.poll()
            assert new in revoked

    asyncio.run(run())


def test_polls_are_rare_with_too_many_revocations(migrated_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise each second would read as many rows again."""
    monkeypatch.setattr(revocations, "POLL_SECONDS", 0.01)

    async def run() -> int:
        polls = 0
        async with revoked_sessions(migrated_database_url, max_rows=0) as revoked:
            poll = revoked.poll

            async def counted() -> bool:
                nonlocal polls
                polls += 1
                return await poll()

            monkeypatch.setattr(revoked, "poll", counted)
            task = asyncio.create_task(revoked.run())
            await asyncio.sleep(0.5)
            task.cancel()
        return polls

    assert asyncio.run(run()) == 1


def test_polling_resumes_after_a_database_outage(
    migrated_database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(revocations, "POLL_SECONDS", 0.05)
    caplog.set_level(logging.INFO)

    async def run() -> None:
        rename = "ALTER TABLE {} RENAME TO {}"
        await asyncio.to_thread(databases.execute, migrated_database_url, rename.format("sessions", "gone"))
        async with revoked_sessions(migrated_database_url) as revoked:
            task = asyncio.create_task(revoked.run())
            await until(
                lambda: "revoked sessions unknown; checking rows instead: error=UndefinedTableError" in caplog.messages
            )
            assert not revoked.is_current
            await asyncio.to_thread(databases.execute, migrated_database_url, rename.format("gone", "sessions"))
            await until(lambda: revoked.is_current)
            await until(lambda: "revoked sessions known again" in caplog.messages)
            task.cancel()

    asyncio.run(run())
    assert len(caplog.messages) == 2


@pytest.mark.parametrize("stale", [False, True])
def test_request_checks_the_row_if_the_set_is_not_current(
    client: Client, app: App, monkeypatch: pytest.MonkeyPatch, *, stale: bool
) -> None:
    """The revocation is older than the polled window, so only the session's row shows it."""
    client.sign_in()
    Client(client.http, client.sendgrid).sign_in()  # a newer session, which isn't revoked
    if stale:
        monkeypatch.setattr(revocations, "STALE_SECONDS", 0)
    assert client.as_signed_in("GET", "/auth/sessions").status_code == 200
    revoked = "UPDATE sessions SET revoked_at = now() - interval '5 minutes', revoked_reason = 'signed_out' WHERE id = "
    databases.execute(app.database_url, f"{revoked}'{client.tokens['session']['id']}'")

    assert client.as_signed_in("GET", "/auth/sessions").status_code == (401 if stale else 200)


def test_sign_out_on_another_machine_is_known_in_two_seconds(client: Client, app: App) -> None:
    client.sign_in()
    revoked = "UPDATE sessions SET revoked_at = now(), revoked_reason = 'signed_out' WHERE id = "
    databases.execute(app.database_url, f"{revoked}'{client.tokens['session']['id']}'")

    assert_soon(lambda: client.as_signed_in("GET", "/auth/sessions").status_code == 401, 2)


def test_local_sign_out_is_forgotten_like_a_remote_one(client: Client, app: App) -> None:
    client.sign_in()
    assert client.ask("POST", "/auth/logout", {"refresh_token": client.tokens["refresh_token"]}).status_code == 204
    session = UUID(client.tokens["session"]["id"])
    revoked = app.services.revoked_sessions
    assert session in revoked
    app.clock.advance(minutes=12)

    wait_until(lambda: session not in revoked)
    assert revoked.is_current
