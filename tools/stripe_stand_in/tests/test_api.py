"""What all endpoints share: keys, versions, errors, idempotency, pages of lists, expanded fields."""

from typing import Any
from uuid import uuid4

import httpx2
import pytest
import stripe

from tools.stripe_stand_in.tests.shop import Shop, client

pytestmark = pytest.mark.timeout(60)


def raw(shop: Shop, method: str, path: str, data: dict[str, str] | None = None, **headers: str) -> httpx2.Response:
    """Send a request without the official client."""
    headers = {"authorization": "Bearer sk_test_x"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return shop.stand_in.http.request(method, f"{shop.stand_in.url}{path}", data=data, headers=headers)


@pytest.mark.parametrize("key", ["sk_live_x", "nonsense"])
def test_key_of_another_mode_is_refused(shop: Shop, key: str) -> None:
    response = raw(shop, "GET", "/v1/balance", authorization=f"Bearer {key}")

    assert response.status_code == 401
    assert key not in response.text


def test_key_works_as_user_name(shop: Shop) -> None:
    response = shop.stand_in.http.get(f"{shop.stand_in.url}/v1/balance", auth=("sk_test_x", ""))

    assert response.status_code == 200
    assert response.headers["request-id"].startswith("req_")
    assert response.headers["stripe-version"] == "2026-10-28.endive"


def test_other_version_is_refused(shop: Shop) -> None:
    response = raw(shop, "GET", "/v1/balance", stripe_version="2020-08-27")

    assert response.json()["error"]["message"].startswith("Invalid Stripe API version: 2020-08-27")


def test_unknown_path_is_refused(shop: Shop) -> None:
    response = raw(shop, "GET", "/v1/mandates")

    assert response.status_code == 404
    assert response.json()["error"]["message"] == "Unrecognized request URL (GET: /v1/mandates)."


@pytest.mark.parametrize(
    ("wrong", "param", "code"),
    [
        ({"unit_amount": None}, "unit_amount", "parameter_missing"),
        ({"unit_amount": "ten"}, "unit_amount", "parameter_invalid_integer"),
        ({"unit_amount": -1}, "unit_amount", "parameter_invalid_integer"),
        ({"tiers": [{"up_to": 1}]}, "tiers[0][up_to]", "parameter_unknown"),
        ({"product": "prod_1"}, "product", "resource_missing"),
        ({"recurring": {"interval": "fortnight"}}, "recurring[interval]", None),
        ({"recurring": "month"}, "recurring", "parameter_unknown"),
        ({"metadata": "a"}, "metadata", None),
        ({"transfer_lookup_key": "maybe", "lookup_key": "k"}, "transfer_lookup_key", None),
    ],
)
def test_wrong_parameter_is_named(shop: Shop, wrong: dict[str, Any], param: str, code: str | None) -> None:
    product = shop.v1.products.create({"name": "Plan"})
    params = {"currency": "usd", "product": product.id, "unit_amount": 1} | wrong
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        shop.v1.prices.create(params)

    assert (refusal.value.http_status, refusal.value.param, refusal.value.code) == (400, param, code)


def test_unknown_id_is_missing(shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="No such customer: 'cus_x'") as refusal:
        shop.v1.customers.retrieve("cus_x")

    assert (refusal.value.http_status, refusal.value.code) == (404, "resource_missing")


def test_metadata_is_merged_and_unset(shop: Shop) -> None:
    customer = shop.v1.customers.create({"metadata": {"a": "1", "b": "2"}})
    changed = shop.v1.customers.update(customer.id, {"metadata": {"a": "", "c": "3"}})
    assert changed.metadata.to_dict() == {"b": "2", "c": "3"}

    emptied = shop.v1.customers.update(customer.id, {"metadata": ""})
    assert emptied.metadata.to_dict() == {}


def test_saved_answer_is_repeated_for_a_day(shop: Shop) -> None:
    options = {"idempotency_key": "customer:1"}
    first = shop.v1.customers.create({"name": "Ann"}, options)
    shop.stand_in.advance(hours=23)
    assert shop.v1.customers.create({"name": "Ann"}, options).id == first.id

    shop.stand_in.advance(hours=1)
    assert shop.v1.customers.create({"name": "Ann"}, options).id != first.id


def test_repeated_answer_says_so(shop: Shop) -> None:
    first = raw(shop, "POST", "/v1/customers", {"name": "Ann"}, idempotency_key="k")
    second = raw(shop, "POST", "/v1/customers", {"name": "Ann"}, idempotency_key="k")

    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["original-request"] == first.headers["request-id"]


@pytest.mark.parametrize("path", ["customers", "products"])
def test_key_is_for_one_request(shop: Shop, path: str) -> None:
    """Neither other parameters, nor another endpoint."""
    shop.v1.customers.create({"name": "Ann"}, {"idempotency_key": "k"})

    with pytest.raises(stripe.IdempotencyError, match="same parameters") as refusal:
        getattr(shop.v1, path).create({"name": "Bob" if path == "customers" else "Ann"}, {"idempotency_key": "k"})
    assert refusal.value.http_status == 400


def test_too_long_key_is_refused(shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="255"):
        shop.v1.customers.create({}, {"idempotency_key": "k" * 256})


def test_malformed_request_uses_no_key(shop: Shop) -> None:
    options = {"idempotency_key": str(uuid4())}
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.products.create({}, options)

    assert shop.v1.products.create({"name": "Plan"}, options).name == "Plan"


def test_refusal_is_repeated_with_the_key(shop: Shop) -> None:
    params = {"customer": shop.customer().id}
    replays: list[str | None] = []
    key = str(uuid4())
    for _ in range(2):
        with pytest.raises(stripe.CardError) as refusal:
            shop.v1.payment_methods.attach("pm_card_visa_chargeDeclined", params, {"idempotency_key": key})
        assert refusal.value.code == "card_declined"
        replays.append((refusal.value.headers or {}).get("idempotent-replayed"))
    assert replays == [None, "true"]


def test_list_has_pages_newest_first(shop: Shop) -> None:
    shop.use_empty_account()
    ids = [shop.v1.customers.create({"name": str(number)}).id for number in range(5)]
    first = shop.v1.customers.list({"limit": 2})
    second = shop.v1.customers.list({"limit": 2, "starting_after": first.data[-1].id})
    back = shop.v1.customers.list({"limit": 2, "ending_before": second.data[0].id})

    assert [each.id for each in first.data] == [ids[4], ids[3]]
    assert first.has_more
    assert [each.id for each in second.data] == [ids[2], ids[1]]
    assert [each.id for each in back.data] == [ids[4], ids[3]]
    assert not back.has_more
    assert [each.id for each in shop.v1.customers.list({"limit": 2}).auto_paging_iter()] == ids[::-1]


@pytest.mark.parametrize("params", [{"limit": 101}, {"limit": 0}, {"starting_after": "cus_x"}])
def test_wrong_page_is_refused(shop: Shop, params: dict[str, Any]) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.customers.list(params)


def test_list_is_limited_to_times(shop: Shop) -> None:
    old = shop.customer()
    shop.stand_in.advance(hours=1)
    new = shop.customer()

    assert [each.id for each in shop.v1.customers.list({"created": {"gte": new.created}}).data] == [new.id]
    assert [each.id for each in shop.v1.customers.list({"created": {"gt": old.created, "lte": new.created}}).data] == [
        new.id
    ]
    assert [each.id for each in shop.v1.customers.list({"created": {"lt": new.created}}).data] == [old.id]
    assert [each.id for each in shop.v1.customers.list({"created": old.created}).data] == [old.id]


def test_fields_are_expanded(shop: Shop) -> None:
    subscription = shop.subscribe()
    paths = ["latest_invoice.payments.data.payment.payment_intent", "customer"]
    with pytest.raises(stripe.InvalidRequestError, match="4 levels"):
        shop.v1.subscriptions.retrieve(subscription.id, {"expand": paths})

    expanded = shop.v1.subscriptions.retrieve(subscription.id, {"expand": ["latest_invoice.payments", "customer"]})
    listed = shop.v1.subscriptions.list({"expand": ["data.customer"]})
    assert expanded.latest_invoice.payments.data[0].status == "paid"
    assert expanded.customer.email == listed.data[0].customer.email == "ann@example.com"


@pytest.mark.parametrize("path", ["nothing", "created", "status", "latest_invoice.nothing"])
def test_field_that_is_no_object_isnt_expanded(shop: Shop, path: str) -> None:
    subscription = shop.subscribe()

    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        shop.v1.subscriptions.retrieve(subscription.id, {"expand": [path]})


def test_hidden_field_is_shown_if_expanded(shop: Shop) -> None:
    session = shop.checkout()

    assert "line_items" not in shop.v1.checkout.sessions.retrieve(session.id)
    expanded = shop.v1.checkout.sessions.retrieve(session.id, {"expand": ["line_items"]})
    assert expanded.line_items.data[0].amount_total == 5000


def test_rate_limit_has_no_effect(shop: Shop) -> None:
    shop.stand_in.do("fail", kind="rate_limit", path="/v1/customers")
    with pytest.raises(stripe.RateLimitError):
        shop.v1.customers.create({}, {"idempotency_key": "k"})

    assert shop.v1.customers.list().data == []
    assert shop.v1.customers.create({}, {"idempotency_key": "k"}).id


@pytest.mark.parametrize(("kind", "customers"), [("error_before", 0), ("error_after", 1)])
def test_own_error_is_repeated_for_a_day(shop: Shop, kind: str, customers: int) -> None:
    shop.stand_in.do("fail", kind=kind)
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            shop.v1.customers.create({}, {"idempotency_key": "k"})
    assert len(shop.v1.customers.list().data) == customers

    shop.stand_in.advance(hours=24)
    shop.v1.customers.create({}, {"idempotency_key": "k"})
    assert len(shop.v1.customers.list().data) == customers + 1


@pytest.mark.parametrize(("kind", "customers"), [("timeout_before", 0), ("timeout_after", 1)])
def test_request_without_an_answer_times_out(shop: Shop, kind: str, customers: int) -> None:
    impatient = client(shop.stand_in, http_client=stripe.RequestsClient(timeout=0.5), max_network_retries=0)
    shop.stand_in.do("fail", kind=kind)
    with pytest.raises(stripe.APIConnectionError):
        impatient.v1.customers.create({"name": "Ann"}, {"idempotency_key": "k"})
    assert len(shop.v1.customers.list().data) == customers

    shop.v1.customers.create({"name": "Ann"}, {"idempotency_key": "k"})
    assert len(shop.v1.customers.list().data) == 1


def test_faults_can_be_limited_and_cleared(shop: Shop) -> None:
    shop.stand_in.do("fail", kind="rate_limit", method="GET", path="/v1/balance", times=9)
    shop.customer()
    for _ in range(2):
        with pytest.raises(stripe.RateLimitError):
            shop.v1.balance.retrieve()

    shop.stand_in.do("recover")
    assert shop.v1.balance.retrieve().object == "balance"


def test_lookup_key_is_unique_and_moves(shop: Shop) -> None:
    product = shop.v1.products.create({"name": "Plan"})
    fields = {"product": product.id, "currency": "USD", "unit_amount": 3900, "recurring": {"interval": "month"}}
    with pytest.raises(stripe.InvalidRequestError, match="already uses that lookup key"):
        shop.v1.prices.create(fields | {"lookup_key": "pro_month_usd"})

    new = shop.v1.prices.create(fields | {"lookup_key": "pro_month_usd", "transfer_lookup_key": True})
    listed = shop.v1.prices.list({"lookup_keys": ["pro_month_usd", "pro_year_usd"], "active": True})
    assert {price.id for price in listed.data} == {new.id, shop.prices["pro_year_usd"]}
    assert shop.v1.prices.retrieve(shop.prices["pro_month_usd"]).lookup_key is None
    shop.v1.prices.update(shop.prices["pro_year_usd"], {"lookup_key": "pro_month_usd", "transfer_lookup_key": True})
    assert shop.v1.prices.retrieve(new.id).lookup_key is None
    assert [price.id for price in shop.v1.prices.list({"product": product.id}).data] == [new.id]
    shop.v1.prices.update(new.id, {"active": False})
    assert new.id not in [price.id for price in shop.v1.prices.list({"active": True}).data]


def test_deleted_customer_is_still_shown(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.v1.customers.delete(subscription.customer)

    assert shop.v1.customers.retrieve(subscription.customer).deleted
    assert shop.subscription(subscription.id).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        shop.v1.customers.update(subscription.customer, {"name": "Ann"})
    assert refusal.value.http_status == 404
    assert shop.events()[-2:] == ["customer.subscription.deleted", "customer.deleted"]


def test_forgotten_object_is_missing(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.stand_in.do("forget", object_id=subscription.id)

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        shop.v1.subscriptions.retrieve(subscription.id)
    assert refusal.value.code == "resource_missing"
