"""`python -m audifi emails …`: the delivery status of the e-mails to an address."""

from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy import LargeBinary, any_, bindparam, select
from sqlalchemy.dialects.postgresql import ARRAY

from audifi.auth import addresses
from audifi.core.config.settings import Settings, SettingsError, load
from audifi.core.console import fail, run, show
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.emails.models import EmailEvent, EmailEventName, EmailMessage
from audifi.emails.records import MESSAGES_KEPT, AddressHashes

emails = typer.Typer(no_args_is_help=True, help="E-mails: whether they were accepted and delivered.")

MAX_ROWS = 50
COLUMNS = ["sent at", "for", "accepted at", "event", "at", "reason"]

SUPPRESSED = "Once the mailbox works, remove the address from SendGrid's list: Suppressions → "
NEXT_STEPS: dict[EmailEventName, str] = {
    "delivered": "The mailbox's server took it. Look into the spam folder, filters and the mail server's quarantine.",
    "deferred": "The mailbox's server can't take it now, see the reason. SendGrid tries for up to 72 hours, but a link "
    "to sign in expires after 10 minutes: request another one later.",
    "blocked": "The mailbox's server refused it, see the reason: often it distrusts the sender. SendGrid will try "
    "again with the next e-mail.",
    "bounce": f"The mailbox's server refused the address, see the reason. Is it spelled right? {SUPPRESSED}Bounces.",
    "dropped": "SendGrid sent nothing: the address is on one of its lists, see the reason. Once the mailbox works and "
    "the person wants e-mails, remove the address there: Suppressions → Bounces, Spam Reports or Invalid.",
    "spamreport": "The person marked an e-mail as spam, so SendGrid will drop the next ones. If the person wants them, "
    "remove the address from SendGrid's list: Suppressions → Spam Reports.",
}
NOT_SENT = (
    f"No e-mail was sent to this address in the last {MESSAGES_KEPT.days} days. Is it spelled as the person did? Was "
    "the request refused? *Rate limits exceeded* on the dashboard, and the log, show 429s."
)
NOT_ACCEPTED = "It waits, or its job has failed: `python -m audifi jobs list`, and the log."
NO_EVENT = (
    "SendGrid accepted it and has reported nothing since. `python -m audifi doctor` says whether its Event Webhook is "
    "on; SendGrid's Email Activity shows the e-mail, too."
)


@dataclass(frozen=True, slots=True)
class MessageRow:
    """An e-mail, with one of the events about it."""

    id: UUID
    created_at: datetime
    purpose: str
    accepted_at: datetime | None
    event: EmailEventName | None
    occurred_at: datetime | None
    reason: str | None
    error: str | None


FIND = Statement(
    select(
        EmailMessage.id,
        EmailMessage.created_at,
        EmailMessage.purpose,
        EmailMessage.accepted_at,
        EmailEvent.event,
        EmailEvent.occurred_at,
        EmailEvent.reason,
        EmailMessage.error,
    )
    .outerjoin(EmailEvent, EmailEvent.message_id == EmailMessage.id)
    .where(EmailMessage.address_hash == any_(bindparam("hashes", type_=ARRAY(LargeBinary))))
    .order_by(EmailMessage.created_at.desc(), EmailMessage.id, EmailEvent.occurred_at.desc())
    .limit(MAX_ROWS)
)


@emails.command("show")
def show_emails(address: Annotated[str, typer.Argument(metavar="ADDRESS", help="The recipient's address.")]) -> None:
    """Show the newest e-mails to an address, their delivery status, and what to do next. Times are in UTC."""
    try:
        settings = load(Settings)
        key = addresses.parse(address).key
    except SettingsError as error:
        fail(str(error))
    except addresses.InvalidAddressError:
        fail(f"{address} isn't an e-mail address.")
    hashes = AddressHashes([settings.jwt_secret, settings.jwt_secret_previous]).of(key)

    async def work(tx: Transaction) -> list[MessageRow]:
        return await tx.fetch_all(FIND, MessageRow, hashes=hashes)

    rows = run(work)
    show(COLUMNS, [[*astuple(row)[1:6], row.reason or row.error] for row in rows])
    typer.echo(f"\nNext: {_next_step(rows)}")


@emails.callback()
def _keep_group() -> None:
    """Keep `show` below `emails` although it is the only command there."""


def _next_step(rows: list[MessageRow]) -> str:
    """Return what to do about the newest e-mail."""
    if not rows:
        return NOT_SENT
    newest = rows[0]
    if newest.event is not None:
        return NEXT_STEPS[newest.event]
    return NOT_ACCEPTED if newest.accepted_at is None else NO_EVENT
