"""Jobs of notices: write them every 10 seconds, and send each by e-mail."""

from typing import TYPE_CHECKING
from uuid import UUID

from audifi.auth.jobs import send_email
from audifi.core.jobs.queue import JobType, Schedule
from audifi.notices import service
from audifi.notices.mails import mail
from audifi.notices.queries import ADDRESSED, AddressedRow

if TYPE_CHECKING:
    from audifi.services import Services

EVERY_10_SECONDS = "* * * * * */10"
ATTEMPTS = 12


def jobs(services: "Services") -> list[JobType]:
    async def send(payload: bytes) -> None:
        database = services.background_database
        notice = await database.fetch_one(ADDRESSED, AddressedRow, id=UUID(bytes=payload))
        if notice is None:  # the account was deleted
            return
        await send_email(services.email_sender, mail(notice))

    return [JobType(name=service.JOB, handler=send, attempts=ATTEMPTS)]


def schedules(services: "Services") -> list[Schedule]:
    async def write() -> None:
        while await service.write_new(services.background_database, services.jobs, now=services.clock()):
            pass

    return [Schedule(name="notices", cron=EVERY_10_SECONDS, run=write)]
