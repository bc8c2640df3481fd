"""`POST /_stand_in/COMMAND`, with a JSON object: what customers, banks and networks do, done by a test."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tools.stripe_stand_in import checkout, connect, disputes, portal, refunds
from tools.stripe_stand_in.errors import StripeError, invalid
from tools.stripe_stand_in.faults import Fault, Faults
from tools.stripe_stand_in.webhooks import Delivery, Endpoint, Webhooks
from tools.stripe_stand_in.world import Object, World


class Commands:
    """Each public method is a command; its keyword arguments are the fields of the JSON object."""

    def __init__(self, world: World, webhooks: Webhooks, faults: Faults) -> None:
        self._world = world
        self._webhooks = webhooks
        self._faults = faults

    def clock(self, *, to: int | None = None, seconds: int = 0) -> Object:
        """Move the clock, forwards only, and return the time."""
        self._world.advance(self._world.now + seconds if to is None else to)
        return {"now": self._world.now}

    def settings(self, **values: Any) -> Object:
        """Change `world.Settings`."""
        for name, value in values.items():
            if name not in asdict(self._world.settings):
                raise TypeError(name)
            setattr(self._world.settings, name, value)
        return asdict(self._world.settings)

    def add_endpoint(self, **fields: Any) -> Object:
        """Send events to another webhook endpoint, too: the fields of `webhooks.Endpoint`."""
        self._webhooks.endpoints.append(Endpoint(**fields))
        return {}

    def fail(self, **fault: Any) -> Object:
        """Let the next requests fail: the fields of `faults.Fault`."""
        self._faults.waiting.append(Fault(**fault))
        return {}

    def recover(self) -> Object:
        """Let no request fail any more."""
        self._faults.waiting.clear()
        return {}

    def disturb(self, *, held: bool = False, copies: int = 1, lose: int = 0) -> Object:
        """Set the failures of deliveries: the fields of `webhooks.Disturbances`."""
        self._webhooks.disturbances.copies, self._webhooks.disturbances.lose = copies, lose
        self._webhooks.hold(held=held)
        return asdict(self._webhooks.disturbances)

    def release(self, *, order: str = "as_created") -> Object:
        """Deliver held events: `as_created`, `reversed` or `shuffled`."""
        self._webhooks.release(order)
        return {}

    async def drain(self) -> Object:
        """Wait until no event is on its way."""
        await self._webhooks.drain()
        return {}

    def deliveries(self) -> Object:
        """Return all deliveries, oldest first."""
        return {"data": list(self._webhooks.log)}

    def resend(self, *, event: str) -> Object:
        """Deliver an event again, as the dashboard can."""
        thing = self._world.find("event", event, account=self._world.account_of.get(event))
        endpoints = [each for each in self._webhooks.endpoints if each.connect == ("account" in thing)]
        self._webhooks.add(*(Delivery(event=thing, endpoint=endpoint) for endpoint in endpoints))
        return {}

    def pay_checkout(self, *, session: str, card: str = "pm_card_visa", authenticated: bool = False) -> Object:
        """Submit a Checkout Session's page with a test card."""
        return checkout.submit(self._world, self._find("checkout.session", session), card, authenticated=authenticated)

    def pay_invoice(self, *, invoice: str, card: str = "pm_card_visa", authenticated: bool = False) -> Object:
        """Submit an open invoice's page with a test card."""
        thing = self._find("invoice", invoice)
        portal.pay_invoice(self._world, thing, card, authenticated=authenticated)
        return thing

    def set_card(self, *, customer: str, card: str) -> Object:
        """Give another card in the portal."""
        return portal.set_card(self._world, self._find("customer", customer), card)

    def dispute(self, *, charge: str, amount: int | None = None, inquiry: bool = False) -> Object:
        """Let the cardholder dispute a charge."""
        return disputes.open_dispute(self._world, self._find("charge", charge), inquiry=inquiry, amount=amount)

    def end_dispute(self, *, dispute: str, outcome: str) -> Object:
        """End a dispute: `won`, `lost`; or let an inquiry become a dispute: `escalated`."""
        thing = self._find("dispute", dispute)
        if outcome == "escalated":
            disputes.escalate(self._world, thing)
        elif outcome in {"won", "lost"}:
            disputes.end(self._world, thing, won=outcome == "won")
        else:
            raise invalid("outcome is won, lost or escalated")
        return thing

    def fail_refund(self, *, refund: str) -> Object:
        """Let the bank return a refund."""
        thing = self._find("refund", refund)
        refunds.fail(self._world, thing)
        return thing

    def onboard(self, *, account: str) -> Object:
        """Give all that a connected account needs."""
        thing = self._find("account", account)
        connect.onboard(self._world, thing)
        return thing

    def require(self, *, account: str, due: list[str]) -> Object:
        """Let Stripe ask a connected account for more."""
        thing = self._find("account", account)
        connect.require(self._world, thing, due)
        return thing

    def close_bank(self, *, account: str | None = None) -> Object:
        """Let a bank refuse all payouts: a connected account's, or the platform's."""
        self._world.failing_banks.add(account)
        return {}

    def fail_payout(self, *, payout: str) -> Object:
        """Let the bank return a payout, `paid` or not."""
        thing = self._world.find("payout", payout, account=self._world.account_of.get(payout))
        connect.fail_payout(self._world, thing)
        return thing

    def forget(self, *, object_id: str) -> Object:
        """Remove an object: its id answers 404."""
        self._world.remove(object_id)
        return {}

    def objects(self, *, kind: str) -> Object:
        """Return all objects of a kind, oldest first."""
        return {"data": self._world.all(kind)}

    def _find(self, kind: str, id_: str) -> Object:
        return self._world.find(kind, id_)


def routes(world: World, webhooks: Webhooks, faults: Faults) -> list[Route]:
    commands = Commands(world, webhooks, faults)

    async def run(request: Request) -> Response:
        name = request.path_params["command"]
        command: Callable[..., Object | Awaitable[Object]] | None = getattr(commands, name, None)
        if command is None or name.startswith("_"):
            return JSONResponse({"error": {"message": f"Unknown command: {name}"}}, 404)
        fields = await request.json() if await request.body() else {}
        try:
            result = command(**fields)
            return JSONResponse(result if isinstance(result, dict) else await result)
        except StripeError as error:
            return JSONResponse(error.body, error.status)
        except (TypeError, ValueError, KeyError) as error:
            return JSONResponse({"error": {"message": f"{type(error).__name__}: {error}"}}, 400)

    return [Route("/_stand_in/{command}", run, methods=["POST"])]
