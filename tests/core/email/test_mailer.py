"""Mail, as SendGrid gets it and as a developer sees it; and what becomes of it when it isn't taken."""

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
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any, override

import pytest

from audifi.core.email import mailer as mails
from audifi.core.email.mailer import ConsoleMailer, Mail, Mailer, MailError, SendGridMailer
from tests.support import web

API_KEY = "SG.the-key"
CONTROL_CHARACTERS = ["\r", "\n", "\r\n", "\0", "\x1b", "\x7f", "\x85", "\u2028"]
MAIL = Mail(
    to="ada@example.com",
    subject="Sign in to AudiFi",
    text="As text: 1234 5678\n",
    html="<p>As HTML: 1234 5678</p>\n",
    message_id="0199-message",
)
SECRETS = [API_KEY, "ada@example.com", "1234 5678", "As text", "As HTML"]


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Provider:
    """An HTTP server that keeps what it gets, and answers what it is told to."""

    url: str = ""
    status: int = 202
    body: bytes = b""
    location: str = ""
    drips: bool = False
    """Whether it answers with a byte now and then, and never ends."""
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
                pass  # the client has had enough
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


def sendgrid_mailer(url: str, *, sender: str = "AudiFi <hello@audifi.example>", seconds: float = 5) -> SendGridMailer:
    return SendGridMailer(api_url=url, api_key=API_KEY, sender=sender, timeout_seconds=seconds)


def send(mailer: Mailer, *sent: Mail) -> None:
    async def send() -> None:
        try:
            for mail in sent:
                await mailer.send(mail)
        finally:
            await mailer.close()

    asyncio.run(send())


def a_mail(*, to: str = MAIL.to, subject: str = MAIL.subject, text: str = MAIL.text, message_id: str = "0") -> Mail:
    return Mail(to=to, subject=subject, text=text, html=MAIL.html, message_id=message_id)


def failure(mailer: Mailer) -> MailError:
    with pytest.raises(MailError) as caught:
        send(mailer, MAIL)
    return caught.value


def test_sendgrid_gets_exactly_the_mail(provider: Provider) -> None:
    send(sendgrid_mailer(provider.url), MAIL)

    [request] = provider.requests
    assert request.path == "/v3/mail/send"
    assert request.headers["authorization"] == f"Bearer {API_KEY}"
    assert request.headers["content-type"] == "application/json"
    assert request.body == {
        "personalizations": [{"to": [{"email": "ada@example.com"}]}],
        "from": {"email": "hello@audifi.example", "name": "AudiFi"},
        "subject": "Sign in to AudiFi",
        # SendGrid refuses them in the other order.
        "content": [
            {"type": "text/plain", "value": "As text: 1234 5678\n"},
            {"type": "text/html", "value": "<p>As HTML: 1234 5678</p>\n"},
        ],
        "custom_args": {"message_id": "0199-message"},
        "tracking_settings": {
            "click_tracking": {"enable": False, "enable_text": False},
            "open_tracking": {"enable": False},
            "subscription_tracking": {"enable": False},
        },
    }


def test_a_sender_may_have_no_name(provider: Provider) -> None:
    send(sendgrid_mailer(provider.url, sender="hello@audifi.example"), MAIL)

    assert provider.requests[0].body["from"] == {"email": "hello@audifi.example"}


def test_characters_beyond_ascii_arrive(provider: Provider) -> None:
    send(
        sendgrid_mailer(provider.url, sender='"Áudi, Fi" <hello@audifi.example>'),
        a_mail(to="jörg@exämple.com", subject="Für dich ♫"),
    )

    body = provider.requests[0].body
    assert body["from"]["name"] == "Áudi, Fi"
    assert body["personalizations"][0]["to"] == [{"email": "jörg@exämple.com"}]
    assert body["subject"] == "Für dich ♫"


def test_a_mail_that_is_sent_again_has_the_same_message_id(provider: Provider) -> None:
    send(sendgrid_mailer(provider.url), MAIL, MAIL)

    assert [request.body["custom_args"] for request in provider.requests] == [{"message_id": "0199-message"}] * 2


def test_proxies_of_the_environment_see_no_mail(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        send(sendgrid_mailer(provider.url), MAIL)

    assert not proxy.requests
    assert len(provider.requests) == 1


@pytest.mark.parametrize("status", [301, 307])
def test_a_redirect_takes_neither_mail_nor_key_elsewhere(provider: Provider, status: int) -> None:
    with running() as elsewhere:
        provider.status, provider.location = status, elsewhere.url
        error = failure(sendgrid_mailer(provider.url))

    assert not elsewhere.requests
    assert len(provider.requests) == 1
    assert not error.permanent


@pytest.mark.parametrize(
    "sender", ["", "AudiFi", "Audi, Fi <hello@audifi.example>", "a@audifi.example, b@audifi.example"]
)
def test_a_sender_that_is_no_address_is_refused_at_the_start(sender: str) -> None:
    with pytest.raises(ValueError, match="sender of mail") as caught:
        sendgrid_mailer("http://127.0.0.1", sender=sender)

    assert "audifi.example" not in str(caught.value)


@pytest.mark.parametrize("key", ["SG.s3cr3t\n", "SG.s3cr3t\u00e9", "SG.s3cr3t\0"])
def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ValueError, match="key for SendGrid") as caught:
        SendGridMailer(api_url="http://127.0.0.1", api_key=key, sender="hello@audifi.example")

    assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))
    assert "s3cr3t" not in repr(caught.value)


def test_connections_are_limited() -> None:
    """The provider answers none before as many have come as may; then the others take their places."""
    open_now, most = 0, 0

    async def send_more_than_fit() -> None:
        full = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal open_now, most
            open_now += 1
            most = max(most, open_now)
            if open_now == mails.CONNECTIONS:
                asyncio.get_running_loop().call_later(0.1, full.set)  # time for one too many to show
            head = await reader.readuntil(b"\r\n\r\n")
            headers = email.message_from_bytes(head.partition(b"\r\n")[2])
            await reader.readexactly(int(headers["content-length"]))
            await full.wait()
            open_now -= 1
            writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            mailer = sendgrid_mailer(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            await asyncio.gather(*[mailer.send(MAIL) for _ in range(mails.CONNECTIONS + 10)])
            await mailer.close()

    asyncio.run(send_more_than_fit())
    assert most == mails.CONNECTIONS == 20


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
def test_a_mail_that_sendgrid_refuses_is_not_worth_another_try(provider: Provider, status: int) -> None:
    provider.status = status

    error = failure(sendgrid_mailer(provider.url))

    assert error.permanent
    assert str(status) in str(error)
    assert len(provider.requests) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
def test_a_mail_that_sendgrid_cant_take_now_may_be_tried_again(provider: Provider, status: int) -> None:
    provider.status = status

    error = failure(sendgrid_mailer(provider.url))

    assert not error.permanent
    assert str(status) in str(error)
    assert len(provider.requests) == 1, "when to try again is up to the caller"


@pytest.mark.parametrize("status", [200, 204, 302])
def test_nothing_but_accepted_means_that_a_mail_was_taken(provider: Provider, status: int) -> None:
    """Such an answer is not SendGrid's, but of something in between."""
    provider.status = status

    assert not failure(sendgrid_mailer(provider.url)).permanent


def test_a_refused_connection_may_be_tried_again() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))  # and doesn't listen
        error = failure(sendgrid_mailer(f"http://127.0.0.1:{unheard.getsockname()[1]}"))

    assert not error.permanent


@pytest.mark.parametrize("way", ["hangs", "drips"])
def test_a_server_that_doesnt_come_to_an_end_is_left_in_time(provider: Provider, way: str) -> None:
    """One that drips answers each read in time."""
    setattr(provider, way, True)
    began = time.monotonic()

    error = failure(sendgrid_mailer(provider.url, seconds=2))

    assert not error.permanent
    assert 1.9 < time.monotonic() - began < 9
    assert len(provider.requests) == 1


def test_a_mailer_goes_on_after_a_failure(provider: Provider) -> None:
    mailer = sendgrid_mailer(provider.url)

    async def fail_and_send() -> None:
        provider.status = 503
        with pytest.raises(MailError):
            await mailer.send(MAIL)
        provider.status = 202
        await mailer.send(MAIL)
        await mailer.close()

    asyncio.run(fail_and_send())
    assert len(provider.requests) == 2


def test_a_mailer_that_sent_nothing_can_be_closed(provider: Provider) -> None:
    send(sendgrid_mailer(provider.url))

    assert not provider.requests


def test_neither_errors_nor_reprs_tell_the_key_the_address_or_the_content(provider: Provider) -> None:
    provider.body = " ".join(SECRETS).encode()  # SendGrid's errors quote what they are about
    mailer = sendgrid_mailer(provider.url, seconds=0.3)
    told = [repr(MAIL), str(MAIL), repr(mailer)]
    for status, hangs in ((400, False), (503, False), (202, True)):
        provider.status, provider.hangs = status, hangs
        error = failure(sendgrid_mailer(provider.url, seconds=0.3))
        assert error.__cause__ is None
        assert error.__context__ is None or error.__suppress_context__, "tracebacks would go on to what httpx2 says"
        told += [str(error), repr(error), "".join(traceback.format_exception(error))]

    assert not [(secret, text) for secret in SECRETS for text in told if secret in text]
    assert "0199-message" in repr(MAIL)


def test_a_console_mailer_prints_the_text(tmp_path: Path) -> None:
    stream = io.StringIO()
    send(ConsoleMailer(folder=tmp_path / "not" / "yet", stream=stream), MAIL)

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
    return text.replace("\r\n", "\n")  # lines of a mail end so


def test_a_console_mailer_keeps_what_browsers_and_mail_programs_open(tmp_path: Path) -> None:
    send(ConsoleMailer(folder=tmp_path, stream=io.StringIO()), MAIL)

    page, message = sorted(tmp_path.iterdir(), key=lambda file: file.suffix, reverse=True)
    assert (page.suffix, message.suffix) == (".html", ".eml")
    assert page.stem == message.stem
    assert page.read_bytes() == MAIL.html.encode()
    parsed = kept(tmp_path)
    assert not parsed.defects
    assert parsed["To"] == "ada@example.com"
    assert parsed["Subject"] == "Sign in to AudiFi"
    assert "0199-message" in parsed["Message-ID"]
    assert parsed.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in parsed.iter_parts()] == ["text/plain", "text/html"]
    assert (content(parsed, "plain"), content(parsed, "html")) == (MAIL.text, MAIL.html)


def test_a_kept_mail_may_hold_long_lines_and_any_characters(tmp_path: Path) -> None:
    """Lines of a mail end at 998 bytes (RFC 5322, 2.1.1); a header folds much earlier."""
    text = f"♫ {'x' * 3000}\n.\nFrom here\n"
    mail = a_mail(to="jörg@exämple.com", subject=f"♫ {'long ' * 40}end", text=text)
    send(ConsoleMailer(folder=tmp_path, stream=io.StringIO()), mail)

    parsed = kept(tmp_path)
    assert parsed["To"] == mail.to
    assert parsed["Subject"] == mail.subject
    assert content(parsed, "plain") == text
    [file] = tmp_path.glob("*.eml")
    lines = file.read_bytes().split(b"\r\n")
    assert max(len(line) for line in lines) <= 998
    assert not [line for line in lines if b"\n" in line]


def test_mails_of_one_moment_are_all_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(datetime):
        @classmethod
        @override
        def now(cls, tz: tzinfo | None = None) -> "Stopped":
            return cls(2026, 1, 1, tzinfo=tz)

    monkeypatch.setattr(mails, "datetime", Stopped)
    mailer = ConsoleMailer(folder=tmp_path, stream=io.StringIO())

    async def send_at_once() -> None:
        await asyncio.gather(*[mailer.send(a_mail(message_id=str(number))) for number in range(20)])

    asyncio.run(send_at_once())
    messages = [email.message_from_bytes(file.read_bytes()) for file in tmp_path.glob("*.eml")]
    assert {message["Message-ID"] for message in messages} == {f"<{number}@audifi>" for number in range(20)}
    assert len(list(tmp_path.iterdir())) == 20 + 20


def test_a_console_mailer_keeps_the_newest_mails_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mails.MAILS_KEPT == 200
    monkeypatch.setattr(mails, "MAILS_KEPT", 3)
    (tmp_path / "somebody's.txt").touch()
    sent = [a_mail(message_id=str(number)) for number in range(5)]
    send(ConsoleMailer(folder=tmp_path, stream=io.StringIO()), *sent)

    messages = [email.message_from_bytes(file.read_bytes()) for file in sorted(tmp_path.glob("*.eml"))]
    assert [message["Message-ID"] for message in messages] == ["<2@audifi>", "<3@audifi>", "<4@audifi>"]
    assert sorted(file.stem for file in tmp_path.glob("*.html")) == sorted(file.stem for file in tmp_path.glob("*.eml"))
    assert len(list(tmp_path.iterdir())) == 3 + 3 + 1


@pytest.mark.parametrize("character", CONTROL_CHARACTERS)
def test_a_header_holds_no_control_characters(character: str) -> None:
    injected = f"Hello{character}Bcc: eve@example.com"
    with pytest.raises(ValueError, match="control character") as caught:
        a_mail(to=injected)
    assert "eve@" not in str(caught.value)
    with pytest.raises(ValueError, match="control character"):
        a_mail(subject=injected)
    with pytest.raises(ValueError, match="control character"):
        a_mail(message_id=injected)
