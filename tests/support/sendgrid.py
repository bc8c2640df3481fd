"""SendGrid's v3 API, as far as the server uses it: stores what it receives, or fails on request. Signs events."""

import json
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support import web

EVENTS_KEY = ec.generate_private_key(ec.SECP256R1())


def public_key_of(key: ec.EllipticCurvePrivateKey) -> str:
    """Return the key as SendGrid's console shows it."""
    return b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


PUBLIC_KEY = public_key_of(EVENTS_KEY)


def signature_headers(body: bytes, signed_at: datetime, key: ec.EllipticCurvePrivateKey = EVENTS_KEY) -> dict[str, str]:
    """Return the headers of the signed Event Webhook."""
    timestamp = str(int(signed_at.timestamp()))
    return {
        "Content-Type": "application/json",
        "X-Twilio-Email-Event-Webhook-Signature": b64encode(
            key.sign(timestamp.encode() + body, ec.ECDSA(SHA256()))
        ).decode(),
        "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
    }


@dataclass
class SendGrid:
    """The received emails, and the configured responses."""

    url: str = ""
    status: int = 202
    seconds: float = 0
    """The delay of each response."""
    on_mail: Callable[[dict[str, Any]], None] = lambda _mail: None
    """Called with each email before the response."""
    requests: int = 0
    key_status: int = 200
    """The status of a request about the key."""
    scopes: list[str] = field(default_factory=lambda: ["mail.send"])
    """The scopes of the key."""
    _mails: list[dict[str, Any]] = field(default_factory=list)
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    def mails_to(self, email: str) -> list[dict[str, Any]]:
        return [mail for mail in self._mails if mail["personalizations"][0]["to"][0]["email"] == email]

    def wait_for(self, email: str, count: int = 1, timeout: float = 25) -> dict[str, Any]:
        """Return the newest of `count` emails to an address."""
        with self._arrived:
            arrived = self._arrived.wait_for(lambda: len(self.mails_to(email)) >= count, timeout)
        assert arrived, f"{len(self.mails_to(email))} mails to {email}, {count} were expected"
        return self.mails_to(email)[-1]

    def receive(self, mail: dict[str, Any]) -> int:
        time.sleep(self.seconds)
        self.on_mail(mail)
        with self._arrived:
            self.requests += 1
            if self.status == 202:
                self._mails.append(mail)
            self._arrived.notify_all()
        return self.status


@contextmanager
def running(port: int = 0) -> Iterator[SendGrid]:
    sendgrid = SendGrid()

    class Handler(web.Handler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            status = sendgrid.receive(json.loads(self.read()))
            self.reply(status if self.path == "/v3/mail/send" else 404)

        def do_GET(self) -> None:
            time.sleep(sendgrid.seconds)
            is_known = self.path == "/v3/scopes"
            body = json.dumps({"scopes": sendgrid.scopes} if sendgrid.key_status == 200 else {"errors": []}).encode()
            self.reply(sendgrid.key_status if is_known else 404, body)

    with web.serving(Handler, port) as sendgrid.url:
        yield sendgrid
