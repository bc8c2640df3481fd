"""E-mail, sent by SendGrid, or in development written to the terminal and a folder."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import parseaddr
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    import httpx2

SEND_TIMEOUT_SECONDS = 10
CONNECTIONS = 20  # as many as jobs run at once: no e-mail waits for another
EMAILS_KEPT = 200

REFERENCE_HEADER = "X-Entity-Ref-ID"
ACCEPTED = 202
TRANSIENT_STATUSES = {408, 425, 429}


@dataclass(frozen=True, kw_only=True)
class Email:
    """An e-mail to one person, as text and as HTML (RFC 2046, 5.1.4).

    Raises:
        ValueError: a header contains a line break or another control character.
    """

    to: str = field(repr=False)
    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)
    message_id: str
    """Stays the same when an e-mail is sent again because the result of the first attempt is unknown."""
    purpose: str
    """What it is for, such as `sign_in`: for operators, who look for an e-mail that didn't arrive."""
    bypasses_unsubscribe: bool = False
    """Whether it goes to unsubscribed addresses, too: only for what a person asks for, such as a link to sign in."""

    def __post_init__(self) -> None:
        for value in (self.to, self.subject, self.message_id):
            if not value.isprintable():
                raise ValueError("a header contains a line break or another control character")


class EmailError(Exception):
    """An e-mail wasn't accepted. The message contains no address, no content and nothing of the provider's response."""

    def __init__(self, message: str, *, permanent: bool) -> None:
        super().__init__(message)
        self.permanent = permanent
        """Whether another attempt would fail, too."""


class EmailSender(Protocol):
    async def send(self, email: Email) -> None:
        """
        Raises:
            EmailError: it wasn't accepted in time.
        """
        ...

    async def close(self) -> None: ...


class SendGridSender:
    """https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send

    Raises:
        ValueError: the key doesn't fit into a header, or the sender is neither an address nor `Name <address>`.
    """

    def __init__(
        self, *, api_url: str, api_key: str, sender: str, timeout_seconds: float = SEND_TIMEOUT_SECONDS
    ) -> None:
        if not (api_key.isascii() and api_key.isprintable()):
            raise ValueError(
                "the key for SendGrid contains a character that a header can't"
            )  # httpx2's error quotes it
        self._url = f"{api_url}/v3/mail/send"
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._name, self._address = parseaddr(sender)
        if "@" not in self._address:
            raise ValueError("the sender of mail must be an address, or `Name <address>`")
        self._timeout_seconds = timeout_seconds
        self._client: httpx2.AsyncClient | None = None

    async def send(self, email: Email) -> None:
        import httpx2  # noqa: PLC0415 - imported when the first e-mail is sent

        from audifi.core.http_client import open_client  # noqa: PLC0415 - as above

        if self._client is None:
            self._client = open_client(
                self._timeout_seconds,
                limits=httpx2.Limits(max_connections=CONNECTIONS),
                headers=self._headers,
            )
        try:
            async with asyncio.timeout(self._timeout_seconds):
                response = await self._client.post(self._url, json=self._content(email))
        except (httpx2.HTTPError, OSError) as error:  # of which TimeoutError is one
            raise EmailError(f"SendGrid: {type(error).__name__}", permanent=False) from None
        status = response.status_code
        if status != ACCEPTED:
            permanent = 400 <= status < 500 and status not in TRANSIENT_STATUSES  # noqa: PLR2004 - RFC 9110, 15.5
            raise EmailError(f"SendGrid answered {status}", permanent=permanent)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    def _content(self, email: Email) -> dict[str, object]:
        sender = {"email": self._address} | ({"name": self._name} if self._name else {})
        return {
            "personalizations": [{"to": [{"email": email.to}]}],
            "from": sender,
            "subject": email.subject,
            "content": [{"type": "text/plain", "value": email.text}, {"type": "text/html", "value": email.html}],
            # Gmail folds e-mails of one sender and subject into a thread, unless this header tells them apart.
            "headers": {REFERENCE_HEADER: email.message_id},
            "custom_args": {"message_id": email.message_id},  # events about the e-mail carry it
            # Bounces and spam reports still count: sending to those addresses harms the sender's reputation.
            "mail_settings": {"bypass_unsubscribe_management": {"enable": email.bypasses_unsubscribe}},
            # SendGrid would replace our links with its own and record who opens what.
            "tracking_settings": {
                "click_tracking": {"enable": False, "enable_text": False},
                "open_tracking": {"enable": False},
                "subscription_tracking": {"enable": False},
            },
        }


class ConsoleSender:
    """Development only: prints the text of an e-mail, and keeps it for a browser or mail program."""

    def __init__(self, *, folder: Path, stream: TextIO) -> None:
        self._folder = folder
        self._stream = stream

    async def send(self, email: Email) -> None:
        page = await asyncio.to_thread(self._save, email)
        lines = [
            f"To: {email.to}",
            f"Subject: {email.subject}",
            "",
            *email.text.strip().splitlines(),
            "",
            page.as_uri(),
        ]
        frame = "─" * 100
        print("", frame, *lines, frame, "", sep="\n  ", file=self._stream, flush=True)

    async def close(self) -> None: ...

    def _save(self, email: Email) -> Path:
        message = EmailMessage(policy=SMTP)
        message["To"], message["Subject"] = email.to, email.subject
        message["Message-ID"] = f"<{email.message_id}@audifi>"
        message[REFERENCE_HEADER] = email.message_id
        message.set_content(email.text)
        message.add_alternative(email.html, subtype="html")
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"{datetime.now(UTC):%Y-%m-%dT%H%M%S.%f}-{secrets.token_hex(4)}"  # two can share a microsecond
        page = self._folder / f"{name}.html"
        for file, content in ((page, email.html.encode()), (page.with_suffix(".eml"), message.as_bytes())):
            partial = file.with_suffix(f"{file.suffix}.partial")
            partial.write_bytes(content)
            partial.rename(file)
        for old in sorted(self._folder.glob("*.html"))[:-EMAILS_KEPT]:
            for file in (old, old.with_suffix(".eml")):
                file.unlink(missing_ok=True)
        return page.resolve()


class CountedSender:
    """Counts e-mails by result: `sent` or `failed`."""

    def __init__(self, sender: EmailSender, count: Callable[[str], None]) -> None:
        self._sender = sender
        self._count = count

    async def send(self, email: Email) -> None:
        try:
            await self._sender.send(email)
        except EmailError:
            self._count("failed")
            raise
        self._count("sent")

    async def close(self) -> None:
        await self._sender.close()
