"""Secrets and addresses in the outputs of a real server, after sign-ins and all kinds of failures."""

import asyncio
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from uuid import UUID

import asyncpg
import httpx2
import pytest

from tests.support import collector as collectors
from tests.support import databases, patient
from tests.support import sentry as sentries
from tests.support.api import SECRETS, Api, free_port
from tests.support.clients import Browser, Client, asking, new_ip, newest_mail
from tests.support.collector import Collector
from tests.support.fixtures import StartApi
from tests.support.sendgrid import SendGrid
from tests.support.sentry import Sentry

pytestmark = pytest.mark.slow

API_KEY = "SG.the-key-that-is-nowhere-to-be-seen"
CALLER_SECRET = "the-secret-of-a-caller-nobody-sees"  # too short for the redaction of what looks like a token
PASSWORD = "the-password-that-is-nowhere-to-be-seen"
WAIT_SECONDS = 20


@dataclass
class Watched:
    """A server, and the secrets and addresses in its requests and responses."""

    api: Api
    sentry: Sentry
    collector: Collector
    metrics_port: int
    http: httpx2.Client
    database_url: str
    secrets: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)
    clients: list[Client] = field(default_factory=list)

    def see(self, answer: httpx2.Response) -> None:
        answer.read()
        self.statuses.add(answer.status_code)
        for header in answer.headers.get_list("set-cookie"):
            self.secrets |= {morsel.value for morsel in SimpleCookie(header).values() if morsel.value}
        if answer.status_code >= 400:
            headers = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
            self.errors.append(f"{headers}\n{answer.text}")
        elif answer.status_code in {200, 202}:
            body = answer.json()
            self.secrets |= {body[name] for name in ("access_token", "refresh_token", "flow_secret") if name in body}

    def client(self, kind: type[Client], sendgrid: SendGrid) -> Client:
        made = kind(self.http, sendgrid)
        self.clients.append(made)
        return made

    def mailed(self, client: Client) -> dict[str, str]:
        """Return the token, code and flow id of an e-mail; remember them as secrets."""
        mail = client.request_mail()
        self.secrets |= {mail.token, mail.code, f"{mail.code[:4]} {mail.code[4:]}"}
        return {"token": mail.token, "code": mail.code, "flow_id": client.flow["flow_id"]}

    def wait_for_log(self, text: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while text not in self.api.log():
            assert time.monotonic() < deadline, f"{text!r} isn't in the log:\n{self.api.log()}"
            time.sleep(0.02)

    @property
    def addresses(self) -> set[str]:
        return {part for client in self.clients for part in (client.email, client.email.partition("@")[0])}


def by_link(proof: dict[str, str]) -> dict[str, str]:
    return {"token": proof["token"]}


def by_code(proof: dict[str, str]) -> dict[str, str]:
    return {"flow_id": proof["flow_id"], "code": proof["code"]}


@pytest.fixture
def watched(start_api: StartApi, migrated_database_url: str, sendgrid: SendGrid) -> Iterator[Watched]:
    """A server with all outputs enabled: logs, metrics, traces, Sentry."""
    with sentries.running() as sentry, collectors.running() as collector:
        yield from _watched(start_api, migrated_database_url, sendgrid, sentry, collector)


def _watched(
    start_api: StartApi, migrated_database_url: str, sendgrid: SendGrid, sentry: Sentry, collector: Collector
) -> Iterator[Watched]:
    metrics_port = free_port()
    api = start_api(
        migrated_database_url.replace("postgres@", f"postgres:{PASSWORD}@"),
        ENVIRONMENT="production",
        TRUSTED_PROXIES="127.0.0.0/8",
        TRUSTED_CALLERS=f"web={CALLER_SECRET}",
        SENDGRID_API_KEY=API_KEY,
        SENDGRID_API_URL=sendgrid.url,
        SENTRY_DSN=sentry.dsn,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        METRICS_PORT=str(metrics_port),
    )
    with asking(api.url) as http:
        watching = Watched(
            api=api,
            http=http,
            database_url=migrated_database_url,
            sentry=sentry,
            collector=collector,
            metrics_port=metrics_port,
        )
        http.event_hooks["response"].append(watching.see)
        yield watching


def use_account(watched: Watched, sendgrid: SendGrid) -> None:
    """Go through an account's life, up to its deletion."""
    for kind, proof_of in ((Client, by_link), (Browser, by_code)):
        client = watched.client(kind, sendgrid)
        client.headers = client.headers | {"AudiFi-Caller-Secret": CALLER_SECRET, "AudiFi-Client-IP": new_ip()}
        proof = watched.mailed(client)
        assert client.verify(**proof_of(proof), **client.secret()).status_code == 200
        for path in ("/auth/me", "/auth/sessions", "/auth/me/activity"):
            assert client.as_signed_in("GET", path).status_code == 200
        assert client.as_signed_in("PATCH", "/auth/me", {"display_name": "Ana"}).status_code == 200
        former = client.tokens.get("refresh_token") or client.cookies["__Host-audifi_refresh"]  # type: ignore[attr-defined]
        assert client.refresh().status_code == client.refresh().status_code == 200
        assert client.refresh(former).status_code == 401
        client.ip = new_ip()
        proof = watched.mailed(client)
        assert client.verify(**by_link(proof), **client.secret()).status_code == 200
        assert client.as_signed_in("POST", "/auth/logout", {}).status_code == 204
        assert client.as_signed_in("GET", "/auth/me").status_code == 401
        proof = watched.mailed(client)
        assert client.verify(**by_code(proof), **client.secret()).status_code == 200
        assert client.as_signed_in("DELETE", "/auth/me").status_code == 204


def send_invalid_requests(watched: Watched, sendgrid: SendGrid) -> None:
    """Send all kinds of invalid requests, with secrets in each place of a request."""
    client = watched.client(Client, sendgrid)
    for headers in (
        {"AudiFi-Caller-Secret": f"{CALLER_SECRET}!"},
        {"AudiFi-Caller-Secret": CALLER_SECRET, "AudiFi-Client-IP": CALLER_SECRET},
    ):
        assert client.ask("GET", "/auth/me", headers=headers).status_code in {403, 422}
    proof = watched.mailed(client)
    assert client.verify(token=proof["token"]).status_code == 409
    assert client.verify(**by_link(proof), **client.secret()).status_code == 200
    for token in (client.tokens["access_token"], client.tokens["refresh_token"], proof["token"], client.email):
        for path in ("/auth/magic-link/request", "/auth/magic-link/verify", "/auth/refresh", "/auth/logout"):
            wrong = [token, [token], {token: token}, {"email": f"{token} <{token}>"}, {"email": f"{token}@@{token}"}]
            wrong += [{name: {token: token}} for name in ("token", "refresh_token", "flow_secret", "redirect_to")]
            wrong += [{"flow_id": token, "code": token, "flow_secret": token, "delivery": token, "confirm": token}]
            for body in wrong:
                answer = client.ask("POST", path, body)
                assert answer.status_code in {401, 409, 422, 429}, (path, answer.text)
            client.ip = new_ip()
            assert client.ask("POST", f"{path}?token={token}&{token}={token}", {}).status_code == 422
            for content in (f'{{"{token}": "{token}"', f"email={token}"):
                kinds = {
                    "Content-Type": "application/json" if content[0] == "{" else "application/x-www-form-urlencoded"
                }
                answer = client.ask("POST", path, content=content, headers=kinds)
                assert answer.status_code in {400, 415}, (path, answer.text)
        for path in ("/auth/me", "/auth/sessions", "/nowhere", "/auth/magic-link/verify"):
            for bearer in (None, token, token + "="):
                client.ask("GET", f"{path}?access_token={token}&limit={token}&cursor={token}", bearer=bearer)
        client.ask("PATCH", "/auth/me", {"display_name": token * 20}, bearer=client.tokens["access_token"])
        client.ask("POST", "/auth/refresh", {}, headers={"Cookie": f"__Host-audifi_refresh={token}"})
        client.ask("POST", "/auth/refresh", {"refresh_token": "x" * 70_000 + token})
        client.ask(
            "POST", "/auth/refresh", headers={"Cookie": f"__Host-audifi_refresh={token}"}, json={"refresh_token": "x"}
        )
    assert client.verify(**by_link(proof), **client.secret()).status_code == 401
    assert client.verify(**by_code(proof), **client.secret()).status_code == 401
    while client.request().status_code == 202:
        pass
    client.http.request("BREW", f"/{client.email}?{proof['token']}")


BREAK = "ALTER TABLE {0} RENAME TO mislaid", "ALTER TABLE mislaid RENAME TO {0}"
REFUSE = "ALTER TABLE {0} ADD CONSTRAINT none CHECK (false) NOT VALID", "ALTER TABLE {0} DROP CONSTRAINT none"
"""PostgreSQL's error quotes the row that it refuses."""


def break_dependencies(watched: Watched, sendgrid: SendGrid) -> None:
    """Make the database and the e-mail provider fail, temporarily and permanently."""
    client = watched.client(Client, sendgrid)
    client.headers = {"AudiFi-Caller-Secret": CALLER_SECRET}
    client.sign_in()
    for table in ("users", "sign_in_flows", "sessions", "auth_events"):
        for done, undone in (BREAK, REFUSE):
            client.ip = new_ip()
            proof = watched.mailed(client)
            databases.execute(watched.database_url, done.format(table))
            answers = [
                client.verify(**by_link(proof), **client.secret()),
                client.request(),
                client.refresh(),
                client.as_signed_in("PATCH", "/auth/me", {"display_name": "Ana"}),
            ]
            assert 500 in {answer.status_code for answer in answers}
            databases.execute(watched.database_url, undone.format(table))
    client.ip = new_ip()
    sendgrid.status = 500
    assert client.request().status_code == 202
    watched.wait_for_log("SendGrid answered 500")
    sendgrid.status = 400
    assert client.request().status_code == 202
    watched.wait_for_log("error=SendGrid answered 400")


async def _rows(url: str) -> dict[str, str]:
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch("SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND oid >= 16384")
        rows_by_table = {}
        for (table,) in tables:
            rows = await connection.fetch(f"SELECT row::text FROM {table} row")
            rows_by_table[table] = "\n".join(row[0] for row in rows)
        return rows_by_table
    finally:
        await connection.close()


def plain(value: str) -> Iterator[str]:
    """Yield the value, and its bytes as PostgreSQL prints them."""
    yield value
    yield value.encode().hex()


def with_decoded(secret: str) -> Iterator[str]:
    """Yield also the decoded bytes; only the MAC of a refresh token, whose session id and generation aren't secret."""
    yield from plain(secret)
    if len(secret) > len("1234 5678"):
        for part in secret.removeprefix("art1_").split("."):
            raw = urlsafe_b64decode(part + "=" * (-len(part) % 4))
            yield raw[20:].hex() if secret.startswith("art1_") else raw.hex()


def assert_nowhere(hidden: set[str], text: str, where: str, forms: Callable[[str], Iterator[str]] = plain) -> None:
    for value in hidden:
        for form in forms(value):
            at = text.find(form)
            assert at < 0, f"{where}: …{text[max(0, at - 150) : at + len(form) + 20]}"


def test_outputs_and_database_contain_no_secrets(watched: Watched, sendgrid: SendGrid) -> None:
    use_account(watched, sendgrid)
    send_invalid_requests(watched, sendgrid)
    break_dependencies(watched, sendgrid)
    tables = asyncio.run(_rows(watched.database_url))
    metrics = patient.get(f"http://127.0.0.1:{watched.metrics_port}/metrics").text
    assert watched.api.stop() == 0  # flushes reports and traces
    log = watched.api.log()
    outputs = {
        "the log": log,
        "the metrics": metrics,
        "Sentry": "\n".join(watched.sentry.received),
        "a trace": b"\n".join(watched.collector.bodies).decode("latin-1"),
    }

    # The outputs are complete, and the failures have happened.
    assert {400, 401, 404, 405, 409, 413, 415, 422, 429, 500} <= watched.statuses
    assert len(watched.secrets) > 40
    assert len(watched.errors) > 200
    lines = [json.loads(line) for line in log.splitlines()]
    assert any(line.get("caller") == "web" for line in lines)
    verified = [line for line in lines if line["message"].startswith("POST /api/v1/auth/magic-link/verify ")]
    assert len(verified) > 10
    assert "Traceback" not in log
    failures = [
        line for line in lines if line["logger"] == "audifi.core.http.middleware.errors" and line["level"] == "error"
    ]
    assert all("File " in line["exception.stacktrace"] and line["request_id"] for line in failures)
    assert len(failures) > 10
    assert {"users", "sign_in_flows", "sessions", "auth_events", "pgqueuer", "pgqueuer_log"} <= tables.keys()
    assert all(tables[name] for name in ("sessions", "auth_events", "pgqueuer", "pgqueuer_log"))
    assert any(client.email in tables["sign_in_flows"] for client in watched.clients)

    assert len(watched.sentry.events()) > 10
    assert len(watched.collector.spans) > 500
    assert "/api/v1/auth/magic-link/verify" in metrics

    settings = {API_KEY, PASSWORD, CALLER_SECRET, *SECRETS.values()}
    for where, text in [*outputs.items(), *(("an error", error) for error in watched.errors)]:
        assert_nowhere(watched.secrets | watched.addresses | settings, text, where)
    for table, rows in tables.items():
        assert_nowhere(watched.secrets, rows, table, with_decoded)
        assert_nowhere(settings, rows, table)


def test_addresses_are_stored_only_with_users_and_flows(watched: Watched, sendgrid: SendGrid) -> None:
    use_account(watched, sendgrid)
    tables = asyncio.run(_rows(watched.database_url))

    for table, rows in tables.items():
        if table not in {"users", "sign_in_flows"}:
            assert_nowhere(watched.addresses, rows, table)
    assert_nowhere(watched.addresses, tables["users"], "an account that was deleted")


def test_queued_email_contains_no_link(watched: Watched, sendgrid: SendGrid) -> None:
    """A thief of the queue or of a backup can't sign in with it."""
    sendgrid.status = 500
    client = watched.client(Client, sendgrid)
    assert client.request().status_code == 202
    payload = databases.fetch_value(watched.database_url, "SELECT payload FROM pgqueuer")
    sendgrid.status = 202
    mail = newest_mail(sendgrid, client.email)

    assert isinstance(payload, bytes)
    assert UUID(bytes=payload[:16]) == UUID(client.flow["flow_id"])
    assert urlsafe_b64decode(mail.token + "=") not in payload
    for text in (mail.token, mail.code, client.email):
        assert text.encode() not in payload
    # The payload contains only a seed: the link can't be derived without the secret.
    for guess in (payload, payload[16:]):
        token = urlsafe_b64encode(guess).rstrip(b"=").decode()
        assert client.verify(token=token, **client.secret()).status_code == 401
    assert client.verify(token=mail.token, **client.secret()).status_code == 200
