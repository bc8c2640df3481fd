"""The record of each e-mail: before it is sent, its result, and for how long it is kept."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from audifi.core.clock import utc_now
from audifi.core.db.retention import delete_expired
from audifi.core.email.sender import Email, EmailError
from audifi.emails.records import AddressHashes, RecordingSender, expired
from tests.support import databases

OLD, NEW = SecretStr("o" * 32), SecretStr("n" * 32)


class Provider:
    """Accepts e-mails, or fails."""

    error: EmailError | None = None
    is_closed = False

    async def send(self, _: Email) -> None:
        if self.error:
            raise self.error

    async def close(self) -> None:
        self.is_closed = True


def an_email(message_id: UUID, to: str = "ana@example.com") -> Email:
    return Email(to=to, subject="", text="", html="", message_id=str(message_id), purpose="sign_in")


def send(database_url: str, provider: Provider, *emails: Email) -> None:
    async def run() -> None:
        async with databases.connect_pools(database_url) as database:
            sender = RecordingSender(provider, database=database, hashes=AddressHashes([NEW, None]), clock=utc_now)
            try:
                for email in emails:
                    await sender.send(email)
            finally:
                await sender.close()

    asyncio.run(run())


def result_of(database_url: str, message_id: UUID) -> object:
    result = "(accepted_at IS NOT NULL) || ' ' || coalesce(error, '-')"
    return databases.fetch_value(database_url, f"SELECT {result} FROM email_messages WHERE id = '{message_id}'")


def test_accepted_email_is_recorded_without_its_address(database_url: str) -> None:
    message_id, provider = uuid4(), Provider()
    send(database_url, provider, an_email(message_id, to="Ana@Example.com"))

    assert result_of(database_url, message_id) == "true -"
    assert provider.is_closed
    row = databases.fetch_value(database_url, f"SELECT to_json(m) FROM email_messages AS m WHERE id = '{message_id}'")
    assert '"purpose":"sign_in"' in str(row)
    assert "example" not in str(row).lower()


def test_refusal_is_recorded_until_a_retry_succeeds(database_url: str) -> None:
    message_id, provider = uuid4(), Provider()
    provider.error = EmailError("SendGrid answered 503", permanent=False)
    with pytest.raises(EmailError):
        send(database_url, provider, an_email(message_id))
    assert result_of(database_url, message_id) == "false SendGrid answered 503"

    provider.error = None
    send(database_url, provider, an_email(message_id))
    assert result_of(database_url, message_id) == "true -"


def test_hash_needs_the_secret_and_no_spelling() -> None:
    both = AddressHashes([NEW, OLD])

    assert both.of("Ana@Example.com") == both.of("ana@example.com")
    assert both.of("ana@example.com") == [AddressHashes([secret]).of("ana@example.com")[0] for secret in (NEW, OLD)]
    assert len({*both.of("ana@example.com"), *both.of("bob@example.com")}) == 4


def test_records_are_kept_for_thirty_days(migrated_database_url: str) -> None:
    url, messages = migrated_database_url, [uuid4(), uuid4()]
    send(url, Provider(), *map(an_email, messages))
    databases.execute(
        url,
        "INSERT INTO email_events SELECT id, 'dropped', '', now() FROM email_messages",
        f"UPDATE email_messages SET created_at = now() - interval '29 days' WHERE id = '{messages[0]}'",
        f"UPDATE email_messages SET created_at = now() - interval '31 days' WHERE id = '{messages[1]}'",
    )

    async def delete() -> dict[str, int]:
        async with databases.connect_pools(url) as database:
            return await delete_expired(database, expired(utc_now()))

    assert asyncio.run(delete()) == {"email_messages": 1}
    assert databases.fetch_value(url, "SELECT string_agg(message_id::text, ' ') FROM email_events") == str(messages[0])
    assert expired(utc_now())[0].before < utc_now() - timedelta(days=29)
