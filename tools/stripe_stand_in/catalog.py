"""Products and prices with lookup keys (https://docs.stripe.com/products-prices/manage-prices#lookup-keys)."""

from tools.stripe_stand_in.api import LISTING, Call, Route, listing, simple_get, simple_list
from tools.stripe_stand_in.errors import invalid
from tools.stripe_stand_in.forms import Params
from tools.stripe_stand_in.world import Object, World


def create_product(world: World, call: Call) -> Object:
    fields: Object = {
        "active": True,
        "default_price": None,
        "description": call.params.text("description"),
        "images": [],
        "metadata": call.params.metadata(),
        "name": call.params.required("name"),
        "tax_code": None,
        "type": "service",
        "updated": world.now,
        "url": None,
    }
    product = world.new("product", world.new_id("prod", 14), fields)
    world.emit("product.created", product)
    return product


def new_price(world: World, params: Params, product: str) -> Object:
    """Store a price. Those of a Checkout Session's `price_data` emit no event."""
    amount = params.required_integer("unit_amount", least=0)
    recurring = params.sub("recurring")
    fields = {
        "active": True,
        "billing_scheme": "per_unit",
        "currency": params.required("currency").lower(),
        "custom_unit_amount": None,
        "lookup_key": None,
        "metadata": params.metadata(),
        "nickname": params.text("nickname"),
        "product": product,
        "recurring": {
            "interval": recurring.choice("interval", "day week month year", ""),
            "interval_count": 1,
            "meter": None,
            "trial_period_days": None,
            "usage_type": "licensed",
        }
        if "recurring" in params
        else None,
        "tax_behavior": "exclusive",
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "recurring" if "recurring" in params else "one_time",
        "unit_amount": amount,
        "unit_amount_decimal": str(amount),
    }
    return world.new("price", world.new_id("price"), fields)


def create_price(world: World, call: Call) -> Object:
    params = call.params
    product = world.referred("product", params.required("product"), "product")
    if key := params.text("lookup_key"):
        _free_lookup_key(world, key, transfer=bool(params.flag("transfer_lookup_key")))
    price = new_price(world, params, product["id"])
    price["lookup_key"] = key
    world.emit("price.created", price)
    return price


def update_price(world: World, call: Call) -> Object:
    price = world.find("price", call.id)
    params = call.params
    changes: Object = {"metadata": params.metadata(price["metadata"])}
    if "active" in params:
        changes["active"] = params.flag("active")
    if "lookup_key" in params:
        changes["lookup_key"] = key = params.text("lookup_key")
        if key and key != price["lookup_key"]:
            _free_lookup_key(world, key, transfer=bool(params.flag("transfer_lookup_key")))
    world.change(price, "price.updated", **changes)
    return price


def _free_lookup_key(world: World, key: str, *, transfer: bool) -> None:
    for other in world.all("price", lookup_key=key):
        if not transfer:
            message = f"A price (`{other['id']}`) already uses that lookup key."
            raise invalid(message, param="lookup_key")
        world.change(other, "price.updated", lookup_key=None)


def list_prices(world: World, call: Call) -> Object:
    params = call.params
    prices = matching = world.all("price")
    if keys := params.texts("lookup_keys"):
        matching = [price for price in prices if price["lookup_key"] in keys]
    if (active := params.flag("active")) is not None:
        matching = [price for price in matching if price["active"] == active]
    if product := params.text("product"):
        matching = [price for price in matching if price["product"] == product]
    return listing(call, matching, "/v1/prices")


PRICE = "currency unit_amount nickname recurring.interval metadata.* metadata"
ROUTES = [
    Route("POST", "/v1/products", create_product, "name description metadata.* metadata"),
    simple_get("product", "/v1/products"),
    simple_list("product", "/v1/products"),
    Route("POST", "/v1/prices", create_price, f"{PRICE} product lookup_key transfer_lookup_key"),
    simple_get("price", "/v1/prices"),
    Route("GET", "/v1/prices", list_prices, f"{LISTING} lookup_keys active product"),
    Route("POST", "/v1/prices/{id}", update_price, "active lookup_key transfer_lookup_key metadata.* metadata"),
]
