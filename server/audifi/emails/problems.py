"""Problems of SendGrid's events. Their codes are part of the contract."""

from audifi.core.http.problems import Problem


def webhook_disabled() -> Problem:
    """Not a 503: anybody could page the operators by requesting it."""
    return Problem(
        404,
        "webhook.disabled",
        "Webhook disabled",
        "Set SENDGRID_WEBHOOK_PUBLIC_KEY to the key that SendGrid shows for its signed Event Webhook.",
    )


def signature_invalid() -> Problem:
    return Problem(
        403,
        "signature.invalid",
        "Invalid signature",
        "Sign the request as SendGrid's Event Webhook does, with the key of SENDGRID_WEBHOOK_PUBLIC_KEY.",
    )


def signature_expired() -> Problem:
    return Problem(403, "signature.expired", "Expired signature", "The request was signed more than a day ago.")
