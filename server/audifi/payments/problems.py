"""Refusals of payments. Their codes are part of the contract."""

from typing import Literal, get_args

from pydantic import Field

from audifi.core.http.problems import FieldError, Problem, ProblemDetails, invalid
from audifi.funding.problems import deposit_limit_exceeded, deposit_not_found

__all__ = ["deposit_limit_exceeded", "deposit_not_found"]

type DeclineCode = Literal[
    "authentication_required",
    "card_velocity_exceeded",
    "expired_card",
    "incorrect_cvc",
    "insufficient_funds",
    "declined",
]


class Declined(ProblemDetails):
    """The bank has refused the card."""

    decline_code: DeclineCode = Field(examples=["insufficient_funds"])
    """The bank's reason; `declined` stands for each that the payer must not see, and for rare ones."""


class RefundLimit(ProblemDetails):
    """Refunds of a deposit sum to at most its amount."""

    refundable: int = Field(examples=[2500])
    """What can still be refunded, in base units."""


class PayoutCountry(ProblemDetails):
    """The account to which payouts go is in another country."""

    country: str = Field(examples=["DE"])
    """Its country."""


def not_configured() -> Problem:
    return Problem(
        503,
        "payments.not_configured",
        "Payments not configured",
        "This server takes no payments.",
        headers=[("Retry-After", "3600")],
    )


def provider_unavailable() -> Problem:
    return Problem(
        503,
        "payments.provider_unavailable",
        "Payment provider unavailable",
        "Nothing was charged by this attempt as far as is known. Send the same request again in a moment.",
        headers=[("Retry-After", "5")],
    )


def declined(code: str) -> Problem:
    """
    Args:
        code: Stripe's; all but a few become `declined`: the others would help a thief to try cards.
    """
    return Problem(
        402,
        "payment.declined",
        "Payment declined",
        "The bank has refused the card. Use another one, or ask the bank.",
        model=Declined,
        decline_code=code if code in get_args(DeclineCode.__value__) else "declined",
    )


def signature_missing() -> Problem:
    return Problem(400, "webhook.signature_missing", "Signature missing", "Send the header Stripe-Signature.")


def signature_invalid() -> Problem:
    return Problem(400, "webhook.signature_invalid", "Invalid signature", "Sign the body with the endpoint's secret.")


def webhook_stale() -> Problem:
    return Problem(400, "webhook.stale", "Stale webhook", "Sign it at most 5 minutes before or after it is sent.")


def webhook_malformed() -> Problem:
    return Problem(400, "webhook.malformed", "Malformed event", "Send an event with an id, a type and an object.")


def checkout_not_found() -> Problem:
    return Problem(404, "checkout.not_found", "Checkout not found", "Check the checkout's id.")


def checkout_failed() -> Problem:
    return Problem(
        409,
        "checkout.failed",
        "Checkout failed",
        "The payment page couldn't be made, and nothing was charged. Start anew, with another Idempotency-Key.",
    )


def checkout_in_progress() -> Problem:
    return Problem(
        409,
        "checkout.in_progress",
        "Checkout in progress",
        "Its page is being made. Send the same request again.",
        headers=[("Retry-After", "2")],
    )


def too_many_checkouts(limit: int) -> Problem:
    return Problem(
        409,
        "checkout.limit_exceeded",
        "Too many open checkouts",
        f"Pay on one of the {limit} open pages, or wait until one has ended.",
    )


def deposit_out_of_range(least: int, most: int) -> Problem:
    return invalid([FieldError(code="out_of_range", detail=f"From {least} to {most} base units", pointer="/amount")])


def deposit_not_refundable() -> Problem:
    return Problem(
        409,
        "deposit.not_refundable",
        "Deposit not refundable",
        "Deposits by card are refunded for 90 days after they were paid. Ask for a payout.",
    )


def deposit_disputed() -> Problem:
    return Problem(
        409, "deposit.disputed", "Deposit disputed", "The bank has taken the money back: wait for its decision."
    )


def refund_exceeded(refundable: int) -> Problem:
    return Problem(
        409,
        "deposit.refund_exceeded",
        "Refund exceeds deposit",
        "Refund at most what hasn't been refunded.",
        model=RefundLimit,
        refundable=refundable,
    )


def payout_country_fixed(country: str) -> Problem:
    return Problem(
        409,
        "payout.country_fixed",
        "Country of payouts is fixed",
        "Go on with the country of the account that was opened, or ask the support for another.",
        model=PayoutCountry,
        country=country,
    )


def payout_account_closed() -> Problem:
    return Problem(
        409, "payout.account_closed", "Payout account closed", "Stripe has closed the account: ask the support."
    )


def payout_country_unsupported() -> Problem:
    return invalid([FieldError(code="unsupported", detail="Stripe makes no payouts there", pointer="/country")])
