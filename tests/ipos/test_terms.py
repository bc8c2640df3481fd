"""Terms that depend on settings, and errors that aren't the feature's."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from audifi.core.http.problems import Problem
from audifi.ipos import problems, terms
from audifi.ipos.schemas import IpoTerms

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def test_holders_get_at_most_what_the_platform_leaves() -> None:
    body = IpoTerms.model_validate(
        {
            "currency": "USD",
            "total_shares": 10,
            "retained_shares": 0,
            "unit_price": 100,
            "max_per_account": 10,
            "holders_bps": 9000,
            "opens_at": NOW,
            "ends_at": NOW + timedelta(days=1),
        }
    )

    terms.check(body, currencies=["USD"], platform_bps=1000, resale_fee_bps=0, now=NOW)
    with pytest.raises(Problem) as refused:
        terms.check(body, currencies=["USD"], platform_bps=1001, resale_fee_bps=0, now=NOW)

    assert [error.pointer for error in refused.value.errors] == ["/holders_bps"]


def test_unexpected_database_error_is_no_refusal() -> None:
    with pytest.raises(asyncpg.DivisionByZeroError), problems.refusals():
        raise asyncpg.DivisionByZeroError
