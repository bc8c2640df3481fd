"""Invoices: lines, totals and status (https://docs.stripe.com/invoicing/overview). `billing` collects them."""

from typing import Any

from tools.stripe_stand_in.api import Call, Route, list_of, listing, matching, simple_get
from tools.stripe_stand_in.errors import invalid
from tools.stripe_stand_in.world import Object, World


def line(
    world: World, subscription: Object, price: Object, amount: int, period: tuple[int, int], *, proration: bool = False
) -> Object:
    """Return a line (https://docs.stripe.com/api/invoice-line-item/object)."""
    details = {
        "invoice_item": None,
        "proration": proration,
        "proration_details": {"credited_items": None} if proration else None,
        "subscription": subscription["id"],
        "subscription_item": subscription["items"]["data"][0]["id"],
    }
    prefix = ("Unused time on " if amount < 0 else "Remaining time on ") if proration else ""
    return {
        "id": world.new_id("il"),
        "object": "line_item",
        "amount": amount,
        "currency": price["currency"],
        "description": f"{prefix}{world.objects[price['product']]['name']}",
        "discount_amounts": [],
        "discountable": not proration,
        "discounts": [],
        "invoice": None,
        "livemode": False,
        "metadata": {},
        "parent": {
            "type": "subscription_item_details",
            "subscription_item_details": details,
            "invoice_item_details": None,
        },
        "period": {"start": period[0], "end": period[1]},
        "pretax_credit_amounts": [],
        "pricing": {
            "type": "price_details",
            "price_details": {"price": price["id"], "product": price["product"]},
            "unit_amount_decimal": price["unit_amount_decimal"],
        },
        "quantity": 1,
        "subtotal": amount,
        "taxes": [],
    }


def totals(world: World, lines: list[Object], balance: int, *, taxed: bool) -> Object:
    """Return the amounts of an invoice.

    A negative balance of the customer is a credit, which reduces what is due; a negative total adds to it
    (https://docs.stripe.com/invoicing/customer/balance). Tax is rounded half up.
    """
    subtotal = sum(each["amount"] for each in lines)
    tax = (subtotal * world.settings.tax_percent + 50) // 100 if taxed else 0
    total = subtotal + tax
    due = max(0, total + min(0, balance)) if total > 0 else 0
    taxes = {
        "amount": tax,
        "tax_behavior": "exclusive",
        "tax_rate_details": None,
        "taxability_reason": "standard_rated",
        "taxable_amount": subtotal,
        "type": "tax_rate_details",
    }
    return {
        "amount_due": due,
        "amount_paid": 0,
        "amount_remaining": due,
        "starting_balance": balance,
        "ending_balance": balance + total - due,
        "subtotal": subtotal,
        "subtotal_excluding_tax": subtotal,
        "total": total,
        "total_excluding_tax": subtotal,
        "total_taxes": [taxes] if taxed else [],
    }


def draft(world: World, subscription: Object, lines: list[Object], reason: str, *, id_: str) -> Object:
    """Return a draft, which isn't stored."""
    customer = world.objects[subscription["customer"]]
    taxed = subscription["automatic_tax"]["enabled"]
    for each in lines:
        each["invoice"] = id_
    details = {"metadata": dict(subscription["metadata"]), "subscription": subscription["id"]}
    return {
        "id": id_,
        "object": "invoice",
        "created": world.now,
        "livemode": False,
        "account_country": "US",
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": True,
        "automatic_tax": {"enabled": taxed, "status": "complete" if taxed else None},
        "automatically_finalizes_at": None,
        "billing_reason": reason,
        "collection_method": "charge_automatically",
        "currency": subscription["currency"],
        "customer": customer["id"],
        "customer_email": customer.get("email"),
        "customer_name": customer.get("name"),
        "default_payment_method": None,
        "description": None,
        "discounts": [],
        "due_date": None,
        "hosted_invoice_url": None,
        "invoice_pdf": None,
        "last_finalization_error": None,
        "lines": list_of(lines, f"/v1/invoices/{id_}/lines"),
        "metadata": {},
        "next_payment_attempt": None,
        "number": None,
        "parent": {"type": "subscription_details", "subscription_details": details, "quote_details": None},
        "payments": list_of([], "/v1/invoice_payments"),
        "period_start": min((each["period"]["start"] for each in lines), default=world.now),
        "period_end": max((each["period"]["end"] for each in lines), default=world.now),
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "status": "draft",
        "status_transitions": dict.fromkeys(("finalized_at", "marked_uncollectible_at", "paid_at", "voided_at")),
        "test_clock": None,
    } | totals(world, lines, customer.get("balance", 0), taxed=taxed)


def create(world: World, subscription: Object, lines: list[Object], reason: str) -> Object:
    """Store a draft, which becomes the subscription's latest invoice."""
    invoice = draft(world, subscription, lines, reason, id_=world.new_id("in"))
    world.add(invoice)
    subscription["latest_invoice"] = invoice["id"]
    world.emit("invoice.created", invoice)
    return invoice


def subscription_of(world: World, invoice: Object) -> Object:
    return world.objects[invoice["parent"]["subscription_details"]["subscription"]]


def move(world: World, invoice: Object, status: str, *, time: str, events: str, **fields: Any) -> None:
    """Change the status, note the time, and emit events."""
    transitions = invoice["status_transitions"] | {time: world.now}
    world.change(invoice, None, status=status, status_transitions=transitions, **fields)
    for event in events.split():
        world.emit(event, invoice)


def finalize(world: World, invoice: Object) -> None:
    """Let nothing change any more (https://docs.stripe.com/invoicing/integration/workflow-transitions)."""
    if invoice["status"] != "draft":
        raise invalid(f"Invoices with status {invoice['status']} can't be finalized: it isn't a draft.")
    customer = world.objects[invoice["customer"]]
    if not customer.get("deleted"):
        lines, taxed = invoice["lines"]["data"], invoice["automatic_tax"]["enabled"]
        invoice.update(totals(world, lines, customer["balance"], taxed=taxed))
        number = customer["next_invoice_sequence"]
        balance = {"balance": invoice["ending_balance"], "currency": invoice["currency"]}
        world.change(customer, "customer.updated", next_invoice_sequence=number + 1, **balance)
        invoice["number"] = f"{customer['invoice_prefix']}-{number:04}"
    url = f"{world.base_url}/invoice/{invoice['id']}"
    fields = {"hosted_invoice_url": url, "automatically_finalizes_at": None}
    move(world, invoice, "open", time="finalized_at", events="invoice.finalized", **fields)


def list_invoices(world: World, call: Call) -> Object:
    things = world.all("invoice")
    if subscription := call.params.text("subscription"):
        things = [each for each in things if subscription_of(world, each)["id"] == subscription]
    return listing(call, matching(call, things, "customer status"), "/v1/invoices")


def list_payments(world: World, call: Call) -> Object:
    """https://docs.stripe.com/api/invoice-payment/list"""
    things = [each for invoice in world.all("invoice") for each in invoice["payments"]["data"]]
    if intent := call.params.sub("payment").text("payment_intent"):
        things = [each for each in things if each["payment"]["payment_intent"] == intent]
    return listing(call, matching(call, things, "invoice status"), "/v1/invoice_payments")


def delete_draft(world: World, call: Call) -> Object:
    invoice = world.find("invoice", call.id)
    raise invalid(f"You can't delete the invoice {invoice['id']}: it belongs to a subscription. Void it instead.")


PAGES = "limit starting_after ending_before created created.gte created.gt created.lte created.lt"
ROUTES = [
    Route("GET", "/v1/invoices", list_invoices, f"{PAGES} subscription customer status"),
    simple_get("invoice", "/v1/invoices"),
    Route("DELETE", "/v1/invoices/{id}", delete_draft),
    Route("GET", "/v1/invoice_payments", list_payments, f"{PAGES} invoice status payment.type payment.payment_intent"),
]
