"""`python -m tools.stripe_stand_in`: serves the stand-in, with a clock that runs."""

import argparse
import time

import uvicorn

from tools.stripe_stand_in import catalog
from tools.stripe_stand_in.api import Call
from tools.stripe_stand_in.app import StandIn
from tools.stripe_stand_in.forms import Params
from tools.stripe_stand_in.webhooks import Endpoint, Webhooks
from tools.stripe_stand_in.world import World


def add_price(world: World, text: str) -> None:
    """Add the product and price of `LOOKUP_KEY=AMOUNT/CURRENCY/INTERVAL`."""
    key, _, rest = text.partition("=")
    amount, currency, interval = rest.split("/")
    name = key.split("_")[0].upper()
    product = catalog.create_product(world, Call(params=Params({"name": name})))
    recurring = {"interval": interval}
    fields = {
        "product": product["id"],
        "unit_amount": amount,
        "currency": currency,
        "lookup_key": key,
        "recurring": recurring,
    }
    catalog.create_price(world, Call(params=Params(fields)))


def build(arguments: list[str] | None = None) -> tuple[StandIn, int]:
    """Return the stand-in that the arguments describe, and its port."""
    parser = argparse.ArgumentParser(prog="python -m tools.stripe_stand_in", description=__doc__)
    parser.add_argument("--port", type=int, default=12111)
    parser.add_argument(
        "--webhook-url", help="where events go, e.g. http://localhost:8080/api/v1/payments/webhooks/stripe"
    )
    parser.add_argument("--webhook-secret", default="whsec_stand_in")
    parser.add_argument("--connect-webhook-url", help="where events of connected accounts go")
    parser.add_argument("--connect-webhook-secret", default="whsec_stand_in_connect")
    parser.add_argument("--price", action="append", default=[], help="pro_month_usd=2900/usd/month, with its product")
    options = parser.parse_args(arguments)
    endpoints = [
        Endpoint(id=id_, url=url, secret=secret, connect=connect)
        for id_, url, secret, connect in (
            ("we_platform", options.webhook_url, options.webhook_secret, False),
            ("we_connect", options.connect_webhook_url, options.connect_webhook_secret, True),
        )
        if url
    ]
    world = World(base_url=f"http://localhost:{options.port}", seed=time.time_ns())  # databases outlive it
    for text in options.price:
        add_price(world, text)
    return StandIn(world=world, webhooks=Webhooks(world=world, endpoints=endpoints)), options.port


if __name__ == "__main__":
    stand_in, port = build()
    print(f"Stand-in of Stripe on http://localhost:{port}", flush=True)
    uvicorn.run(stand_in.app(), host="127.0.0.1", port=port, log_level="warning")
