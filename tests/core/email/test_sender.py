"""E-mail senders: SendGrid's requests, the console's output, and failures."""

import asyncio
import email
import io
import json
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any, override

import pytest

from audifi.core.email import sender as senders
from audifi.core.email.sender import ConsoleSender, Email, EmailError, EmailSender, SendGridSender
from tests.support import web

API_KEY = "SG.the-key"
CONTROL_CHARACTERS = ["\r", "\n", "\r\n", "\0", "\x1b", "\x7f", "\x85", "\u2028"]
EMAIL = Email(
    to="ada@example.com",
    subject="Sign in to AudiFi",
    text="As text: 1234 5678\n",
    html="<p>As HTML: 1234 5678</p>\n",
    message_id="0199-message",
    purpose="sign_in",
)
SECRETS = [API_KEY, "ada@example.com", "1234 5678", "As text", "As HTML"]


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Provider:
    """An HTTP server that records requests and returns configured responses."""

    url: str = ""
    status: int = 202
    body: bytes = b""
    location: str = ""
    drips: bool = False
    """Whether it sends single bytes and never completes the response."""
    hangs: bool = False
    requests: list[Request] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)


@contextmanager
def running() -> Iterator[Provider]:
    provider = Provider()

    class Handler(web.Handler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.read())
            headers = {name.lower(): value for name, value in self.headers.items()}
            provider.requests.append(Request(self.path, headers, body))
            if provider.hangs:
                provider.closing.wait()
                return
            if provider.drips:
                self.drip()
                return
            self.reply(provider.status, provider.body, **{"location": provider.location} if provider.location else {})

        def drip(self) -> None:
            self.send_response(provider.status)
            try:
                while not provider.closing.wait(0.05):
                    self.send_header("x-more", "to come")
                    self.flush_headers()
            except OSError:
                pass  # the client has disconnected
            self.close_connection = True

    with web.serving(Handler) as provider.url:
        try:
            yield provider
        finally:
            provider.closing.set()


@pytest.fixture
def provider() -> Iterator[Provider]:
    with running() as provider:
        yield provider


def create_sendgrid_sender(
    url: str, *, sender: str = "AudiFi <hello@audifi.example>", seconds: float = 5
) -> SendGridSender:
    return SendGridSender(api_url=url, api_key=API_KEY, sender=sender, timeout_seconds=seconds)


def send(sender: EmailSender, *sent: Email) -> None:
    async def send() -> None:
        try:
            for mail in sent:
                await sender.send(mail)
        finally:
            await sender.close()

    asyncio.run(send())


def a_mail(*, to: str = EMAIL.to, subject: str = EMAIL.subject, text: str = EMAIL.text, message_id: str = "0") -> Email:
    return Email(to=to, subject=subject, text=text, html=EMAIL.html, message_id=message_id, purpose="sign_in")


def failure(sender: EmailSender) -> EmailError:
    with pytest.raises(EmailError) as caught:
        send(sender, EMAIL)
    return caught.value


def test_sendgrid_request_has_exactly_the_email(provider: Provider) -> None:
    send(create_sendgrid_sender(provider.url), EMAIL)

    [request] = provider.requests
    assert request.path == "/v3/mail/send"
    assert request.headers["authorization"] == f"Bearer {API_KEY}"
    assert request.headers["content-type"] == "application/json"
    assert request.body == {
        "personalizations": [{"to": [{"email": "ada@example.com"}]}],
        "from": {"email": "hello@audifi.example", "name": "AudiFi"},
        "subject": "Sign in to AudiFi",
        # SendGrid refuses the other order.
        "content": [
            {"type": "text/plain", "value": "As text: 1234 5678\n"},
            {"type": "text/html", "value": "<p>As HTML: 1234 5678</p>\n"},
        ],
        "headers": {"X-Entity-Ref-ID": "0199-message"},
        "custom_args": {"message_id": "0199-message"},
        "mail_settings": {"bypass_unsubscribe_management": {"enable": False}},
        "tracking_settings": {
            "click_tracking": {"enable": False, "enable_text": False},
            "open_tracking": {"enable": False},
            "subscription_tracking": {"enable": False},
        },
    }


def test_email_can_bypass_unsubscribes_and_nothing_else(provider: Provider) -> None:
    send(create_sendgrid_sender(provider.url), replace(EMAIL, bypasses_unsubscribe=True))

    assert provider.requests[0].body["mail_settings"] == {"bypass_unsubscribe_management": {"enable": True}}


def test_emails_have_references_of_their_own(provider: Provider) -> None:
    send(create_sendgrid_sender(provider.url), a_mail(message_id="1"), a_mail(message_id="2"))

    assert [request.body["headers"] for request in provider.requests] == [
        {"X-Entity-Ref-ID": "1"},
        {"X-Entity-Ref-ID": "2"},
    ]


def test_sender_may_have_no_name(provider: Provider) -> None:
    send(create_sendgrid_sender(provider.url, sender="hello@audifi.example"), EMAIL)

    assert provider.requests[0].body["from"] == {"email": "hello@audifi.example"}


def test_characters_beyond_ascii_arrive(provider: Provider) -> None:
    send(
        create_sendgrid_sender(provider.url, sender='"Áudi, Fi" <hello@audifi.example>'),
        a_mail(to="jörg@exämple.com", subject="Für dich ♫"),
    )

    body = provider.requests[0].body
    assert body["from"]["name"] == "Áudi, Fi"
    assert body["personalizations"][0]["to"] == [{"email": "jörg@exämple.com"}]
    assert body["subject"] == "Für dich ♫"


def test_resent_email_keeps_its_message_id(provider: Provider) -> None:
    send(create_sendgrid_sender(provider.url), EMAIL, EMAIL)

    assert [request.body["custom_args"] for request in provider.requests] == [{"message_id": "0199-message"}] * 2


def test_proxies_of_the_environment_are_ignored(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        send(create_sendgrid_sender(provider.url), EMAIL)

    assert not proxy.requests
    assert len(provider.requests) == 1


@pytest.mark.parametrize("status", [301, 307])
def test_redirect_is_not_followed(provider: Provider, status: int) -> None:
    with running() as elsewhere:
        provider.status, provider.location = status, elsewhere.url
        error = failure(create_sendgrid_sender(provider.url))

    assert not elsewhere.requests
    assert len(provider.requests) == 1
    assert not error.permanent


@pytest.mark.parametrize(
    "sender", ["", "AudiFi", "Audi, Fi <hello@audifi.example>", "a@audifi.example, b@audifi.example"]
)
def test_invalid_sender_is_refused_at_the_start(sender: str) -> None:
    with pytest.raises(ValueError, match="sender of mail") as caught:
        create_sendgrid_sender("http://127.0.0.1", sender=sender)

    assert "audifi.example" not in str(caught.value)


@pytest.mark.parametrize("key", ["SG.s3cr3t\n", "SG.s3cr3t\u00e9", "SG.s3cr3t\0"])
def test_invalid_key_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ValueError, match="key for SendGrid") as caught:
        SendGridSender(api_url="http://127.0.0.1", api_key=key, sender="hello@audifi.example")

    assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))
    assert "s3cr3t" not in repr(caught.value)


def test_connections_are_limited() -> None:
    """The provider answers only when the maximum number of requests has arrived; then the others follow."""
    open_now, most = 0, 0

    async def send_more_than_fit() -> None:
        full = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal open_now, most
            open_now += 1
            most = max(most, open_now)
            if open_now == senders.CONNECTIONS:
                asyncio.get_running_loop().call_later(0.1, full.set)  # time for an excess request to arrive
            head = await reader.readuntil(b"\r\n\r\n")
            headers = email.message_from_bytes(head.partition(b"\r\n")[2])
            await reader.readexactly(int(headers["content-length"]))
            await full.wait()
            open_now -= 1
            writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            sender = create_sendgrid_sender(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            await asyncio.gather(*[sender.send(EMAIL) for _ in range(senders.CONNECTIONS + 10)])
            await sender.close()

    asyncio.run(send_more_than_fit())
    assert most == senders.CONNECTIONS == 20


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
def test_refusal_by_sendgrid_is_permanent(provider: Provider, status: int) -> None:
    provider.status = status

    error = failure(create_sendgrid_sender(provider.url))

    assert error.permanent
    assert str(status) in str(error)
    assert len(provider.requests) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
def test_failure_of_sendgrid_is_transient(provider: Provider, status: int) -> None:
    provider.status = status

    error = failure(create_sendgrid_sender(provider.url))

    assert not error.permanent
    assert str(status) in str(error)
    assert len(provider.requests) == 1, "when to try again is up to the caller"


@pytest.mark.parametrize("status", [200, 204, 302])
def test_other_success_statuses_are_failures(provider: Provider, status: int) -> None:
    """SendGrid doesn't send them; they come from an intermediary."""
    provider.status = status

    assert not failure(create_sendgrid_sender(provider.url)).permanent


def test_refused_connection_is_transient() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))  # bound, but not listening
        error = failure(create_sendgrid_sender(f"http://127.0.0.1:{unheard.getsockname()[1]}"))

    assert not error.permanent


@pytest.mark.parametrize("way", ["hangs", "drips"])
def test_endless_response_times_out(provider: Provider, way: str) -> None:
    """A slow stream of bytes satisfies each read's timeout, but not the total one."""
    setattr(provider, way, True)
    began = time.monotonic()

    error = failure(create_sendgrid_sender(provider.url, seconds=2))

    assert not error.permanent
    assert 1.9 < time.monotonic() - began < 9
    assert len(provider.requests) == 1


def test_sender_works_after_a_failure(provider: Provider) -> None:
    sender = create_sendgrid_sender(provider.url)

    async def fail_and_send() -> None:
        provider.status = 503
        with pytest.raises(EmailError):
            await sender.send(EMAIL)
        provider.status = 202
        await sender.send(EMAIL)
        await sender.close()

    asyncio.run(fail_and_send())
    assert len(provider.requests) == 2


def test_unused_sender_can_be_closed(provider: Provider) -> None:
    send(create_sendgrid_sender(provider.url))

    assert not provider.requests


def test_errors_and_reprs_show_no_secret(provider: Provider) -> None:
    provider.body = " ".join(SECRETS).encode()  # SendGrid's errors quote the request
    sender = create_sendgrid_sender(provider.url, seconds=0.3)
    texts = [repr(EMAIL), str(EMAIL), repr(sender)]
    for status, hangs in ((400, False), (503, False), (202, True)):
        provider.status, provider.hangs = status, hangs
        error = failure(create_sendgrid_sender(provider.url, seconds=0.3))
        assert error.__cause__ is None
        assert error.__context__ is None or error.__suppress_context__, "tracebacks would go on to what httpx2 says"
        texts += [str(error), repr(error), "".join(traceback.format_exception(error))]

    assert not [(secret, text) for secret in SECRETS for text in texts if secret in text]
    assert "0199-message" in repr(EMAIL)


def test_console_sender_prints_the_text(tmp_path: Path) -> None:
    stream = io.StringIO()
    send(ConsoleSender(folder=tmp_path / "not" / "yet", stream=stream), EMAIL)

    lines = [line.strip() for line in stream.getvalue().splitlines()]
    assert "To: ada@example.com" in lines
    assert "Subject: Sign in to AudiFi" in lines
    assert "As text: 1234 5678" in lines
    assert "As HTML" not in stream.getvalue()
    [page] = (tmp_path / "not" / "yet").glob("*.html")
    assert page.resolve().as_uri() in lines


def kept(folder: Path) -> EmailMessage:
    [file] = folder.glob("*.eml")
    return email.message_from_bytes(file.read_bytes(), policy=default)


def content(message: EmailMessage, subtype: str) -> str:
    part = message.get_body([subtype])
    assert isinstance(part, EmailMessage)
    text: str = part.get_content()
    return text.replace("\r\n", "\n")  # the line ending of e-mails


def test_console_sender_saves_html_and_eml(tmp_path: Path) -> None:
    send(ConsoleSender(folder=tmp_path, stream=io.StringIO()), EMAIL)

    page, message = sorted(tmp_path.iterdir(), key=lambda file: file.suffix, reverse=True)
    assert (page.suffix, message.suffix) == (".html", ".eml")
    assert page.stem == message.stem
    assert page.read_bytes() == EMAIL.html.encode()
    parsed = kept(tmp_path)
    assert not parsed.defects
    assert parsed["To"] == "ada@example.com"
    assert parsed["Subject"] == "Sign in to AudiFi"
    assert "0199-message" in parsed["Message-ID"]
    assert parsed["X-Entity-Ref-ID"] == "0199-message"
    assert parsed.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in parsed.iter_parts()] == ["text/plain", "text/html"]
    assert (content(parsed, "plain"), content(parsed, "html")) == (EMAIL.text, EMAIL.html)


def test_saved_email_keeps_long_lines_and_any_text(tmp_path: Path) -> None:
    """A line has at most 998 bytes (RFC 5322, 2.1.1); headers are folded much earlier."""
    text = f"♫ {'x' * 3000}\n.\nFrom here\n"
    mail = a_mail(to="jörg@exämple.com", subject=f"♫ {'long ' * 40}end", text=text)
    send(ConsoleSender(folder=tmp_path, stream=io.StringIO()), mail)

    parsed = kept(tmp_path)
    assert parsed["To"] == mail.to
    assert parsed["Subject"] == mail.subject
    assert content(parsed, "plain") == text
    [file] = tmp_path.glob("*.eml")
    lines = file.read_bytes().split(b"\r\n")
    assert max(len(line) for line in lines) <= 998
    assert not [line for line in lines if b"\n" in line]


def test_emails_of_one_moment_are_all_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(datetime):
        @classmethod
        @override
        def now(cls, tz: tzinfo | None = None) -> "Stopped":
            return cls(2026, 1, 1, tzinfo=tz)

    monkeypatch.setattr(senders, "datetime", Stopped)
    sender = ConsoleSender(folder=tmp_path, stream=io.StringIO())

    async def send_at_once() -> None:
        await asyncio.gather(*[sender.send(a_mail(message_id=str(number))) for number in range(20)])

    asyncio.run(send_at_once())
    messages = [email.message_from_bytes(file.read_bytes()) for file in tmp_path.glob("*.eml")]
    assert {message["Message-ID"] for message in messages} == {f"<{number}@audifi>" for number in range(20)}
    assert len(list(tmp_path.iterdir())) == 20 + 20


def test_console_sender_keeps_the_newest_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert senders.EMAILS_KEPT == 200
    monkeypatch.setattr(senders, "EMAILS_KEPT", 3)
    (tmp_path / "somebody's.txt").touch()
    sent = [a_mail(message_id=str(number)) for number in range(5)]
    send(ConsoleSender(folder=tmp_path, stream=io.StringIO()), *sent)

    messages = [email.message_from_bytes(file.read_bytes()) for file in sorted(tmp_path.glob("*.eml"))]
    assert [message["Message-ID"] for message in messages] == ["<2@audifi>", "<3@audifi>", "<4@audifi>"]
    assert sorted(file.stem for file in tmp_path.glob("*.html")) == sorted(file.stem for file in tmp_path.glob("*.eml"))
    assert len(list(tmp_path.iterdir())) == 3 + 3 + 1


@pytest.mark.parametrize("character", CONTROL_CHARACTERS)
def test_control_characters_in_headers_are_refused(character: str) -> None:
    injected = f"Hello{character}Bcc: eve@example.com"
    with pytest.raises(ValueError, match="control character") as caught:
        a_mail(to=injected)
    assert "eve@" not in str(caught.value)
    with pytest.raises(ValueError, match="control character"):
        a_mail(subject=injected)
    with pytest.raises(ValueError, match="control character"):
        a_mail(message_id=injected)
