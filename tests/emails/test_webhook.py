"""SendGrid's signed events over HTTP, and what is recorded of them."""

import json
from base64 import b64encode
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from audifi.emails import webhook
from tests.support import databases
from tests.support.app import App
from tests.support.clients import Client, at_once
from tests.support.fixtures import StartApp
from tests.support.sendgrid import SendGrid, signature_headers

PATH = "/api/v1/emails/sendgrid-events"


def post(app: App, *events: Any, body: bytes | None = None) -> httpx2.Response:
    """Send events as SendGrid does."""
    content = json.dumps(events).encode() if body is None else body
    return app.http.post(PATH, content=content, headers=signature_headers(content, app.clock()))


def code(response: httpx2.Response) -> str:
    return f"{response.status_code} {response.json()['code']}"


def recorded(app: App, message_id: str) -> dict[str, tuple[str, datetime]]:
    """Return reason and time of each event about an e-mail."""
    query = f"SELECT json_agg(email_events) FROM email_events WHERE message_id = '{message_id}'"
    rows = json.loads(str(databases.fetch_value(app.database_url, query) or "[]"))
    return {row["event"]: (row["reason"], datetime.fromisoformat(row["occurred_at"])) for row in rows}


def event_count(app: App, event: str) -> float:
    value = app.services.metrics.registry.get_sample_value("email_events_total", {"event": event})
    assert value is not None
    return value


@pytest.fixture
def message_id(client: Client) -> str:
    """The id of an e-mail that SendGrid has accepted."""
    client.request_mail()
    message_id: str = client.sendgrid.wait_for(client.email)["custom_args"]["message_id"]
    return message_id


@pytest.fixture
def event(message_id: str, app: App) -> Callable[..., dict[str, Any]]:
    """Make an event about that e-mail, as SendGrid sends it."""

    def make(name: str, *, seconds: int = 0, **members: Any) -> dict[str, Any]:
        at = int(app.clock().timestamp()) + seconds
        return {
            "email": "ana@example.com",
            "timestamp": at,
            "smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>",
            "event": name,
            "sg_event_id": uuid4().hex,
            "sg_message_id": "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0",
            "message_id": message_id,
        } | members

    return make


type MakeEvent = Callable[..., dict[str, Any]]


def test_each_kind_of_event_is_recorded(app: App, message_id: str, event: MakeEvent) -> None:
    app.clock.stop()
    answer = post(
        app,
        event("deferred", response="400 try again later", attempt="5"),
        event("delivered", response="250 OK"),
        event("dropped", reason="Bounced Address"),
        event("bounce", type="bounce", reason="550 5.1.1 no such user"),
        event("bounce", type="blocked", reason="550 5.7.1 not today"),
        event("spamreport"),
    )

    assert (answer.status_code, answer.content) == (204, b"")
    now = app.clock().replace(microsecond=0)
    assert recorded(app, message_id) == {
        "deferred": ("400 try again later", now),
        "delivered": ("250 OK", now),
        "dropped": ("Bounced Address", now),
        "bounce": ("550 5.1.1 no such user", now),
        "blocked": ("550 5.7.1 not today", now),
        "spamreport": ("", now),
    }


def test_repeated_event_is_recorded_and_counted_once(app: App, message_id: str, event: MakeEvent) -> None:
    before = event_count(app, "dropped")
    dropped = event("dropped", reason="Bounced Address")

    assert post(app, dropped, dropped).status_code == 204
    first = recorded(app, message_id)
    assert post(app, dropped, event("open")).status_code == 204

    assert recorded(app, message_id) == first
    assert event_count(app, "dropped") == before + 1


def test_newest_event_of_a_kind_wins_in_any_order(app: App, message_id: str, event: MakeEvent) -> None:
    first, second, third = (event("deferred", seconds=n, response=f"45{n}") for n in range(3))
    post(app, second, first)
    assert recorded(app, message_id)["deferred"][0] == "451"
    post(app, third)
    post(app, first)

    assert recorded(app, message_id)["deferred"][0] == "452"


def test_same_events_at_once_are_recorded_once(app: App, message_id: str, event: MakeEvent) -> None:
    before = event_count(app, "dropped"), event_count(app, "deferred")
    events = [event("dropped"), event("deferred")]

    answers = at_once([lambda: post(app, *events), lambda: post(app, *reversed(events))] * 5)

    assert [answer.status_code for answer in answers] == [204] * 10
    assert set(recorded(app, message_id)) == {"dropped", "deferred"}
    assert (event_count(app, "dropped"), event_count(app, "deferred")) == (before[0] + 1, before[1] + 1)


def test_unusable_events_do_not_lose_the_others(app: App, message_id: str, event: MakeEvent) -> None:
    answer = post(
        app,
        event("processed"),
        event("account_status_change", message_id=None),
        event("dropped", message_id=str(uuid4())),
        event("dropped", message_id="of another application"),
        event("dropped", timestamp=10**20),
        event("dropped", reason=["not", "a", "text"]),
        "not an event",
        None,
        event("delivered"),
    )

    assert answer.status_code == 204
    assert set(recorded(app, message_id)) == {"delivered"}


def test_reason_is_short_and_names_no_address(app: App, message_id: str, event: MakeEvent) -> None:
    post(app, event("bounce", reason=f"550 <ana@example.com>:\r\n\0 unknown {'user ' * 200}"))

    reason, _ = recorded(app, message_id)["bounce"]
    assert reason.startswith("550 <REDACTED>: unknown user")
    assert len(reason) == 300


@pytest.mark.parametrize("key", ["other", "missing", "malformed", "not DER", "of another body", "of another time"])
def test_request_without_a_genuine_signature_is_refused(app: App, message_id: str, event: MakeEvent, key: str) -> None:
    body = json.dumps([event("dropped")]).encode()
    genuine = signature_headers(body, app.clock())
    name, time = "X-Twilio-Email-Event-Webhook-Signature", "X-Twilio-Email-Event-Webhook-Timestamp"
    headers = {
        "other": signature_headers(body, app.clock(), ec.generate_private_key(ec.SECP256R1())),
        "missing": {"Content-Type": "application/json"},
        "malformed": genuine | {name: "é"},
        "not DER": genuine | {name: b64encode(b"no DER").decode()},
        "of another body": genuine | {name: signature_headers(body + b" ", app.clock())[name]},
        "of another time": genuine | {time: str(int(genuine[time]) + 1)},
    }[key]

    raw = [(header.encode(), value.encode()) for header, value in headers.items()]
    answer = app.http.post(PATH, content=body, headers=raw)

    assert code(answer) == "403 signature.invalid"
    assert recorded(app, message_id) == {}


@pytest.mark.parametrize(
    ("age", "accepted"),
    [
        (timedelta(hours=24, minutes=30), True),
        (timedelta(hours=25, minutes=1), False),
        (-timedelta(minutes=4), True),
        (-timedelta(minutes=6), False),
    ],
)
def test_old_and_future_signatures_are_refused(
    app: App, message_id: str, event: MakeEvent, age: timedelta, *, accepted: bool
) -> None:
    """SendGrid repeats for 24 hours what wasn't answered with 2xx, so an outage of a day loses nothing."""
    body = json.dumps([event("dropped")]).encode()

    answer = app.http.post(PATH, content=body, headers=signature_headers(body, app.clock() - age))

    assert answer.status_code == (204 if accepted else 403)
    assert accepted or code(answer) == "403 signature.expired"
    assert set(recorded(app, message_id)) == ({"dropped"} if accepted else set())


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "json_invalid"),
        (b"[", "json_invalid"),
        (b"\xff", "json_invalid"),
        (b"[" * 5000 + b"]" * 5000, "json_invalid"),
        (b"{}", "list_type"),
    ],
)
def test_signed_body_must_be_an_array(app: App, body: bytes, error: str) -> None:
    answer = post(app, body=body)

    assert code(answer) == "422 request.invalid"
    assert answer.json()["errors"][0]["code"] == error


def test_batch_has_a_maximum_number_of_events(app: App) -> None:
    assert post(app, body=b"[" + b"0," * (webhook.MAX_EVENTS - 1) + b"0]").status_code == 204
    answer = post(app, body=b"[" + b"0," * webhook.MAX_EVENTS + b"0]")

    assert code(answer) == "422 request.invalid"
    assert answer.json()["errors"][0]["code"] == "too_long"


def test_batch_as_large_as_sendgrid_sends_is_taken(app: App, message_id: str, event: MakeEvent) -> None:
    """768 KB; a body of more than 1 MB isn't read."""
    other = event("processed", reason="x" * 300)
    events = [event("dropped"), *[other] * (768_000 // len(json.dumps(other)))]

    assert post(app, *events).status_code == 204
    assert set(recorded(app, message_id)) == {"dropped"}
    assert code(post(app, body=b" " * (webhook.MAX_BODY_BYTES + 1))) == "413 request.too_large"


def test_webhook_without_a_key_is_disabled(start_app: StartApp, database_url: str) -> None:
    app = start_app(database_url, sendgrid_webhook_public_key="")
    answer = post(app, {"event": "dropped"})

    assert code(answer) == "404 webhook.disabled"
    assert "SENDGRID_WEBHOOK_PUBLIC_KEY" in answer.json()["detail"]


def test_event_may_arrive_before_sendgrid_has_answered(
    start_app: StartApp, migrated_database_url: str, sendgrid: SendGrid
) -> None:
    """The e-mail is recorded before it is sent."""
    app = start_app(migrated_database_url)
    client = Client(app.http, sendgrid)

    def report(mail: dict[str, Any]) -> None:
        now = int(app.clock().timestamp())
        post(app, {"event": "delivered", "timestamp": now, "message_id": mail["custom_args"]["message_id"]})

    sendgrid.on_mail = report
    mail = client.request_mail()

    assert mail.token
    message_id = sendgrid.wait_for(client.email)["custom_args"]["message_id"]
    assert set(recorded(app, message_id)) == {"delivered"}
