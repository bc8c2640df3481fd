"""Customers and their payment methods (https://docs.stripe.com/api/customers, https://docs.stripe.com/api/payment_methods)."""

from tools.stripe_stand_in.api import LISTING, Call, Route, listing, simple_get, simple_list
from tools.stripe_stand_in.cards import ATTACHABLE_BUT_FAILING, MEANS, error_of
from tools.stripe_stand_in.errors import StripeError, invalid, missing
from tools.stripe_stand_in.world import Object, World


def create(world: World, call: Call) -> Object:
    params = call.params
    fields = {
        "address": None,
        "balance": 0,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": params.text("description"),
        "discount": None,
        "email": params.text("email"),
        "invoice_prefix": world.new_id("I", 7).removeprefix("I_").upper(),
        "invoice_settings": {"custom_fields": None, "default_payment_method": None, "footer": None},
        "metadata": params.metadata(),
        "name": params.text("name"),
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": params.texts("preferred_locales"),
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }
    customer = world.new("customer", world.new_id("cus", 14), fields)
    world.emit("customer.created", customer)
    return customer


def update(world: World, call: Call) -> Object:
    customer = world.find("customer", call.id)
    if customer.get("deleted"):
        raise missing("customer", call.id)
    params = call.params
    changes: Object = {name: params.text(name) for name in ("email", "name", "description") if name in params}
    changes["metadata"] = params.metadata(customer["metadata"])
    if default := params.sub("invoice_settings").text("default_payment_method"):
        if world.referred("payment_method", default, "invoice_settings[default_payment_method]")["customer"] != call.id:
            raise invalid("The customer does not have a payment method with that ID.")
        changes["invoice_settings"] = customer["invoice_settings"] | {"default_payment_method": default}
    world.change(customer, "customer.updated", **changes)
    return customer


def new_payment_method(world: World, name: str, customer: str | None) -> Object:
    """Make a payment method of a test card. `name`: a key of `MEANS`."""
    means = MEANS[name]
    details: Object = {"fingerprint": means.fingerprint, "last4": means.number[-4:]}
    if means.type == "card":
        details |= {"brand": "visa", "country": "US", "exp_month": 12, "exp_year": 2040, "funding": "credit"}
        details |= {"checks": {"cvc_check": "pass"}, "wallet": None}
    else:
        details |= {"bank_code": "19043", "branch_code": "", "country": "AT"}
    fields = {
        "allow_redisplay": "unspecified",
        "billing_details": {"address": None, "email": None, "name": None, "phone": None},
        "customer": None,
        "metadata": {},
        "type": means.type,
        means.type: details,
    }
    payment_method = world.new("payment_method", world.new_id("pm"), fields)
    world.means[payment_method["id"]] = means
    if customer:
        world.change(payment_method, "payment_method.attached", customer=customer)
    return payment_method


def attach(world: World, call: Call) -> Object:
    """https://docs.stripe.com/api/payment_methods/attach; a name of a test card makes a new payment method."""
    customer = world.referred("customer", call.params.required("customer"), "customer")
    if call.id in MEANS:
        means = MEANS[call.id]
        if means.decline and means is not ATTACHABLE_BUT_FAILING:
            error: Object = error_of(means.decline, call.id)
            raise StripeError(402, error.pop("type"), error.pop("message"), **error)
        return new_payment_method(world, call.id, customer["id"])
    payment_method = world.find("payment_method", call.id)
    world.change(payment_method, "payment_method.attached", customer=customer["id"])
    return payment_method


def detach(world: World, call: Call) -> Object:
    payment_method = world.find("payment_method", call.id)
    if payment_method["customer"] is None:
        raise invalid("The payment method you provided is not attached to a customer so detachment is impossible.")
    world.change(payment_method, "payment_method.detached", customer=None)
    return payment_method


def list_of_customer(world: World, call: Call) -> Object:
    customer = world.find("customer", call.id)
    things = world.all("payment_method", customer=customer["id"])
    return listing(call, things, f"/v1/customers/{call.id}/payment_methods")


def resolve(world: World, id_: str, param: str) -> Object:
    """Return a payment method; the name of a test card makes one."""
    return new_payment_method(world, id_, None) if id_ in MEANS else world.referred("payment_method", id_, param)


def default_of(world: World, customer: Object, *, chosen: str | None = None) -> Object | None:
    """Return the payment method to charge: the chosen one, else the customer's."""
    id_ = chosen or customer.get("invoice_settings", {}).get("default_payment_method")
    return world.objects.get(id_) if id_ else None


ROUTES = [
    Route("POST", "/v1/customers", create, "description email name metadata.* metadata preferred_locales"),
    simple_get("customer", "/v1/customers"),
    simple_list("customer", "/v1/customers", "email"),
    Route(
        "POST",
        "/v1/customers/{id}",
        update,
        "description email name metadata.* metadata invoice_settings.default_payment_method",
    ),
    Route("GET", "/v1/customers/{id}/payment_methods", list_of_customer, LISTING),
    Route("POST", "/v1/payment_methods/{id}/attach", attach, "customer"),
    Route("POST", "/v1/payment_methods/{id}/detach", detach),
    simple_get("payment_method", "/v1/payment_methods"),
    simple_list("payment_method", "/v1/payment_methods", "customer type"),
]
