"""Refusals of the ledger. Their codes are part of the contract."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import asyncpg
from pydantic import Field

from audifi.core.db.errors import constraint_name, sqlstate
from audifi.core.http.problems import FieldError, Problem, ProblemDetails, invalid


class InsufficientBalance(ProblemDetails):
    """The account has less than the transfer or the hold takes."""

    missing: int = Field(examples=[1250])
    """How much more the account needs, in base units of its asset."""


def balance_insufficient(missing: int) -> Problem:
    return Problem(
        409,
        "balance.insufficient",
        "Insufficient balance",
        "Add `missing` to the balance, then try again; the same Idempotency-Key may be used.",
        model=InsufficientBalance,
        missing=missing,
    )


def balance_limit_exceeded() -> Problem:
    return Problem(409, "balance.limit_exceeded", "Balance limit exceeded", "A balance is at most 2^53 - 1 base units.")


def account_frozen() -> Problem:
    return Problem(403, "account.frozen", "Account frozen", "Nothing can leave this account. Contact support.")


def account_in_debt() -> Problem:
    return Problem(
        403,
        "account.in_debt",
        "Account in debt",
        "A payment was charged back beyond the balance. Deposit what the `debt` account shows, then try again.",
    )


def transfer_key_reused() -> Problem:
    return Problem(
        409, "transfer.key_reused", "Transfer key reused", "This key belongs to another transfer; use a new one."
    )


def transfer_not_found() -> Problem:
    return Problem(404, "transfer.not_found", "Transfer not found", "Check the transfer's id.")


def transfer_is_reversal() -> Problem:
    return Problem(409, "transfer.is_reversal", "Transfer is a reversal", "Post a new transfer instead.")


def transfer_already_reversed() -> Problem:
    return Problem(409, "transfer.already_reversed", "Transfer already reversed", "A transfer is reversed once.")


def transfer_not_reversible() -> Problem:
    return Problem(
        409,
        "transfer.not_reversible",
        "Transfer not reversible",
        "It moved shares, or a deposit, dispute or payout: use the operation that undoes it.",
    )


def hold_key_reused() -> Problem:
    return Problem(409, "hold.key_reused", "Hold key reused", "This key belongs to another hold; use a new one.")


def hold_not_open() -> Problem:
    return Problem(409, "hold.not_open", "Hold not open", "It was used or voided before, or it has expired.")


def hold_amount_exceeded() -> Problem:
    return Problem(409, "hold.amount_exceeded", "Hold amount exceeded", "Take at most what is held.")


def period_too_long(detail: str) -> Problem:
    return Problem(422, "period.too_long", "Period too long", detail)


def currency_unsupported(pointer: str = "/currency") -> Problem:
    return invalid([FieldError(code="currency_unsupported", detail="Currency isn't supported", pointer=pointer)])


_BY_STATE: Mapping[str, Callable[[], Problem]] = {
    "LG002": account_frozen,
    "LG003": transfer_key_reused,
    "LG004": hold_not_open,
    "LG005": hold_amount_exceeded,
    "LG007": account_in_debt,
}
_BY_CONSTRAINT: Mapping[str, Callable[[], Problem]] = {
    "uq_ledger_transfers_reverses": transfer_already_reversed,
    "ck_ledger_accounts_posted": balance_limit_exceeded,
}


def problem_of(error: asyncpg.PostgresError) -> Problem | None:
    """Return what an error of the ledger's functions and constraints means to a client; None for other errors."""
    if sqlstate(error) == "LG001":
        return balance_insufficient(int(error.detail))
    make = _BY_STATE.get(sqlstate(error)) or _BY_CONSTRAINT.get(constraint_name(error) or "")
    return make() if make else None


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what the ledger refuses into problems: around each statement that calls `ledger_post_v3` or writes holds."""
    try:
        yield
    except asyncpg.PostgresError as error:
        if problem := problem_of(error):
            raise problem from None
        raise
