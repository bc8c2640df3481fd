"""Checkout Sessions for payments and subscriptions (https://docs.stripe.com/payments/checkout/how-checkout-works)."""

from tools.stripe_stand_in import billing, catalog, customers, payments, subscriptions
from tools.stripe_stand_in.api import LISTING, Call, Route, list_of, listing, matching, simple_get
from tools.stripe_stand_in.cards import ATTACHABLE_BUT_FAILING
from tools.stripe_stand_in.customers import new_payment_method
from tools.stripe_stand_in.errors import invalid, malformed
from tools.stripe_stand_in.forms import Params
from tools.stripe_stand_in.world import DAY, Object, World

LEAST_SECONDS = 30 * 60  # https://docs.stripe.com/api/checkout/sessions/create: from 30 minutes to 24 hours
MODES = {"payment": "one_time", "subscription": "recurring"}


def create(world: World, call: Call) -> Object:
    params = call.params
    mode = params.choice("mode", "payment subscription", "")
    customer = params.text("customer")
    if customer:
        world.referred("customer", customer, "customer")
    expires_at = params.integer("expires_at") or world.now + DAY
    if not LEAST_SECONDS <= expires_at - world.now <= DAY:
        message = "`expires_at` must be from 30 minutes to 24 hours after the Checkout Session's creation."
        raise malformed(message, "expires_at")
    trial = subscriptions.trial_end_of(world, params.sub("subscription_data"))
    lines = _line_items(world, params, mode)
    amount = sum(each["amount_total"] for each in lines)
    tax = (amount * world.settings.tax_percent + 50) // 100 if params.sub("automatic_tax").flag("enabled") else 0
    total = 0 if trial else amount + tax
    id_ = world.new_id("cs_test", 58)
    fields = {
        "amount_subtotal": 0 if trial else amount,
        "amount_total": total,
        "automatic_tax": {"enabled": bool(params.sub("automatic_tax").flag("enabled")), "status": None},
        "cancel_url": params.text("cancel_url"),
        "client_reference_id": params.text("client_reference_id"),
        "currency": lines[0]["currency"],
        "customer": customer,
        "customer_details": None,
        "customer_email": params.text("customer_email"),
        "expires_at": expires_at,
        "invoice": None,
        "line_items": list_of(lines, f"/v1/checkout/sessions/{id_}/line_items"),
        "locale": params.text("locale"),
        "metadata": params.metadata(),
        "mode": mode,
        "payment_intent": None,
        "payment_method_collection": params.choice("payment_method_collection", "always if_required", "always"),
        "payment_method_types": params.texts("payment_method_types") or ["card"],
        "payment_status": "unpaid",
        "setup_intent": None,
        "status": "open",
        "submit_type": None,
        "subscription": None,
        "success_url": params.required("success_url"),
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0 if trial else tax},
        "ui_mode": "hosted_page",
        "url": f"{world.base_url}/pay/{id_}",
    }
    session = world.new("checkout.session", id_, fields)
    world.payment_data[id_] = {
        "trial_days": params.sub("subscription_data").integer("trial_period_days"),
        "trial_end": trial,
        "subscription_metadata": params.sub("subscription_data").metadata(),
        "payment_metadata": params.sub("payment_intent_data").metadata(),
        "transfer_group": params.sub("payment_intent_data").text("transfer_group"),
        "save": params.sub("payment_intent_data").text("setup_future_usage"),
        "missing": params.sub("subscription_data")
        .sub("trial_settings")
        .sub("end_behavior")
        .text("missing_payment_method"),
    }
    world.at(expires_at, lambda: expire(world, session))
    return session


def _line_items(world: World, params: Params, mode: str) -> list[Object]:
    lines: list[Object] = []
    for element in params.each("line_items"):
        if "price_data" in element:
            data = element.sub("price_data")
            product = data.text("product") or _product(world, data.sub("product_data").required("name"))
            price = catalog.new_price(world, data, product)
        else:
            price = world.referred("price", element.required("price"), element.path("price"))
        if mode == "payment" and price["type"] == "recurring":
            message = "You specified `payment` mode but passed a recurring price."
            raise malformed(message, element.path("price"))
        if not price["active"]:
            raise malformed(f"The price specified is inactive: {price['id']}", element.path("price"))
        quantity = element.integer("quantity", least=1) or 1
        amount = price["unit_amount"] * quantity
        lines.append(
            {
                "id": world.new_id("li"),
                "object": "item",
                "amount_discount": 0,
                "amount_subtotal": amount,
                "amount_tax": 0,
                "amount_total": amount,
                "currency": price["currency"],
                "description": world.objects[price["product"]]["name"],
                "price": dict(price),
                "quantity": quantity,
            }
        )
    if not lines:
        raise malformed("The line_items parameter is required in payment and subscription mode.", "line_items")
    if mode == "subscription" and [each["price"]["type"] for each in lines] != ["recurring"]:
        raise malformed("The stand-in models subscriptions of one recurring price.", "line_items")
    return lines


def _product(world: World, name: str) -> str:
    fields: Object = {"active": True, "description": None, "metadata": {}, "name": name}
    return str(world.new("product", world.new_id("prod", 14), fields)["id"])


def expire(world: World, session: Object) -> None:
    if session["status"] == "open":
        world.change(session, None, status="expired", url=None)
        if intent := world.objects.get(session["payment_intent"] or ""):
            payments.give_up(world, intent)
        world.emit("checkout.session.expired", session)


def expire_now(world: World, call: Call) -> Object:
    session = world.find("checkout.session", call.id)
    if session["status"] != "open":
        message = f'Only Checkout Sessions with a status in ["open"] can be expired: this one is {session["status"]}.'
        raise invalid(message)
    expire(world, session)
    return session


def submit(world: World, session: Object, card: str, *, authenticated: bool = False) -> Object:
    """Let the customer pay with a test card, a key of `cards.MEANS`.

    Returns:
        The session. It is still open where the card is declined, or asks for authentication.
    """
    if session["status"] != "open":
        raise invalid(f"The Checkout Session is {session['status']}.")
    if session["customer"] is None:
        create_customer = Call(params=Params({"email": session["customer_email"] or "customer@example.com"}))
        session["customer"] = customers.create(world, create_customer)["id"]
    customer = world.objects[session["customer"]]
    session["customer_details"] = {"address": None, "email": customer.get("email"), "name": customer.get("name")}
    if session["mode"] == "payment":
        _pay(world, session, card, authenticated=authenticated)
    else:
        _subscribe(world, session, card, authenticated=authenticated)
    return session


def _pay(world: World, session: Object, card: str, *, authenticated: bool) -> None:
    data = world.payment_data[session["id"]]
    payment_method = new_payment_method(world, card, session["customer"] if data["save"] else None)
    intent = world.objects.get(session["payment_intent"] or "")
    if intent is None:
        intent = payments.new_intent(
            world,
            amount=session["amount_total"],
            currency=session["currency"],
            customer=session["customer"],
            metadata=data["payment_metadata"],
            transfer_group=data["transfer_group"],
            settle=lambda intent: _settled(world, session, intent),
        )
        session["payment_intent"] = intent["id"]
    if payments.confirm(world, intent, payment_method, off_session=False, authenticated=authenticated) == "processing":
        _complete(world, session, "unpaid")


def _settled(world: World, session: Object, intent: Object) -> None:
    """Complete the session; or tell how a debit has ended (https://docs.stripe.com/payments/checkout/fulfill-orders)."""
    paid = intent["status"] == "succeeded"
    if session["status"] == "open":
        _complete(world, session, "paid")
    else:
        session["payment_status"] = "paid" if paid else "unpaid"
        world.emit(f"checkout.session.async_payment_{'succeeded' if paid else 'failed'}", session)


def _subscribe(world: World, session: Object, card: str, *, authenticated: bool) -> None:
    data = world.payment_data[session["id"]]
    payment_method = new_payment_method(world, card, session["customer"])
    means = world.means[payment_method["id"]]
    asks = means.authentication is not None and not authenticated
    refused = means.decline and not (data["trial_end"] and means is ATTACHABLE_BUT_FAILING)
    if refused or asks or means.later:
        # A failed attempt makes no subscription, as a Checkout Session's customer sees it.
        intent = payments.new_intent(
            world,
            amount=session["amount_total"],
            currency=session["currency"],
            customer=session["customer"],
            settle=lambda _: None,
        )
        payments.confirm(world, intent, payment_method, off_session=bool(means.later))
        payments.give_up(world, intent)
        return
    world.set_up.add(payment_method["id"])
    days = data["trial_days"]
    subscription = subscriptions.start(
        world,
        world.objects[session["customer"]],
        world.objects[session["line_items"]["data"][0]["price"]["id"]],
        trial_end=world.now + days * DAY if days else data["trial_end"],
        payment_method=payment_method,
        missing_payment_method=data["missing"],
        metadata=data["subscription_metadata"],
        taxed=session["automatic_tax"]["enabled"],
    )
    invoice = world.objects[subscription["latest_invoice"]]
    if invoice["status"] == "open":
        billing.collect(world, invoice, off_session=False, authenticated=True)
    session.update(subscription=subscription["id"], invoice=invoice["id"])
    _complete(world, session, "no_payment_required" if subscription["trial_end"] else "paid")


def _complete(world: World, session: Object, payment_status: str) -> None:
    world.change(session, None, status="complete", payment_status=payment_status, url=None)
    world.emit("checkout.session.completed", session)


def list_sessions(world: World, call: Call) -> Object:
    things = matching(call, world.all("checkout.session"), "customer payment_intent status subscription")
    return listing(call, things, "/v1/checkout/sessions")


def list_line_items(world: World, call: Call) -> Object:
    session = world.find("checkout.session", call.id)
    return listing(call, session["line_items"]["data"], session["line_items"]["url"])


def update(world: World, call: Call) -> Object:
    session = world.find("checkout.session", call.id)
    session["metadata"] = call.params.metadata(session["metadata"])
    return session


ROUTES = [
    Route(
        "POST",
        "/v1/checkout/sessions",
        create,
        "mode customer customer_email client_reference_id success_url cancel_url expires_at locale ui_mode "
        "line_items.price line_items.quantity line_items.price_data.currency line_items.price_data.unit_amount "
        "line_items.price_data.product line_items.price_data.product_data.name "
        "line_items.price_data.recurring.interval "
        "payment_method_types payment_method_collection automatic_tax.enabled metadata.* metadata "
        "payment_intent_data.metadata.* payment_intent_data.transfer_group payment_intent_data.setup_future_usage "
        "subscription_data.metadata.* subscription_data.trial_period_days subscription_data.trial_end "
        "subscription_data.trial_settings.end_behavior.missing_payment_method",
    ),
    simple_get("checkout.session", "/v1/checkout/sessions"),
    Route("GET", "/v1/checkout/sessions", list_sessions, f"{LISTING} customer payment_intent status subscription"),
    Route("POST", "/v1/checkout/sessions/{id}", update, "metadata.* metadata"),
    Route("POST", "/v1/checkout/sessions/{id}/expire", expire_now),
    Route("GET", "/v1/checkout/sessions/{id}/line_items", list_line_items, LISTING),
]
