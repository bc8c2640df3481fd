"""Mail, handed to SendGrid, or in development to the terminal and a folder."""

import asyncio
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import parseaddr
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    import httpx2

CONNECT_TIMEOUT_SECONDS = 3
SEND_TIMEOUT_SECONDS = 10
CONNECTIONS = 20  # as many as jobs run at once: none waits for another's
MAILS_KEPT = 200

ACCEPTED = 202
WORTH_ANOTHER_TRY = {408, 425, 429}


@dataclass(frozen=True, kw_only=True)
class Mail:
    """To one person, with both kinds of body (RFC 2046, 5.1.4).

    Raises:
        ValueError: a line break in what becomes a header.
    """

    to: str = field(repr=False)
    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)
    message_id: str
    """The same when a mail is sent again because nobody knows whether it was."""

    def __post_init__(self) -> None:
        for value in (self.to, self.subject, self.message_id):
            if not value.isprintable():
                raise ValueError("a header holds a line break or another control character")


class MailError(Exception):
    """A mail wasn't taken. The message holds neither address nor content, nor what the provider said."""

    def __init__(self, message: str, *, permanent: bool) -> None:
        super().__init__(message)
        self.permanent = permanent
        """Whether trying again can't help."""


class Mailer(Protocol):
    async def send(self, mail: Mail) -> None:
        """
        Raises:
            MailError: it wasn't taken, or not in time.
        """
        ...

    async def close(self) -> None: ...


class SendGridMailer:
    """https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send

    Raises:
        ValueError: the key can't be in a header, or the sender is neither an address nor `Name <address>`.
    """

    def __init__(
        self, *, api_url: str, api_key: str, sender: str, timeout_seconds: float = SEND_TIMEOUT_SECONDS
    ) -> None:
        if not (api_key.isascii() and api_key.isprintable()):
            raise ValueError("the key for SendGrid holds a character that a header can't")  # httpx2's error quotes it
        self._url = f"{api_url}/v3/mail/send"
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._name, self._address = parseaddr(sender)
        if "@" not in self._address:
            raise ValueError("the sender of mail must be an address, or `Name <address>`")
        self._timeout_seconds = timeout_seconds
        self._client: httpx2.AsyncClient | None = None

    async def send(self, mail: Mail) -> None:
        import httpx2  # noqa: PLC0415 - a server that sends none does without

        if self._client is None:
            self._client = httpx2.AsyncClient(
                headers=self._headers,
                timeout=httpx2.Timeout(self._timeout_seconds, connect=CONNECT_TIMEOUT_SECONDS),
                limits=httpx2.Limits(max_connections=CONNECTIONS),
                follow_redirects=False,
                trust_env=False,
            )
        try:
            async with asyncio.timeout(self._timeout_seconds):
                response = await self._client.post(self._url, json=self._content(mail))
        except (httpx2.HTTPError, OSError) as error:  # of which TimeoutError is one
            raise MailError(f"SendGrid: {type(error).__name__}", permanent=False) from None
        status = response.status_code
        if status != ACCEPTED:
            permanent = 400 <= status < 500 and status not in WORTH_ANOTHER_TRY  # noqa: PLR2004 - RFC 9110, 15.5
            raise MailError(f"SendGrid answered {status}", permanent=permanent)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    def _content(self, mail: Mail) -> dict[str, object]:
        sender = {"email": self._address} | ({"name": self._name} if self._name else {})
        return {
            "personalizations": [{"to": [{"email": mail.to}]}],
            "from": sender,
            "subject": mail.subject,
            "content": [{"type": "text/plain", "value": mail.text}, {"type": "text/html", "value": mail.html}],
            "custom_args": {"message_id": mail.message_id},
            # It would put links of its own in place of ours, and learn who opens what.
            "tracking_settings": {
                "click_tracking": {"enable": False, "enable_text": False},
                "open_tracking": {"enable": False},
                "subscription_tracking": {"enable": False},
            },
        }


class ConsoleMailer:
    """For development: prints a mail's text, and keeps it to be opened in a browser or a mail program."""

    def __init__(self, *, folder: Path, stream: TextIO) -> None:
        self._folder = folder
        self._stream = stream

    async def send(self, mail: Mail) -> None:
        page = await asyncio.to_thread(self._keep, mail)
        lines = [
            f"To: {mail.to}",
            f"Subject: {mail.subject}",
            "",
            *mail.text.strip().splitlines(),
            "",
            page.as_uri(),
        ]
        frame = "─" * 100
        print("", frame, *lines, frame, "", sep="\n  ", file=self._stream, flush=True)

    async def close(self) -> None: ...

    def _keep(self, mail: Mail) -> Path:
        message = EmailMessage(policy=SMTP)
        message["To"], message["Subject"] = mail.to, mail.subject
        message["Message-ID"] = f"<{mail.message_id}@audifi>"
        message.set_content(mail.text)
        message.add_alternative(mail.html, subtype="html")
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"{datetime.now(UTC):%Y-%m-%dT%H%M%S.%f}-{secrets.token_hex(4)}"  # mails can share a microsecond
        page = self._folder / f"{name}.html"
        for file, content in ((page, mail.html.encode()), (page.with_suffix(".eml"), message.as_bytes())):
            partial = file.with_suffix(f"{file.suffix}.partial")
            partial.write_bytes(content)
            partial.rename(file)
        for old in sorted(self._folder.glob("*.html"))[:-MAILS_KEPT]:
            for file in (old, old.with_suffix(".eml")):
                file.unlink(missing_ok=True)
        return page.resolve()
