"""The problems of draft-ietf-httpapi-idempotency-key-header-07, section 2.7."""

from audifi.core.http.problems import Problem


def key_missing() -> Problem:
    return Problem(
        400,
        "idempotency_key.missing",
        "Missing Idempotency-Key",
        "Send an Idempotency-Key header with a new UUID for each operation, and the same one with each retry.",
    )


def key_invalid() -> Problem:
    return Problem(
        400,
        "idempotency_key.invalid",
        "Invalid Idempotency-Key",
        "Send 1 to 255 letters, digits, `-`, `_`, `.` or `:`.",
    )


def key_in_progress() -> Problem:
    return Problem(
        409,
        "idempotency_key.in_progress",
        "Request in progress",
        "The first request with this key is still being processed. Retry in a second.",
        headers=[("Retry-After", "1")],
    )


def key_reused() -> Problem:
    return Problem(
        422,
        "idempotency_key.reused",
        "Idempotency-Key reused",
        "This key was used for another request. Use a new key for each operation.",
    )
