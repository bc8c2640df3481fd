"""Test cards and test bank accounts (https://docs.stripe.com/testing): what happens when each is charged."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Means:
    """A card or a bank account.

    Args:
        decline: the decline code of a refused charge.
        authentication: "always" asks the customer at each charge, "setup" only until it is set up.
        dispute: the reason of the dispute that follows a charge.
        refund: "fails" after it had succeeded, "pending" until later.
        later: whether a debit ends days later, and how.
    """

    number: str
    type: str = "card"
    decline: str | None = None
    authentication: str | None = None
    dispute: str | None = None
    inquiry: bool = False
    refund: str | None = None
    at_once: bool = False  # the money is available without days of waiting
    later: str | None = None

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint: the same for a card in each customer's hands."""
        return hashlib.sha256(self.number.encode()).hexdigest()[:16]


# By the names of https://docs.stripe.com/testing?testing-method=payment-methods. Those of bank accounts are ours:
# Stripe has IBANs for them (https://docs.stripe.com/payments/sepa-debit/accept-a-payment#test-the-integration).
MEANS = {
    "pm_card_visa": Means(number="4242424242424242"),
    "pm_card_mastercard": Means(number="5555555555554444"),
    "pm_card_bypassPending": Means(number="4000000000000077", at_once=True),
    "pm_card_visa_chargeDeclined": Means(number="4000000000000002", decline="generic_decline"),
    "pm_card_visa_chargeDeclinedInsufficientFunds": Means(number="4000000000009995", decline="insufficient_funds"),
    "pm_card_visa_chargeDeclinedLostCard": Means(number="4000000000009987", decline="lost_card"),
    "pm_card_chargeDeclinedExpiredCard": Means(number="4000000000000069", decline="expired_card"),
    "pm_card_chargeCustomerFail": Means(number="4000000000000341", decline="generic_decline"),
    "pm_card_authenticationRequiredOnSetup": Means(number="4000002500003155", authentication="setup"),
    "pm_card_authenticationRequired": Means(number="4000002760003184", authentication="always"),
    "pm_card_createDispute": Means(number="4000000000000259", dispute="fraudulent"),
    "pm_card_createDisputeInquiry": Means(number="4000000000001976", dispute="fraudulent", inquiry=True),
    "pm_card_refundFail": Means(number="4000000000005126", refund="fails"),
    "pm_card_pendingRefund": Means(number="4000000000007726", refund="pending"),
    "pm_sepa_succeeds": Means(number="AT321904300235473204", type="sepa_debit", later="succeeds"),
    "pm_sepa_fails": Means(number="AT861904300235473202", type="sepa_debit", later="fails"),
}
ATTACHABLE_BUT_FAILING = MEANS["pm_card_chargeCustomerFail"]

MESSAGES = {
    "insufficient_funds": "Your card has insufficient funds.",
    "expired_card": "Your card has expired.",
    "authentication_required": "Your card was declined. This transaction requires authentication.",
}


def error_of(decline_code: str, payment_method: str) -> dict[str, str]:
    """Return what a PaymentIntent's `last_payment_error` says (https://docs.stripe.com/declines/codes)."""
    by_itself = {"expired_card", "authentication_required"}  # declines with an error code of the same name
    return {
        "type": "card_error",
        "code": decline_code if decline_code in by_itself else "card_declined",
        "decline_code": decline_code,
        "message": MESSAGES.get(decline_code, "Your card was declined."),
        "payment_method": payment_method,
    }
