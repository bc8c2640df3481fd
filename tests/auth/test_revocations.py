"""Sessions that other machines revoke, without a query for each request."""

import asyncio
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
async def following(url: str, clock: Clock | None = None, **bounds: int) -> AsyncIterator[RevokedSessions]:
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


def test_what_was_revoked_while_tokens_are_good_is_known(migrated_database_url: str) -> None:
    async def run() -> None:
        async with following(migrated_database_url) as revoked:
            recent = await add_session(migrated_database_url, "now() - interval '11 minutes'")
            old = await add_session(migrated_database_url, "now() - interval '12 minutes'")
            await revoked.poll()
            assert recent in revoked
            assert old not in revoked
            assert uuid4() not in revoked

    asyncio.run(run())


def test_a_revocation_that_is_committed_late_is_seen_by_the_next_look(migrated_database_url: str) -> None:
    async def run() -> None:
        async with following(migrated_database_url) as revoked:
            await revoked.poll()
            late = await add_session(migrated_database_url, "now() - interval '50 seconds'")
            await revoked.poll()
            assert late in revoked

    asyncio.run(run())


def test_a_clock_that_is_set_back_hides_nothing(migrated_database_url: str) -> None:
    async def run() -> None:
        clock = Clock()
        clock.advance(hours=1)
        async with following(migrated_database_url, clock) as revoked:
            await revoked.poll()
            clock.advance(hours=-1)
            session_id = await add_session(migrated_database_url, "now()")
            await revoked.poll()
            assert session_id in revoked

    asyncio.run(run())


def test_it_is_forgotten_when_no_token_of_it_can_be_good(migrated_database_url: str) -> None:
    async def run() -> None:
        clock = Clock()
        async with following(migrated_database_url, clock) as revoked:
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


def test_one_that_has_never_looked_or_not_for_five_seconds_says_so(
    migrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with following(migrated_database_url) as revoked:
            seen = [revoked.is_current]
            await revoked.poll()
            seen.append(revoked.is_current)
            monkeypatch.setattr(revocations, "STALE_SECONDS", 0)
            seen.append(revoked.is_current)
            assert seen == [False, True, False]

    asyncio.run(run())


def test_more_than_it_can_follow_is_left_to_the_rows(migrated_database_url: str) -> None:
    async def run() -> None:
        async with following(migrated_database_url, max_rows=2) as revoked:
            assert await revoked.poll()
            for _ in range(2):
                await add_session(migrated_database_url, "now()")
            assert revoked.is_current
            assert not await revoked.poll()
            assert not revoked.is_current, "at once, and not when the last good look is 5 s old"

    asyncio.run(run())


@pytest.mark.parametrize("has_looked", [False, True])
def test_when_they_were_too_many_it_follows_again_as_soon_as_their_tokens_are_over(
    migrated_database_url: str, *, has_looked: bool
) -> None:
    async def run() -> None:
        clock = Clock()
        async with following(migrated_database_url, clock, max_rows=2) as revoked:
            if has_looked:
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


def test_while_they_are_too_many_it_looks_seldom(migrated_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look would read as many again, a second after the last."""
    monkeypatch.setattr(revocations, "POLL_SECONDS", 0.01)

    async def run() -> int:
        looks = 0
        async with following(migrated_database_url, max_rows=0) as revoked:
            poll = revoked.poll

            async def counted() -> bool:
                nonlocal looks
                looks += 1
                return await poll()

            monkeypatch.setattr(revoked, "poll", counted)
            task = asyncio.create_task(revoked.run())
            await asyncio.sleep(0.5)
            task.cancel()
        return looks

    assert asyncio.run(run()) == 1


def test_it_goes_on_looking_when_the_database_was_away(
    migrated_database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(revocations, "POLL_SECONDS", 0.05)

    async def run() -> None:
        rename = "ALTER TABLE {} RENAME TO {}"
        await asyncio.to_thread(databases.execute, migrated_database_url, rename.format("sessions", "gone"))
        async with following(migrated_database_url) as revoked:
            task = asyncio.create_task(revoked.run())
            await until(
                lambda: "revoked sessions unknown; checking rows instead: error=UndefinedTableError" in caplog.messages
            )
            assert not revoked.is_current
            await asyncio.to_thread(databases.execute, migrated_database_url, rename.format("gone", "sessions"))
            await until(lambda: revoked.is_current)
            task.cancel()

    asyncio.run(run())


@pytest.mark.parametrize("stale", [False, True])
def test_a_server_that_has_lost_sight_asks_the_sessions_row(
    client: Client, app: App, monkeypatch: pytest.MonkeyPatch, *, stale: bool
) -> None:
    """The row says it 61 s before the set would look: so only one who asks the row knows."""
    client.sign_in()
    Client(client.http, client.sendgrid).sign_in()  # whose row, which is newer, says nothing of it
    if stale:
        monkeypatch.setattr(revocations, "STALE_SECONDS", 0)
    assert client.as_signed_in("GET", "/auth/sessions").status_code == 200
    revoked = "UPDATE sessions SET revoked_at = now() - interval '5 minutes', revoked_reason = 'signed_out' WHERE id = "
    databases.execute(app.database_url, f"{revoked}'{client.tokens['session']['id']}'")

    assert client.as_signed_in("GET", "/auth/sessions").status_code == (401 if stale else 200)


def test_another_machines_sign_out_is_known_within_two_seconds(client: Client, app: App) -> None:
    client.sign_in()
    revoked = "UPDATE sessions SET revoked_at = now(), revoked_reason = 'signed_out' WHERE id = "
    databases.execute(app.database_url, f"{revoked}'{client.tokens['session']['id']}'")

    assert_soon(lambda: client.as_signed_in("GET", "/auth/sessions").status_code == 401, 2)


def test_a_sign_out_here_is_forgotten_like_one_elsewhere_and_spoils_no_look(client: Client, app: App) -> None:
    client.sign_in()
    assert client.ask("POST", "/auth/logout", {"refresh_token": client.tokens["refresh_token"]}).status_code == 204
    session = UUID(client.tokens["session"]["id"])
    revoked = app.services.revoked_sessions
    assert session in revoked
    app.clock.advance(minutes=12)

    wait_until(lambda: session not in revoked)
    assert revoked.is_current
