"""Disputes (https://docs.stripe.com/disputes/how-disputes-work): inquiry, funds withdrawn, won, lost."""

from tools.stripe_stand_in import balance
from tools.stripe_stand_in.api import Call, Route, simple_get, simple_list
from tools.stripe_stand_in.errors import invalid
from tools.stripe_stand_in.world import DAY, Object, World

FEE = 1500  # https://stripe.com/pricing; it isn't returned when a dispute is won
EVIDENCE_DAYS = 20
WON = "winning_evidence"  # https://docs.stripe.com/testing#evidence
LOST = "losing_evidence"
OPEN = {"warning_needs_response", "warning_under_review", "needs_response", "under_review"}


def open_dispute(
    world: World, charge: Object, *, reason: str = "fraudulent", inquiry: bool = False, amount: int | None = None
) -> Object:
    """Let the cardholder dispute a charge, or part of it."""
    fields = {
        "amount": amount or charge["amount"],
        "balance_transactions": [],
        "charge": charge["id"],
        "currency": charge["currency"],
        "evidence": {"uncategorized_text": None},
        "evidence_details": {
            "due_by": world.now + EVIDENCE_DAYS * DAY,
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": inquiry,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "reason": reason,
        "status": "warning_needs_response" if inquiry else "needs_response",
    }
    dispute = world.new("dispute", world.new_id("du"), fields)
    charge["disputed"] = not inquiry
    world.emit("charge.dispute.created", dispute)
    if not inquiry:
        _withdraw(world, dispute)
    return dispute


def _withdraw(world: World, dispute: Object) -> None:
    taken = balance.record(world, "adjustment", -dispute["amount"], dispute, fee=FEE, category="dispute")
    dispute["balance_transactions"].append(taken)
    world.emit("charge.dispute.funds_withdrawn", dispute)


def escalate(world: World, dispute: Object) -> None:
    """Let an inquiry become a dispute (https://docs.stripe.com/disputes/how-disputes-work#inquiries)."""
    if not dispute["status"].startswith("warning_"):
        raise invalid(f"The dispute {dispute['id']} isn't an inquiry.")
    world.objects[dispute["charge"]]["disputed"] = True
    world.change(dispute, "charge.dispute.updated", status="needs_response", is_charge_refundable=False)
    _withdraw(world, dispute)


def end(world: World, dispute: Object, *, won: bool) -> None:
    if dispute["status"] not in OPEN:
        raise invalid(f"This dispute is already closed: {dispute['id']}")
    if dispute["status"].startswith("warning_"):
        world.change(dispute, "charge.dispute.closed", status="warning_closed")
        return
    dispute["status"] = "won" if won else "lost"
    if won:
        back = balance.record(world, "adjustment", dispute["amount"], dispute, category="dispute_reversal")
        dispute["balance_transactions"].append(back)
        world.emit("charge.dispute.funds_reinstated", dispute)
    world.emit("charge.dispute.closed", dispute)


def update(world: World, call: Call) -> Object:
    """Submit evidence; two texts decide at once, as in test mode (https://docs.stripe.com/testing#evidence)."""
    dispute = world.find("dispute", call.id)
    text = call.params.sub("evidence").text("uncategorized_text")
    dispute["evidence"]["uncategorized_text"] = text or dispute["evidence"]["uncategorized_text"]
    dispute["metadata"] = call.params.metadata(dispute["metadata"])
    dispute["evidence_details"]["has_evidence"] = bool(dispute["evidence"]["uncategorized_text"])
    if call.params.flag("submit") and dispute["status"] in OPEN:
        dispute["evidence_details"]["submission_count"] += 1
        status = "warning_under_review" if dispute["status"].startswith("warning_") else "under_review"
        world.change(dispute, "charge.dispute.updated", status=status)
        if text in {WON, LOST}:
            end(world, dispute, won=text == WON)
    return dispute


def close(world: World, call: Call) -> Object:
    """https://docs.stripe.com/api/disputes/close: accept that it is lost."""
    dispute = world.find("dispute", call.id)
    end(world, dispute, won=False)
    return dispute


ROUTES = [
    simple_get("dispute", "/v1/disputes"),
    simple_list("dispute", "/v1/disputes", "charge payment_intent"),
    Route("POST", "/v1/disputes/{id}", update, "evidence.uncategorized_text submit metadata.* metadata"),
    Route("POST", "/v1/disputes/{id}/close", close),
]
