"""`python -m tools.smoke`: checks what users need of a running server.

tools/migrations/compatibility.py starts it, also from an older release's checkout, on a database that a newer release
has migrated. So its variables keep their names:

    SMOKE_URL        the server, which trusts 127.0.0.1 as its proxy
    SMOKE_MAIL_PORT  the port of 127.0.0.1 in its SENDGRID_API_URL, where this program receives emails
"""

import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from random import randrange
from typing import Any
from uuid import uuid4

import httpx2

from tests.support import sendgrid as sendgrids
from tests.support.sendgrid import SendGrid

PEOPLE = 4
"""Users at once, so that many connections of the pool prepare every statement."""


class Person:
    """A new user with a separate connection and network."""

    def __init__(self, url: str, sendgrid: SendGrid) -> None:
        proxied = {"Fly-Client-IP": f"10.{randrange(256)}.{randrange(256)}.{randrange(256)}"}
        self.http = httpx2.Client(base_url=f"{url}/api/v1", headers=proxied, timeout=30)
        self.sendgrid = sendgrid
        self.email = f"smoke-{uuid4().hex}@example.com"
        self.mails = 0

    def ask(self, method: str, path: str, status: int, json: Any = None) -> Any:
        answer = self.http.request(method, path, json=json)
        expect(answer.status_code == status, f"{method} {path} answered {answer.status_code}: {answer.text}")
        return answer.json() if answer.content else None

    def ask_for_mail(self) -> tuple[dict[str, Any], str]:
        flow = self.ask("POST", "/auth/magic-link/request", 202, {"email": self.email, "delivery": "body"})
        self.mails += 1
        return flow, self.sendgrid.wait_for(self.email, self.mails)["content"][0]["value"]

    def sign_in(self, flow: dict[str, Any], **proof: str) -> dict[str, Any]:
        proof["flow_secret"] = flow["flow_secret"]
        return self.keep(self.ask("POST", "/auth/magic-link/verify", 200, proof))

    def keep(self, tokens: dict[str, Any]) -> dict[str, Any]:
        self.http.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        return tokens


def expect(condition: object, otherwise: str) -> None:
    """Raise an error unless the condition holds; `python -O` would remove an `assert`."""
    if not condition:
        raise AssertionError(otherwise)


def find(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    expect(match, f"an email lacks {pattern}")
    return "".join(match.groups()) if match else ""


def live(person: Person) -> None:
    """Use an account from the first sign-in to its deletion."""
    health = person.ask("GET", "/health", 200)
    expect(health["dependencies"]["database"] == "connected", f"health says {health}")

    flow, mail = person.ask_for_mail()
    first = person.sign_in(flow, token=find(r"#token=([\w-]+)", mail))
    expect(first["created"], "the first sign-in didn't make the account")
    expect(person.ask("GET", "/auth/me", 200)["email"] == person.email, "/me is somebody else")
    person.ask("PATCH", "/auth/me", 200, {"display_name": "Ana"})
    expect(person.ask("GET", "/auth/me", 200)["display_name"] == "Ana", "/me forgot its display_name")
    person.keep(person.ask("POST", "/auth/refresh", 200, {"refresh_token": first["refresh_token"]}))

    flow, mail = person.ask_for_mail()
    second = person.sign_in(flow, flow_id=flow["flow_id"], code=find(r"^\s*(\d{4}) (\d{4})\s*$", mail))
    expect(not second["created"], "the second sign-in made another account")
    expect(len(person.ask("GET", "/auth/sessions", 200)["data"]) == 2, "/sessions doesn't list both")
    expect(person.ask("GET", "/auth/me/activity", 200)["data"], "/me/activity is empty")
    person.ask("POST", "/auth/logout", 204)
    person.ask("POST", "/auth/refresh", 401, {"refresh_token": second["refresh_token"]})

    flow, mail = person.ask_for_mail()
    person.sign_in(flow, token=find(r"#token=([\w-]+)", mail))
    person.ask("DELETE", "/auth/me", 204)


def main() -> None:
    url, port = os.environ["SMOKE_URL"], int(os.environ["SMOKE_MAIL_PORT"])
    with sendgrids.running(port) as sendgrid, ThreadPoolExecutor(PEOPLE) as threads:
        try:
            list(threads.map(live, [Person(url, sendgrid) for _ in range(PEOPLE)]))
        except (AssertionError, httpx2.HTTPError) as error:
            sys.exit(f"smoke test: {error}")


if __name__ == "__main__":
    main()
