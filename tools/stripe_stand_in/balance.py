"""The balance, and the transactions that make it (https://docs.stripe.com/api/balance_transactions)."""

from tools.stripe_stand_in.api import LISTING, Call, Route, listing, matching, simple_get
from tools.stripe_stand_in.world import DAY, Object, World

PENDING_DAYS = 2  # of card payments in the US: https://docs.stripe.com/payouts#payout-speed


def record(
    world: World,
    kind: str,
    amount: int,
    source: Object,
    *,
    fee: int = 0,
    category: str | None = None,
    pending_days: int = 0,
    account: str | None = None,
) -> Object:
    """Move the balance by `amount - fee`."""
    details = (
        [{"amount": fee, "application": None, "currency": source["currency"], "type": "stripe_fee"}] if fee else []
    )
    available_on = world.now + pending_days * DAY
    fields = {
        "amount": amount,
        "available_on": available_on,
        "balance_type": "payments",
        "currency": source["currency"],
        "description": None,
        "exchange_rate": None,
        "fee": fee,
        "fee_details": details,
        "net": amount - fee,
        "reporting_category": category or kind,
        "source": source["id"],
        "status": "pending" if pending_days else "available",
        "type": kind,
    }
    transaction = world.new("balance_transaction", world.new_id("txn"), fields, account=account)
    if pending_days:
        world.at(available_on, lambda: transaction.update(status="available"))
    return transaction


def fee_of(amount: int) -> int:
    """Return the fee of a card payment: 2.9 % and 30 cents, rounded half up (https://stripe.com/pricing)."""
    return (amount * 29 + 500) // 1000 + 30


def transactions(world: World, account: str | None) -> list[Object]:
    return [each for each in world.all("balance_transaction") if world.account_of.get(each["id"]) == account]


def total(world: World, account: str | None, status: str, currency: str) -> int:
    return sum(
        each["net"]
        for each in transactions(world, account)
        if each["status"] == status and each["currency"] == currency
    )


def show(world: World, call: Call) -> Object:
    """https://docs.stripe.com/api/balance/balance_object"""
    currencies = sorted({each["currency"] for each in transactions(world, call.account)}) or ["usd"]

    def amounts(status: str) -> list[Object]:
        sums = {currency: total(world, call.account, status, currency) for currency in currencies}
        return [
            {"amount": amount, "currency": currency, "source_types": {"card": amount}}
            for currency, amount in sums.items()
        ]

    return {"object": "balance", "available": amounts("available"), "pending": amounts("pending"), "livemode": False}


def list_transactions(world: World, call: Call) -> Object:
    things = matching(call, transactions(world, call.account), "type source currency")
    return listing(call, things, "/v1/balance_transactions")


ROUTES = [
    Route("GET", "/v1/balance", show),
    Route("GET", "/v1/balance_transactions", list_transactions, f"{LISTING} type source currency"),
    simple_get("balance_transaction", "/v1/balance_transactions"),
]
