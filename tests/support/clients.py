"""Clients that sign in: a browser with cookies, and an app that stores its tokens."""

import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.cookiejar import CookieJar, DefaultCookiePolicy
from http.cookies import SimpleCookie
from ipaddress import IPv4Address
from threading import Barrier
from typing import Any, Literal
from uuid import uuid4

import httpx2

from audifi.core.http_client import tls_context
from tests.support import contract, databases
from tests.support.api import APP_URL
from tests.support.sendgrid import SendGrid

API = "/api/v1"
FLOW_COOKIE = "__Host-audifi_flow"
REFRESH_COOKIE = "__Host-audifi_refresh"


@contextmanager
def asking(url: str) -> Iterator[httpx2.Client]:
    """Yield an HTTP client to share: it keeps no cookies and checks each response against the contract."""
    none = CookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))
    # uvicorn closes idle connections after 5 s: a connection reused at that moment is reset.
    limits = httpx2.Limits(max_connections=None, keepalive_expiry=2)
    hooks = {"response": [contract.check]}
    with httpx2.Client(
        base_url=url, timeout=200, cookies=none, limits=limits, event_hooks=hooks, verify=tls_context()
    ) as http:
        yield http


def new_address() -> str:
    """Return an email address that no other test uses."""
    return f"ana-{uuid4().hex[:16]}@example.com"


def new_ip() -> str:
    """Return a client address that no other test uses, so that tests don't share rate limits."""
    return str(IPv4Address(secrets.randbelow(2**24) + (10 << 24)))


@dataclass(kw_only=True)
class Mail:
    """The parts of an email that a test needs."""

    token: str
    code: str
    text: str


def newest_mail(sendgrid: SendGrid, email: str, count: int = 1) -> Mail:
    """Return the newest of `count` emails to an address, once it has arrived."""
    content = sendgrid.wait_for(email, count)["content"]
    text = content[0]["value"]
    token = re.search(re.escape(f"{APP_URL}/auth/verify#token=") + r"([\w-]+)", text)
    code = re.search(r"^\s*(\d{4}) (\d{4})\s*$", text, re.MULTILINE)
    assert token, text
    assert code, text
    return Mail(token=token[1], code=code[1] + code[2], text=text)


@dataclass
class Client:
    """Stores tokens, as native apps and pages of other sites do."""

    http: httpx2.Client
    sendgrid: SendGrid
    ip: str = field(default_factory=new_ip)
    email: str = field(default_factory=new_address)
    headers: dict[str, str] = field(default_factory=dict)
    delivery: str = "body"
    flow: dict[str, Any] = field(default_factory=dict)
    """The response to the request for a link."""
    tokens: dict[str, Any] = field(default_factory=dict)
    """The response to the last sign-in or refresh."""
    mails: int = 0

    def ask(
        self, method: str, path: str, json: Any = None, *, bearer: str | None = None, **options: Any
    ) -> httpx2.Response:
        headers = {"Fly-Client-IP": self.ip, "Fly-Forwarded-Proto": "https", **self.headers}
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        headers |= options.pop("headers", {})
        if json is not None:
            options["json"] = json
        return self.http.request(method, API + path, headers=headers, **options)

    def as_signed_in(self, method: str, path: str, json: Any = None, **options: Any) -> httpx2.Response:
        return self.ask(method, path, json, bearer=self.tokens["access_token"], **options)

    def request(self, **fields: Any) -> httpx2.Response:
        answer = self.ask("POST", "/auth/magic-link/request", {"email": self.email, "delivery": self.delivery} | fields)
        if answer.status_code == 202:
            self.flow = answer.json()
        return answer

    def request_mail(self, **fields: Any) -> Mail:
        """Request a link and return the email."""
        answer = self.request(**fields)
        assert answer.status_code == 202, answer.text
        self.mails += 1
        return newest_mail(self.sendgrid, self.email, self.mails)

    def secret(self) -> dict[str, str]:
        return {"flow_secret": self.flow["flow_secret"]}

    def verify(self, **fields: Any) -> httpx2.Response:
        return self._kept(self.ask("POST", "/auth/magic-link/verify", fields))

    def sign_in(self) -> "Client":
        mail = self.request_mail()
        answer = self.verify(token=mail.token, **self.secret())
        assert answer.status_code == 200, answer.text
        return self

    def refresh(self, token: str | None = None) -> httpx2.Response:
        return self._kept(self.ask("POST", "/auth/refresh", {"refresh_token": token or self.tokens["refresh_token"]}))

    def _kept(self, answer: httpx2.Response) -> httpx2.Response:
        if answer.status_code == 200:
            self.tokens = answer.json()
        return answer


@dataclass
class Browser(Client):
    """A page of the frontend, with the browser's cookies for the API."""

    delivery: str = "cookie"
    headers: dict[str, str] = field(default_factory=lambda: {"Origin": APP_URL, "Sec-Fetch-Site": "same-site"})
    cookies: dict[str, str] = field(default_factory=dict)

    def ask(
        self, method: str, path: str, json: Any = None, *, bearer: str | None = None, **options: Any
    ) -> httpx2.Response:
        if self.cookies:
            cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            options["headers"] = {"Cookie": cookie.encode("latin-1")} | options.get("headers", {})
        answer = super().ask(method, path, json, bearer=bearer, **options)
        for header in answer.headers.get_list("set-cookie"):
            for name, morsel in SimpleCookie(header).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        return answer

    def secret(self) -> dict[str, str]:
        return {}

    def refresh(self, token: str | None = None) -> httpx2.Response:
        if token is not None:
            self.cookies[REFRESH_COOKIE] = token
        return self._kept(self.ask("POST", "/auth/refresh", {}))


def elsewhere(client: Client) -> Client:
    """Return a client with the same tokens on another machine, which has its own rate limits."""
    return replace(client, ip=new_ip())


def count_rows(database_url: str, table: Literal["users", "sessions", "sign_in_flows"], email: str) -> object:
    """Return the number of rows of an address."""
    joined = "sessions JOIN users ON users.id = sessions.user_id" if table == "sessions" else table
    return databases.fetch_value(database_url, f"SELECT count(*) FROM {joined} WHERE email_key = '{email}'")


def at_once[T](calls: Sequence[Callable[[], T]]) -> list[T]:
    """Start all calls at the same moment and return their results."""
    start = Barrier(len(calls))

    def call(it: Callable[[], T]) -> T:
        start.wait()
        return it()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(call, calls))
