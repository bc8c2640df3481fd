"""PaymentIntents and charges (https://docs.stripe.com/payments/paymentintents/lifecycle)."""

from collections.abc import Callable

from tools.stripe_stand_in import balance, disputes
from tools.stripe_stand_in.api import Call, Route, list_of, simple_get, simple_list
from tools.stripe_stand_in.cards import error_of
from tools.stripe_stand_in.errors import invalid
from tools.stripe_stand_in.world import DAY, Object, World

DEBIT_DAYS = 5  # of SEPA Direct Debit: https://docs.stripe.com/payments/sepa-debit


def new_intent(
    world: World,
    *,
    amount: int,
    currency: str,
    customer: str | None,
    metadata: dict[str, str] | None = None,
    transfer_group: str | None = None,
    settle: Callable[[Object], None],
) -> Object:
    """Make a PaymentIntent. `settle` runs when it has succeeded, or when a debit has failed after days."""
    id_ = world.new_id("pi")
    fields = {
        "amount": amount,
        "amount_capturable": 0,
        "amount_received": 0,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic",
        "client_secret": f"{id_}_secret_{world.new_id('x').removeprefix('x_')}",
        "currency": currency,
        "customer": customer,
        "description": None,
        "last_payment_error": None,
        "latest_charge": None,
        "metadata": metadata or {},
        "next_action": None,
        "payment_method": None,
        "payment_method_types": ["card"],
        "processing": None,
        "status": "requires_payment_method",
        "transfer_group": transfer_group,
    }
    intent = world.new("payment_intent", id_, fields)
    world.settle[id_] = settle
    world.emit("payment_intent.created", intent)
    return intent


def confirm(
    world: World, intent: Object, payment_method: Object, *, off_session: bool, authenticated: bool = False
) -> str:
    """Charge a payment method; return the PaymentIntent's status.

    Args:
        off_session: the customer isn't there to authenticate, so the charge is declined if the bank wants that.
        authenticated: the customer has just authenticated.
    """
    means = world.means[payment_method["id"]]
    intent["payment_method"] = payment_method["id"]
    asks = means.authentication == "always" or (
        means.authentication == "setup" and payment_method["id"] not in world.set_up
    )
    if means.decline:
        _fail(world, intent, payment_method, means.decline)
    elif asks and off_session:
        _fail(world, intent, payment_method, "authentication_required")
    elif asks and not authenticated:
        action = {"type": "use_stripe_sdk", "use_stripe_sdk": {}}
        world.change(intent, None, status="requires_action", next_action=action, last_payment_error=None)
        world.emit("payment_intent.requires_action", intent)
    elif means.later:
        world.change(intent, None, status="processing", next_action=None, last_payment_error=None)
        charge = _new_charge(world, intent, payment_method, status="pending")
        world.emit("payment_intent.processing", intent)
        world.emit("charge.pending", charge)
        world.at(world.now + DEBIT_DAYS * DAY, lambda: _end_debit(world, intent, payment_method, charge))
    else:
        world.set_up.add(payment_method["id"])
        _succeed(world, intent, payment_method, _new_charge(world, intent, payment_method, status="succeeded"))
    return str(intent["status"])


def _succeed(world: World, intent: Object, payment_method: Object, charge: Object) -> None:
    means = world.means[payment_method["id"]]
    pending_days = 0 if means.at_once or means.later else balance.PENDING_DAYS
    transaction = balance.record(
        world, "charge", charge["amount"], charge, fee=balance.fee_of(charge["amount"]), pending_days=pending_days
    )
    charge.update(status="succeeded", paid=True, captured=True, balance_transaction=transaction["id"])
    world.change(
        intent, None, status="succeeded", amount_received=intent["amount"], next_action=None, last_payment_error=None
    )
    world.emit("charge.succeeded", charge)
    world.emit("payment_intent.succeeded", intent)
    world.settle[intent["id"]](intent)
    if means.dispute:
        disputes.open_dispute(world, charge, reason=means.dispute, inquiry=means.inquiry)


def _fail(
    world: World, intent: Object, payment_method: Object, decline_code: str, charge: Object | None = None
) -> None:
    error = error_of(decline_code, payment_method["id"])
    charge = charge or _new_charge(world, intent, payment_method, status="failed")
    charge.update(status="failed", failure_code=error["code"], failure_message=error["message"])
    status = {"status": "requires_payment_method", "payment_method": None, "next_action": None}
    world.change(intent, None, last_payment_error=error, **status)
    world.emit("charge.failed", charge)
    world.emit("payment_intent.payment_failed", intent)


def _end_debit(world: World, intent: Object, payment_method: Object, charge: Object) -> None:
    """https://docs.stripe.com/payments/sepa-debit: the bank answers days later."""
    if world.means[payment_method["id"]].later == "succeeds":
        _succeed(world, intent, payment_method, charge)
    else:
        _fail(world, intent, payment_method, "generic_decline", charge)
        world.settle[intent["id"]](intent)


def _new_charge(world: World, intent: Object, payment_method: Object, *, status: str) -> Object:
    id_ = world.new_id("ch")
    kind = payment_method["type"]
    fields = {
        "amount": intent["amount"],
        "amount_captured": intent["amount"] if status == "succeeded" else 0,
        "amount_refunded": 0,
        "balance_transaction": None,
        "captured": status == "succeeded",
        "currency": intent["currency"],
        "customer": intent["customer"],
        "disputed": False,
        "failure_code": None,
        "failure_message": None,
        "metadata": dict(intent["metadata"]),
        "paid": status == "succeeded",
        "payment_intent": intent["id"],
        "payment_method": payment_method["id"],
        "payment_method_details": {"type": kind, kind: dict(payment_method[kind])},
        "receipt_url": None,
        "refunded": False,
        "refunds": list_of([], f"/v1/charges/{id_}/refunds"),
        "status": status,
        "transfer_group": intent["transfer_group"],
    }
    charge = world.new("charge", id_, fields)
    intent["latest_charge"] = id_
    return charge


def cancel(world: World, call: Call) -> Object:
    intent = world.find("payment_intent", call.id)
    if intent["status"] in {"succeeded", "canceled", "processing"}:
        message = f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}."
        raise invalid(message, code="payment_intent_unexpected_state")
    give_up(world, intent)
    return intent


def give_up(world: World, intent: Object) -> None:
    if intent["status"] not in {"succeeded", "canceled"}:
        world.change(intent, "payment_intent.canceled", status="canceled", canceled_at=world.now, next_action=None)


ROUTES = [
    simple_get("payment_intent", "/v1/payment_intents"),
    simple_list("payment_intent", "/v1/payment_intents", "customer"),
    Route("POST", "/v1/payment_intents/{id}/cancel", cancel),
    simple_get("charge", "/v1/charges"),
    simple_list("charge", "/v1/charges", "customer payment_intent transfer_group"),
]
