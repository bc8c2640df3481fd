"""Refusals of revenue, distributions and claims. Their codes are part of the contract."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

import asyncpg

from audifi.compliance import problems as compliance
from audifi.core.http.problems import FieldError, Problem, invalid
from audifi.core.idempotency import problems as idempotency
from audifi.ledger import problems as ledger


def offering_live() -> Problem:
    return Problem(
        409, "ipo.live", "Offering live", "Wait until the offering is completed: its buyers may be refunded."
    )


def duplicate() -> Problem:
    return Problem(
        409,
        "revenue.duplicate",
        "Duplicate revenue",
        "Revenue with this provider and reference is recorded: void it first if it was wrong.",
    )


def revenue_voided() -> Problem:
    return Problem(409, "revenue.voided", "Revenue voided", "Record it again, with another reference.")


def revenue_declared() -> Problem:
    return Problem(
        409, "revenue.declared", "Revenue declared", "A distribution of it is declared. Wait until it is posted."
    )


def revenue_distributed() -> Problem:
    return Problem(
        409, "revenue.distributed", "Revenue distributed", "Nothing is taken back from holders: record a new event."
    )


def revenue_not_voidable() -> Problem:
    return Problem(
        409,
        "revenue.not_voidable",
        "Revenue not voidable",
        "Royalties of resales are the holders': the next distribution shares them out.",
    )


def nothing_to_distribute() -> Problem:
    return Problem(
        409,
        "distribution.nothing",
        "Nothing to distribute",
        "The holders' part would be less than one base unit. Record more revenue first.",
    )


def not_declared() -> Problem:
    return Problem(409, "distribution.not_declared", "Distribution not declared", "It is posted or canceled.")


def record_time_invalid(earliest: datetime, latest: datetime) -> Problem:
    detail = f"Record time should be from {earliest.isoformat()} to {latest.isoformat()}"
    return invalid([FieldError(code="record_at_invalid", detail=detail, pointer="/record_at")])


def nothing_to_claim() -> Problem:
    return Problem(
        409,
        "dividend.nothing_to_claim",
        "Nothing to claim",
        "Less than one base unit has accrued since the last claim.",
    )


def receipt_missing() -> Problem:
    return invalid([FieldError(code="missing", detail="An admin names the receipt that paid it", pointer="/receipt")])


CLAIM: Mapping[str, Callable[[], Problem]] = {
    "dividend.nothing_to_claim": nothing_to_claim,
    "idempotency_key.in_progress": idempotency.key_in_progress,
    "idempotency_key.reused": idempotency.key_reused,
}
"""By the message of an error that `dividend_claim_v1` raises, which is a problem's code."""


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what `dividend_claim_v1` refuses into problems."""
    try:
        with ledger.refusals(), compliance.refusals():
            yield
    except asyncpg.PostgresError as error:
        make = CLAIM.get(error.message)
        raise (make() if make else error) from None
