"""`python -m tools.smoke`: what a release does for people still works, on a server that runs.

Started by tools/migrations/compatibility.py, also out of an older release's checkout, on a database that a newer one
has migrated. So it needs no package but the server's own, and its variables keep their names:

    SMOKE_URL        where the server is; it trusts 127.0.0.1 as its proxy
    SMOKE_MAIL_PORT  on 127.0.0.1, where its SENDGRID_API_URL leads; the mails are received here
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
"""At once, so that as many of the pool's connections know every statement."""


class Person:
    """Somebody new, on a connection and a network of their own."""

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
    """Not `assert`, which `python -O` leaves out."""
    if not condition:
        raise AssertionError(otherwise)


def find(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    expect(found, f"a mail lacks {pattern}")
    return "".join(found.groups()) if found else ""


def live(person: Person) -> None:
    """All that an account does, from the first sign-in to its end."""
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
