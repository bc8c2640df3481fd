"""The customer portal (https://docs.stripe.com/customer-management/integrate-customer-portal)."""

from tools.stripe_stand_in import billing, changes
from tools.stripe_stand_in.api import Call, Route
from tools.stripe_stand_in.customers import new_payment_method
from tools.stripe_stand_in.forms import Params
from tools.stripe_stand_in.world import Object, World

LINK_SECONDS = 300


def create(world: World, call: Call) -> Object:
    customer = world.referred("customer", call.params.required("customer"), "customer")
    id_ = world.new_id("bps")
    fields = {
        "configuration": call.params.text("configuration"),
        "customer": customer["id"],
        "flow": None,
        "locale": None,
        "on_behalf_of": None,
        "return_url": call.params.text("return_url"),
        "url": f"{world.base_url}/portal/{id_}",
    }
    return world.new("billing_portal.session", id_, fields)


def live_subscriptions(world: World, customer: str) -> list[Object]:
    return [each for each in world.all("subscription", customer=customer) if each["status"] not in billing.ENDED]


def set_card(world: World, customer: Object, card: str) -> Object:
    """Let the customer give another card: it is the default, and that of each subscription."""
    payment_method = new_payment_method(world, card, customer["id"])
    world.set_up.add(payment_method["id"])
    settings = customer["invoice_settings"] | {"default_payment_method": payment_method["id"]}
    world.change(customer, "customer.updated", invoice_settings=settings)
    for subscription in live_subscriptions(world, customer["id"]):
        world.change(subscription, "customer.subscription.updated", default_payment_method=payment_method["id"])
    return payment_method


def set_canceling(world: World, subscription: Object, *, canceling: bool) -> None:
    params = Params({"cancel_at_period_end": str(canceling).lower()})
    changes.update(world, Call(params=params, id=subscription["id"]))


def pay_invoice(world: World, invoice: Object, card: str, *, authenticated: bool = False) -> None:
    """Let the customer pay an open invoice on its page (https://docs.stripe.com/invoicing/hosted-invoice-page)."""
    payment_method = new_payment_method(world, card, invoice["customer"])
    billing.collect(world, invoice, payment_method=payment_method, off_session=False, authenticated=authenticated)


ROUTES = [Route("POST", "/v1/billing_portal/sessions", create, "customer return_url configuration")]
