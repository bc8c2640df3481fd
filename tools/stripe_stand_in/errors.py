"""Error responses, as https://docs.stripe.com/api/errors describes them."""

import copy
from typing import Any


class StripeError(Exception):
    """An error response.

    Args:
        status: of HTTP.
        saved: whether an Idempotency-Key repeats it. Stripe saves nothing where no endpoint has begun to run.
    """

    def __init__(self, status: int, kind: str, message: str, *, saved: bool = True, **fields: Any) -> None:
        super().__init__(message)
        self.status = status
        self.saved = saved
        present = {name: value for name, value in fields.items() if value is not None}
        self.body: dict[str, Any] = {"error": {"type": kind, "message": message} | present}


def invalid(message: str, *, param: str | None = None, code: str | None = None) -> StripeError:
    """Return a refusal of what the request asks for."""
    return StripeError(400, "invalid_request_error", message, param=param, code=code)


def malformed(message: str, param: str, code: str | None = None) -> StripeError:
    """Return a refusal of a parameter, before the endpoint runs."""
    return StripeError(400, "invalid_request_error", message, saved=False, param=param, code=code)


def missing(kind: str, id_: str, *, param: str = "id", status: int = 404) -> StripeError:
    message = f"No such {kind.replace('.', ' ')}: '{id_}'"
    return StripeError(status, "invalid_request_error", message, param=param, code="resource_missing")


def card_error(payment_intent: dict[str, Any]) -> StripeError:
    """Return the refusal of a card: 402, with the PaymentIntent (https://docs.stripe.com/declines/codes)."""
    error = dict(payment_intent["last_payment_error"])
    return StripeError(
        402, error.pop("type"), error.pop("message"), payment_intent=copy.deepcopy(payment_intent), **error
    )


def unexpected() -> StripeError:
    """Return Stripe's own failure."""
    return StripeError(500, "api_error", "An unknown error occurred")


def forbidden() -> StripeError:
    """https://docs.stripe.com/keys#limit-access"""
    message = "The provided key 'rk_test_*********' does not have the required permissions for this endpoint."
    return StripeError(403, "invalid_request_error", message, saved=False)


def rate_limited() -> StripeError:
    """https://docs.stripe.com/rate-limits"""
    message = "Request rate limit exceeded. Try again later."
    return StripeError(429, "invalid_request_error", message, saved=False, code="rate_limit")
