"""Refusals of deposits, disputes and payouts. Their codes are part of the contract."""

from pydantic import Field

from audifi.core.http.problems import FieldError, Problem, ProblemDetails, invalid
from audifi.funding.models import PayoutStatus


class DepositLimit(ProblemDetails):
    """The account's deposits of a day are limited."""

    limit: int = Field(examples=[1_000_000])
    """What an account may deposit in a day, in base units of the currency."""
    used: int = Field(examples=[990_000])
    """What it has deposited today, in UTC."""


class PayoutStatusConflict(ProblemDetails):
    """The payout's status doesn't allow the operation."""

    payout_status: PayoutStatus = Field(examples=["submitted"])
    """The payout's status."""


class AccountIncomplete(ProblemDetails):
    """Stripe pays nothing out to the account as it is."""

    requirements: list[str] = Field(examples=[["external_account"]])
    """What Stripe asks for; `account`: it hasn't been opened."""


class RecentDeposits(ProblemDetails):
    """Money that came by card can be paid out only later."""

    held: int = Field(examples=[5000])
    """How much of the balance can't be paid out yet, in base units."""


def deposit_operator_only() -> Problem:
    return Problem(
        403,
        "deposit.operator_only",
        "Deposits are booked by an operator",
        "Send the money to the platform's bank account. An operator books it when it has arrived.",
    )


def deposit_limit_exceeded(*, limit: int, used: int) -> Problem:
    return Problem(
        409,
        "deposit.limit_exceeded",
        "Deposit limit exceeded",
        "Deposit less, or wait for the next day in UTC.",
        model=DepositLimit,
        limit=limit,
        used=used,
    )


def deposit_not_found() -> Problem:
    return Problem(404, "deposit.not_found", "Deposit not found", "Record the deposit first.")


def deposit_not_succeeded() -> Problem:
    return Problem(409, "deposit.not_succeeded", "Deposit not succeeded", "Only money that came in can be disputed.")


def reference_reused() -> Problem:
    return Problem(
        409,
        "provider_reference.reused",
        "Provider reference reused",
        "The reference belongs to another account, currency or amount: look for what was recorded with it.",
    )


def dispute_amount_exceeded() -> Problem:
    return Problem(
        409, "dispute.amount_exceeded", "Dispute amount exceeded", "Disputes of a deposit sum to at most its amount."
    )


def payout_not_found() -> Problem:
    return Problem(404, "payout.not_found", "Payout not found", "Check the payout's id.")


def payout_limit_exceeded(limit: int) -> Problem:
    return Problem(
        409,
        "payout.limit_exceeded",
        "Too many open payouts",
        f"Wait until one of the {limit} has ended, or cancel one.",
    )


def payout_status_conflict(status: PayoutStatus) -> Problem:
    return Problem(
        409,
        "payout.status_conflict",
        "Payout status conflict",
        f"The payout is {status}.",
        model=PayoutStatusConflict,
        payout_status=status,
    )


def payout_too_small(minimum: int) -> Problem:
    detail = f"Input should be greater than or equal to {minimum}"
    return invalid([FieldError(code="greater_than_equal", detail=detail, pointer="/amount")])


def user_unknown() -> Problem:
    return invalid([FieldError(code="user_unknown", detail="There is no such account", pointer="/user_id")])


def payout_account_incomplete(due: list[str]) -> Problem:
    return Problem(
        403,
        "payout.account_incomplete",
        "Payout account incomplete",
        "Give what Stripe asks for on the page of POST /api/v1/payments/connect.",
        model=AccountIncomplete,
        requirements=due,
    )


def recent_deposits(held: int) -> Problem:
    return Problem(
        409,
        "payout.recent_deposits",
        "Recent deposits",
        "Ask for at most the available balance without `held`, which came by card lately: refund that, or wait.",
        model=RecentDeposits,
        held=held,
    )
