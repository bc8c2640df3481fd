"""Pages for people: checkout, portal, onboarding, invoice (https://docs.stripe.com/payments/checkout)."""

from collections.abc import Callable
from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from tools.stripe_stand_in import billing, checkout, connect, portal, subscriptions
from tools.stripe_stand_in.cards import MEANS
from tools.stripe_stand_in.errors import StripeError
from tools.stripe_stand_in.forms import parse
from tools.stripe_stand_in.html import button, cards, money, page
from tools.stripe_stand_in.world import Object, World

DECLINING = "pm_card_visa_chargeDeclined"
type Answer = Callable[[World, str, dict[str, str]], Response]


def routes(world: World) -> list[Route]:
    def route(path: str, answer: Answer) -> Route:
        async def endpoint(request: Request) -> Response:
            fields = parse((await request.body()).decode()) if request.method == "POST" else {}
            try:
                return answer(world, request.path_params["id"], fields)
            except StripeError as error:
                return HTMLResponse(page("Something is wrong", error_line(str(error))), error.status)

        return Route(path, endpoint, methods=["GET", "POST"])

    return [
        route("/pay/{id}", show_checkout),
        route("/portal/{id}", show_portal),
        route("/invoice/{id}", show_invoice),
        route("/onboarding/{id}", show_onboarding),
    ]


def error_line(text: str) -> str:
    return f'<p class="error" role="alert">{escape(text)}</p>'


def chosen_card(fields: dict[str, str]) -> str | None:
    """Return the test card of a form."""
    action = fields.get("action", "")
    card = {"pay": "pm_card_visa", "authenticate": fields.get("card", ""), "decline": DECLINING}.get(action)
    return card or (fields["card"] if fields.get("card") in MEANS else None)


def show_checkout(world: World, id_: str, fields: dict[str, str]) -> Response:
    session = world.find("checkout.session", id_)
    message, authentication = "", ""
    if session["status"] == "open" and (card := chosen_card(fields)):
        checkout.submit(world, session, card, authenticated=fields.get("action") == "authenticate")
        asks = MEANS[card].authentication and fields.get("action") != "authenticate"
        if session["status"] == "open":
            message = error_line("Your bank asks you to confirm." if asks else "Your card was declined.")
            authentication = _authentication(card) if asks else ""
    if session["status"] == "complete":
        return RedirectResponse(session["success_url"].replace("{CHECKOUT_SESSION_ID}", id_), 303)
    back = f'<p><a href="{escape(session["cancel_url"])}">Back</a></p>' if session["cancel_url"] else ""
    if session["status"] == "expired":
        return HTMLResponse(page("This page has expired", back), 410)
    lines = "".join(
        f"<tr><td>{escape(line['description'])}<td>{money(line['amount_total'], line['currency'])}"
        for line in session["line_items"]["data"]
    )
    total = f"<tr><td><b>Due today</b><td><b>{money(session['amount_total'], session['currency'])}</b>"
    buttons = authentication or button("Pay", "pay") + button("Decline", "decline") + cards("Use this card")
    return HTMLResponse(page("Checkout", f"<table>{lines}{total}</table>", message, buttons, back))


def _authentication(card: str) -> str:
    hidden = f'<input type="hidden" name="card" value="{card}">'
    confirm = '<button name="action" value="authenticate" data-testid="authenticate">Confirm</button>'
    return f'<form method="post">{hidden}{confirm}</form>' + button("Refuse", "decline")


def show_portal(world: World, id_: str, fields: dict[str, str]) -> Response:
    session = world.find("billing_portal.session", id_)
    if session["created"] + portal.LINK_SECONDS <= world.now and not session.get("visited"):
        return HTMLResponse(page("This page has expired"), 410)
    session["visited"] = True
    customer = world.objects[session["customer"]]
    action, target = fields.get("action"), world.objects.get(fields.get("id", ""), {})
    if target.get("customer") == customer["id"]:
        if action in {"cancel", "reactivate"}:
            portal.set_canceling(world, target, canceling=action == "cancel")
        elif action in {"pay", "decline", "card"} and target["object"] == "invoice":
            portal.pay_invoice(world, target, chosen_card(fields) or "pm_card_visa")
    elif action == "card" and (card := chosen_card(fields)):
        portal.set_card(world, customer, card)
    parts = [_shown(world, each) for each in portal.live_subscriptions(world, customer["id"])]
    for invoice in world.all("invoice", customer=customer["id"], status="open"):
        due = money(invoice["amount_due"], invoice["currency"])
        parts.append(f"<h2>Unpaid invoice {invoice['number']}: {due}</h2>" + _payment(invoice["id"]))
    back = f'<p><a href="{escape(session["return_url"])}">Back</a></p>' if session["return_url"] else ""
    return HTMLResponse(page("Your subscription", *parts, "<h2>Card</h2>", cards("Save this card"), back))


def _payment(target: str = "") -> str:
    pay = button("Pay", "pay", target=target)
    return pay + button("Decline", "decline", target=target) + cards("Use this card", target=target)


def _shown(world: World, subscription: Object) -> str:
    name = world.objects[subscriptions.price_of(subscription)["product"]]["name"]
    canceling = subscription["cancel_at_period_end"]
    status = f"{subscription['status']}, ends with the period" if canceling else subscription["status"]
    action = ("Keep it", "reactivate") if canceling else ("Cancel at the end of the period", "cancel")
    return f"<h2>{escape(name)}</h2><p>{status}</p>" + button(*action, target=subscription["id"])


def show_invoice(world: World, id_: str, fields: dict[str, str]) -> Response:
    invoice = world.find("invoice", id_)
    message = ""
    if invoice["status"] == "open" and (card := chosen_card(fields)):
        authenticated = fields.get("action") == "authenticate"
        portal.pay_invoice(world, invoice, card, authenticated=authenticated)
        if billing.intent_of(world, invoice)["status"] == "requires_action":
            return HTMLResponse(page("Your bank asks you to confirm", _authentication(card)))
        message = error_line("Your card was declined.") if invoice["status"] == "open" else ""
    due = f"<p>{money(invoice['amount_due'], invoice['currency'])}: {invoice['status']}</p>"
    return HTMLResponse(
        page(f"Invoice {invoice['number']}", due, message, _payment() if invoice["status"] == "open" else "")
    )


def show_onboarding(world: World, id_: str, fields: dict[str, str]) -> Response:
    link = world.find("_account_link", id_)
    if link["used"] or link["expires_at"] <= world.now:
        return RedirectResponse(link["refresh_url"], 303)
    if fields.get("action") == "complete":
        connect.onboard(world, world.objects[link["account"]])
    if fields:
        link["used"] = True
        return RedirectResponse(link["return_url"], 303)
    return HTMLResponse(page("Receive payouts", button("Give all details", "complete"), button("Later", "later")))
