"""Refunds (https://docs.stripe.com/refunds): succeeded, pending, and failed after they had succeeded."""

from tools.stripe_stand_in import balance
from tools.stripe_stand_in.api import Call, Route, simple_get, simple_list
from tools.stripe_stand_in.errors import invalid, malformed
from tools.stripe_stand_in.world import DAY, Object, World

DAYS = 5  # until a pending refund succeeds, or the bank returns one


def create(world: World, call: Call) -> Object:
    params = call.params
    charge = charge_of(world, call)
    if not charge["paid"]:
        raise invalid(f"The charge {charge['id']} can't be refunded: it wasn't paid.", code="charge_not_refundable")
    if charge["disputed"]:
        raise invalid(f"Charge {charge['id']} has been charged back; cannot issue a refund.", code="charge_disputed")
    left = charge["amount"] - charge["amount_refunded"]
    if left == 0:
        raise invalid(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    amount = params.integer("amount", least=1) or left
    if amount > left:
        raise invalid(f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})", param="amount")
    reason = params.text("reason") and params.choice("reason", "duplicate fraudulent requested_by_customer", "")
    return refund(world, charge, amount, reason=reason, metadata=params.metadata())


def charge_of(world: World, call: Call) -> Object:
    """Return the charge that the parameter `charge` or `payment_intent` names."""
    params = call.params
    if id_ := params.text("charge"):
        return world.referred("charge", id_, "charge")
    if not (id_ := params.text("payment_intent")):
        message = "One of the following params should be provided for this request: payment_intent or charge."
        raise malformed(message, "charge", "parameter_missing")
    intent = world.referred("payment_intent", id_, "payment_intent")
    if intent["latest_charge"] is None:
        raise invalid(f"This PaymentIntent ({id_}) does not have a successful charge to refund.")
    return world.objects[intent["latest_charge"]]


def refund(world: World, charge: Object, amount: int, *, reason: str | None, metadata: dict[str, str]) -> Object:
    means = world.means[charge["payment_method"]]
    pending = means.refund == "pending"
    fields = {
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "currency": charge["currency"],
        "destination_details": {"type": charge["payment_method_details"]["type"]},
        "failure_balance_transaction": None,
        "failure_reason": None,
        "metadata": metadata,
        "payment_intent": charge["payment_intent"],
        "pending_reason": "processing" if pending else None,
        "reason": reason,
        "receipt_number": None,
        "status": "pending" if pending else "succeeded",
    }
    thing = world.new("refund", world.new_id("re"), fields)
    # Stripe keeps the payment's fee: https://docs.stripe.com/refunds
    thing["balance_transaction"] = balance.record(world, "refund", -amount, thing)["id"]
    refunded = charge["amount_refunded"] + amount
    charge["refunds"]["data"].insert(0, thing)
    world.emit("refund.created", thing)
    changes = {"amount_refunded": refunded, "refunded": refunded == charge["amount"]}
    world.change(charge, "charge.refunded", **changes)
    if pending:
        world.at(world.now + DAYS * DAY, lambda: _succeed(world, thing))
    if means.refund == "fails":
        world.at(world.now + DAYS * DAY, lambda: fail(world, thing))
    return thing


def _succeed(world: World, thing: Object) -> None:
    if thing["status"] == "pending":
        world.change(thing, "refund.updated", status="succeeded", pending_reason=None)


def fail(world: World, thing: Object) -> None:
    """Let the bank return the money (https://docs.stripe.com/refunds#failed-refunds)."""
    if thing["status"] == "failed":
        return
    charge = world.objects[thing["charge"]]
    returned = balance.record(world, "refund_failure", thing["amount"], thing)
    charge.update(amount_refunded=charge["amount_refunded"] - thing["amount"], refunded=False)
    reason = {"failure_reason": "lost_or_stolen_card", "failure_balance_transaction": returned["id"]}
    world.change(thing, "refund.updated", status="failed", pending_reason=None, **reason)
    world.emit("refund.failed", thing)


def update(world: World, call: Call) -> Object:
    thing = world.find("refund", call.id)
    world.change(thing, "refund.updated", metadata=call.params.metadata(thing["metadata"]))
    return thing


ROUTES = [
    Route("POST", "/v1/refunds", create, "charge payment_intent amount reason metadata.* metadata"),
    simple_get("refund", "/v1/refunds"),
    simple_list("refund", "/v1/refunds", "charge payment_intent"),
    Route("POST", "/v1/refunds/{id}", update, "metadata.* metadata"),
]
