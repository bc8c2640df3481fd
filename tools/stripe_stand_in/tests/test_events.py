"""Events: their list, their signed deliveries, and the failures of deliveries."""

import json
import time

import pytest
import stripe

from tools.stripe_stand_in import server
from tools.stripe_stand_in.tests.shop import CONNECT_SECRET, SECRET, Shop, client, receiving
from tools.stripe_stand_in.webhooks import Endpoint

pytestmark = pytest.mark.timeout(60)


def outcomes(shop: Shop, event: str) -> list[tuple[int, str]]:
    deliveries = shop.stand_in.do("deliveries")["data"]
    return [(each["attempt"], each["outcome"]) for each in deliveries if each["event"] == event]


def names(shop: Shop, path: str = "/platform") -> list[str]:
    """Return the names of the customers that the delivered events are about."""
    return [event["data"]["object"].get("name") for event in shop.receiver.events(path)]


def test_event_shows_object_and_changes(shop: Shop) -> None:
    shop.use_empty_account()
    customer = shop.v1.customers.create({"name": "Ann"}, {"idempotency_key": "k"})
    shop.v1.customers.update(customer.id, {"name": "Bob"})
    shop.v1.customers.update(customer.id, {"name": "Bob"})  # changes nothing

    changed, created = shop.v1.events.list({"types": ["customer.*"]}).data
    assert (created.type, created.data.object.name, created.request.idempotency_key) == ("customer.created", "Ann", "k")
    assert (changed.type, changed.data.object.name) == ("customer.updated", "Bob")
    assert changed.data.previous_attributes.to_dict() == {"name": "Ann"}
    assert changed.api_version == "2026-10-28.endive"
    assert shop.v1.events.retrieve(changed.id).id == changed.id


def test_events_are_listed_by_type(shop: Shop) -> None:
    shop.charge()

    assert [each.type for each in shop.v1.events.list({"type": "charge.succeeded"}).data] == ["charge.succeeded"]
    listed = shop.v1.events.list({"types": ["charge.succeeded", "payment_intent.*"]}).data
    assert [each.type for each in listed] == ["payment_intent.succeeded", "charge.succeeded", "payment_intent.created"]
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.events.list({"type": "a", "types": ["b"]})


def test_events_are_kept_for_30_days(shop: Shop) -> None:
    since = shop.stand_in.now
    shop.customer()
    shop.stand_in.advance(days=29.9)
    assert [each.type for each in shop.v1.events.list({"type": "customer.created", "created": {"gte": since}}).data]

    shop.stand_in.advance(days=0.1)
    assert shop.v1.events.list({"type": "customer.created"}).data == []


def test_delivery_is_signed(shop: Shop) -> None:
    customer = shop.customer()
    account = shop.v1.accounts.create({"type": "express"})
    shop.stand_in.do("onboard", account=account.id)
    shop.stand_in.do("drain")

    secrets = {"/platform": SECRET, "/connect": CONNECT_SECRET}
    for path, signature, body in shop.receiver.bodies:
        assert stripe.WebhookSignature.verify_header(body, signature, secrets[path])
        assert signature.startswith(f"t={shop.stand_in.now},v1=")
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.WebhookSignature.verify_header(body + " ", signature, secrets[path])
    event = json.loads(shop.receiver.bodies[-2][2])
    assert (event["type"], event["data"]["object"]["id"], event["livemode"]) == ("customer.created", customer.id, False)


def test_running_clock_that_was_moved_signs_with_real_time() -> None:
    """As Stripe's test clocks do. Else a server, whose clock nobody moves, would refuse all events."""
    with receiving() as (url, receiver):
        endpoints = [Endpoint(id="we_1", url=url, secret=SECRET)]
        with server.running(start=None, endpoints=endpoints) as stand_in:
            stand_in.do("clock", seconds=31 * 86_400)
            client(stand_in, max_network_retries=0).v1.customers.create()
            stand_in.do("drain")
    [(_, signature, _)] = receiver.bodies
    assert abs(int(signature.split(",")[0].removeprefix("t=")) - time.time()) < 300


def test_failed_delivery_is_repeated_for_three_days(shop: Shop) -> None:
    shop.receiver.status = 503
    shop.v1.customers.create({"name": "Ann"})
    shop.stand_in.do("drain")
    event = shop.v1.events.list({"type": "customer.created"}).data[0]
    assert (outcomes(shop, event.id), event.pending_webhooks) == ([(1, "503")], 1)
    shop.stand_in.advance(hours=1)
    assert outcomes(shop, event.id) == [(1, "503"), (2, "503")]

    shop.receiver.status = 204
    shop.stand_in.advance(hours=2)
    shop.stand_in.advance(days=3)
    assert outcomes(shop, event.id) == [(1, "503"), (2, "503"), (3, "204")]
    assert shop.v1.events.retrieve(event.id).pending_webhooks == 0


def test_delivery_is_given_up(shop: Shop) -> None:
    shop.receiver.status = 500
    shop.customer()
    shop.stand_in.advance(days=0)
    event = shop.v1.events.list({"type": "customer.created"}).data[0]
    for _ in range(9):
        shop.stand_in.advance(days=2)

    assert [attempt for attempt, _ in outcomes(shop, event.id)] == [1, 2, 3, 4, 5, 6, 7]


def test_events_are_duplicated(shop: Shop) -> None:
    shop.stand_in.do("disturb", copies=3)
    shop.v1.customers.create({"name": "Ann"})
    shop.stand_in.do("drain")

    events = [event for event in shop.receiver.events() if event["type"] == "customer.created"]
    assert len(events) == 3
    assert len({event["id"] for event in events}) == 1


def test_events_are_lost(shop: Shop) -> None:
    shop.stand_in.do("disturb", lose=1)
    for name in ("Ann", "Bob"):
        shop.v1.customers.create({"name": name})
    shop.stand_in.do("drain")

    assert names(shop)[-1] == "Bob"
    assert "Ann" not in names(shop)
    lost = shop.v1.events.list({"type": "customer.created"}).data[1]
    assert outcomes(shop, lost.id) == [(1, "lost")]
    shop.stand_in.do("resend", event=lost.id)
    shop.stand_in.do("drain")
    assert names(shop)[-1] == "Ann"


@pytest.mark.parametrize("order", ["as_created", "reversed", "shuffled"])
def test_events_are_held_and_released(shop: Shop, order: str) -> None:
    shop.stand_in.do("drain")
    before = len(shop.receiver.bodies)
    shop.stand_in.do("disturb", held=True)
    written = [f"customer {number}" for number in range(9)]
    for name in written:
        shop.v1.customers.create({"name": name})
    shop.stand_in.do("drain")
    assert len(shop.receiver.bodies) == before

    shop.stand_in.do("release", order=order)
    shop.stand_in.do("drain")
    delivered = names(shop)[before:]
    assert sorted(delivered) == written
    assert (delivered == written) == (order == "as_created")
    assert (delivered == written[::-1]) == (order == "reversed")


def test_endpoints_are_listed(shop: Shop) -> None:
    shop.use_empty_account()
    listed = shop.v1.webhook_endpoints.list().data

    assert [endpoint.id for endpoint in listed] == ["we_connect", "we_platform"]
    assert {endpoint.api_version for endpoint in listed} == {"2026-10-28.endive"}


def test_client_retries_a_rate_limit_not(shop: Shop) -> None:
    """The official client retries 500, not 429."""
    retrying = client(shop.stand_in, max_network_retries=1)
    shop.stand_in.do("fail", kind="rate_limit", path="/v1/customers")
    with pytest.raises(stripe.RateLimitError):
        retrying.v1.customers.create({})


def test_objects_are_shown_to_tests(shop: Shop) -> None:
    customer = shop.customer()

    assert [each["id"] for each in shop.stand_in.do("objects", kind="customer")["data"]] == [customer.id]
