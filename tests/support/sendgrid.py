"""SendGrid's v3 API, as far as the server uses it: stores what it receives, or fails on request."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support import web


@dataclass
class SendGrid:
    """The received emails, and the configured responses."""

    url: str = ""
    status: int = 202
    seconds: float = 0
    """The delay of each response."""
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
