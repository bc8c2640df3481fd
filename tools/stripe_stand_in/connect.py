"""Express accounts, transfers to them and their payouts to the bank (https://docs.stripe.com/connect/express-accounts)."""

from tools.stripe_stand_in import balance
from tools.stripe_stand_in.api import LISTING, Call, Route, list_of, listing, matching, simple_get, simple_list
from tools.stripe_stand_in.errors import StripeError, invalid
from tools.stripe_stand_in.world import DAY, Object, World

NEEDED = [
    "individual.first_name",
    "individual.last_name",
    "individual.dob.day",
    "external_account",
    "tos_acceptance.date",
]
LINK_SECONDS = 300
PAYOUT_DAYS = 2


def create_account(world: World, call: Call) -> Object:
    params = call.params
    if params.text("type") != "express":
        raise invalid("The stand-in models accounts of the type express.", param="type")
    id_ = world.new_id("acct", 16)
    schedule = params.sub("settings").sub("payouts").sub("schedule")
    interval = schedule.choice("interval", "manual daily", "daily")
    wanted = [name for name in ("transfers", "card_payments") if params.sub("capabilities").sub(name).flag("requested")]
    fields = {
        "business_type": params.text("business_type"),
        "capabilities": dict.fromkeys(wanted, "inactive"),
        "charges_enabled": False,
        "country": (params.text("country") or "US").upper(),
        "default_currency": "usd",
        "details_submitted": False,
        "email": params.text("email"),
        "external_accounts": list_of([], f"/v1/accounts/{id_}/external_accounts"),
        "metadata": params.metadata(),
        "payouts_enabled": False,
        "requirements": requirements(NEEDED),
        "settings": {"payouts": {"schedule": {"interval": interval}}},
        "tos_acceptance": {"date": None},
        "type": "express",
    }
    return world.new("account", id_, fields)


def requirements(due: list[str]) -> Object:
    """https://docs.stripe.com/connect/handling-api-verification"""
    return {
        "alternatives": [],
        "current_deadline": None,
        "currently_due": list(due),
        "disabled_reason": "requirements.past_due" if due else None,
        "errors": [],
        "eventually_due": list(due),
        "past_due": list(due),
        "pending_verification": [],
    }


def tell(world: World, account: Object, **changes: object) -> None:
    """Change an account; the event comes to the Connect endpoint."""
    world.account_of[account["id"]] = account["id"]
    world.change(account, "account.updated", **changes)
    del world.account_of[account["id"]]


def onboard(world: World, account: Object) -> None:
    """Let the account's owner give all that is due."""
    bank = {"id": world.new_id("ba"), "object": "bank_account", "last4": "6789", "country": account["country"]}
    bank |= {"currency": account["default_currency"], "status": "new"}
    external = account["external_accounts"] | {"data": [bank]}
    tell(
        world,
        account,
        capabilities=dict.fromkeys(account["capabilities"], "active"),
        charges_enabled="card_payments" in account["capabilities"],
        details_submitted=True,
        external_accounts=external,
        payouts_enabled=True,
        requirements=requirements([]),
    )


def require(world: World, account: Object, due: list[str]) -> None:
    """Let Stripe ask for more: there are no payouts until it is given."""
    tell(world, account, payouts_enabled=False, requirements=requirements(due))


def no_access(id_: str) -> StripeError:
    message = (
        f"The provided key does not have access to account '{id_}' (or that account does not exist). "
        "Application access may have been revoked."
    )
    return StripeError(403, "invalid_request_error", message, saved=False, code="account_invalid")


def show_account(world: World, call: Call) -> Object:
    if world.objects.get(call.id, {}).get("object") != "account":
        raise no_access(call.id)
    return world.objects[call.id]


def delete_account(world: World, call: Call) -> Object:
    account = show_account(world, call)
    world.remove(call.id)
    return {"id": account["id"], "object": "account", "deleted": True}


def create_link(world: World, call: Call) -> Object:
    """https://docs.stripe.com/api/account_links: good for minutes, and once."""
    params = call.params
    account = world.referred("account", params.required("account"), "account")
    kind = params.choice("type", "account_onboarding account_update", "")
    if kind == "account_update":
        raise invalid("account_update isn't supported for Express accounts.", param="type")
    token = world.new_id("link")
    fields = {"account": account["id"], "return_url": params.required("return_url")}
    link = world.new("_account_link", token, fields | {"refresh_url": params.required("refresh_url"), "used": False})
    link["expires_at"] = world.now + LINK_SECONDS
    url = f"{world.base_url}/onboarding/{token}"
    return {"object": "account_link", "created": world.now, "expires_at": link["expires_at"], "url": url}


def create_login_link(world: World, call: Call) -> Object:
    account = world.find("account", call.id)
    if not account["details_submitted"]:
        raise invalid("Cannot create a login link for an account that has not completed onboarding.")
    return {"object": "login_link", "created": world.now, "url": f"{world.base_url}/express/{account['id']}"}


def create_transfer(world: World, call: Call) -> Object:
    """https://docs.stripe.com/connect/separate-charges-and-transfers"""
    params = call.params
    amount, currency = params.required_integer("amount"), params.required("currency").lower()
    account = world.referred("account", params.required("destination"), "destination")
    if account["capabilities"].get("transfers") != "active":
        message = (
            "Your destination account needs to have at least one of the following capabilities enabled: transfers, "
            "crypto_transfers, legacy_payments"
        )
        raise StripeError(400, "invalid_request_error", message, code="insufficient_capabilities_for_transfer")
    if balance.total(world, None, "available", currency) < amount:
        message = "You have insufficient available funds in your Stripe account."
        raise StripeError(400, "invalid_request_error", message, code="balance_insufficient")
    id_ = world.new_id("tr")
    fields = {
        "amount": amount,
        "amount_reversed": 0,
        "balance_transaction": None,
        "currency": currency,
        "description": params.text("description"),
        "destination": account["id"],
        "destination_payment": None,
        "metadata": params.metadata(),
        "reversals": list_of([], f"/v1/transfers/{id_}/reversals"),
        "reversed": False,
        "source_transaction": None,
        "source_type": "card",
        "transfer_group": params.text("transfer_group"),
    }
    transfer = world.new("transfer", id_, fields)
    transfer["balance_transaction"] = balance.record(world, "transfer", -amount, transfer)["id"]
    payment = {"amount": amount, "currency": currency, "source_transfer": id_, "status": "succeeded"}
    received = world.new("charge", world.new_id("py"), payment, account=account["id"])
    transfer["destination_payment"] = received["id"]
    balance.record(world, "payment", amount, received, account=account["id"])
    world.emit("transfer.created", transfer)
    world.at(world.now + DAY, lambda: _pay_out_automatically(world, account, currency))
    return transfer


def _pay_out_automatically(world: World, account: Object, currency: str) -> None:
    """https://docs.stripe.com/connect/manage-payout-schedule: daily."""
    amount = balance.total(world, account["id"], "available", currency)
    by_hand = account["settings"]["payouts"]["schedule"]["interval"] == "manual"
    if world.settings.automatic_payouts and not by_hand and account["payouts_enabled"] and amount > 0:
        new_payout(world, amount, currency, account=account["id"], automatic=True)


def create_reversal(world: World, call: Call) -> Object:
    """https://docs.stripe.com/connect/separate-charges-and-transfers#reverse-transfers"""
    transfer = world.find("transfer", call.id)
    left = transfer["amount"] - transfer["amount_reversed"]
    amount = call.params.integer("amount", least=1) or left
    if amount > left or left == 0:
        raise invalid(f"Cannot reverse more than the remaining amount of the transfer ({left}).", param="amount")
    account = transfer["destination"]
    if balance.total(world, account, "available", transfer["currency"]) < amount:
        message = "The connected account's available balance is too low for this reversal."
        raise StripeError(400, "invalid_request_error", message, code="balance_insufficient")
    fields = {
        "amount": amount,
        "currency": transfer["currency"],
        "destination_payment_refund": None,
        "metadata": call.params.metadata(),
        "source_refund": None,
        "transfer": transfer["id"],
    }
    reversal = world.new("transfer_reversal", world.new_id("trr"), fields)
    reversal["balance_transaction"] = balance.record(world, "transfer_refund", amount, reversal)["id"]
    received = world.objects[transfer["destination_payment"]]
    balance.record(world, "payment_refund", -amount, received, account=account)
    transfer["reversals"]["data"].insert(0, reversal)
    reversed_ = transfer["amount_reversed"] + amount
    world.change(transfer, "transfer.reversed", amount_reversed=reversed_, reversed=reversed_ == transfer["amount"])
    return reversal


def list_reversals(world: World, call: Call) -> Object:
    things = world.all("transfer_reversal", transfer=world.find("transfer", call.id)["id"])
    return listing(call, things, f"/v1/transfers/{call.id}/reversals")


def create_payout(world: World, call: Call) -> Object:
    """https://docs.stripe.com/api/payouts/create, of the platform, or of the account in Stripe-Account."""
    params = call.params
    amount, currency = params.required_integer("amount"), params.required("currency").lower()
    account = world.objects[call.account] if call.account else None
    if account and not account["payouts_enabled"]:
        message = "Cannot create payouts: this account has requirements that need to be collected."
        raise StripeError(400, "invalid_request_error", message, code="payouts_not_allowed")
    if balance.total(world, call.account, "available", currency) < amount:
        message = "You have insufficient funds in your Stripe account for this transfer."
        raise StripeError(400, "invalid_request_error", message, code="balance_insufficient")
    return new_payout(world, amount, currency, account=call.account, automatic=False, metadata=params.metadata())


def new_payout(
    world: World,
    amount: int,
    currency: str,
    *,
    account: str | None,
    automatic: bool,
    metadata: dict[str, str] | None = None,
) -> Object:
    banks = world.objects[account]["external_accounts"]["data"] if account else []
    fields = {
        "amount": amount,
        "arrival_date": world.now + PAYOUT_DAYS * DAY,
        "automatic": automatic,
        "currency": currency,
        "description": "STRIPE PAYOUT" if automatic else None,
        "destination": banks[0]["id"] if banks else None,
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "metadata": metadata or {},
        "method": "standard",
        "reconciliation_status": "in_progress" if automatic else "not_applicable",
        "source_type": "card",
        "status": "in_transit",
        "type": "bank_account",
    }
    payout = world.new("payout", world.new_id("po"), fields, account=account)
    payout["balance_transaction"] = balance.record(world, "payout", -amount, payout, account=account)["id"]
    world.emit("payout.created", payout)
    fails = account in world.failing_banks
    world.at(payout["arrival_date"], lambda: fail_payout(world, payout) if fails else _arrive(world, payout))
    return payout


def _arrive(world: World, payout: Object) -> None:
    if payout["status"] == "in_transit":
        world.change(payout, "payout.paid", status="paid")


def fail_payout(world: World, payout: Object) -> None:
    """Let the bank refuse a payout, maybe days after it was `paid` (https://docs.stripe.com/payouts#payout-failures).

    The money comes back, and Stripe pays nothing to this bank until its details are renewed.
    """
    if payout["status"] == "failed":
        return
    account = world.account_of.get(payout["id"])
    returned = balance.record(world, "payout_failure", payout["amount"], payout, account=account)
    world.change(
        payout,
        "payout.failed",
        status="failed",
        failure_balance_transaction=returned["id"],
        failure_code="account_closed",
        failure_message="The bank account has been closed",
    )
    if account:
        require(world, world.objects[account], ["external_account"])


def list_transfers(world: World, call: Call) -> Object:
    return listing(call, matching(call, world.all("transfer"), "destination transfer_group"), "/v1/transfers")


ROUTES = [
    Route(
        "POST",
        "/v1/accounts",
        create_account,
        "type country email business_type capabilities.transfers.requested capabilities.card_payments.requested "
        "settings.payouts.schedule.interval metadata.* metadata",
    ),
    Route("GET", "/v1/accounts/{id}", show_account),
    simple_list("account", "/v1/accounts"),
    Route("DELETE", "/v1/accounts/{id}", delete_account),
    Route("POST", "/v1/accounts/{id}/login_links", create_login_link),
    Route("POST", "/v1/account_links", create_link, "account refresh_url return_url type"),
    Route(
        "POST",
        "/v1/transfers",
        create_transfer,
        "amount currency destination description transfer_group metadata.* metadata",
    ),
    simple_get("transfer", "/v1/transfers"),
    Route("GET", "/v1/transfers", list_transfers, f"{LISTING} destination transfer_group"),
    Route("POST", "/v1/transfers/{id}/reversals", create_reversal, "amount metadata.* metadata"),
    Route("GET", "/v1/transfers/{id}/reversals", list_reversals, LISTING),
    Route("POST", "/v1/payouts", create_payout, "amount currency metadata.* metadata"),
    simple_get("payout", "/v1/payouts"),
    simple_list("payout", "/v1/payouts", "status"),
]
