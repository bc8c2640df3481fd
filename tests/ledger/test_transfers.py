"""Transfers: what is posted, and what is refused."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from audifi.core.db.database import Database
from audifi.core.http.problems import Problem
from audifi.ledger.accounts import AccountRef, platform_account, user_account
from tests.ledger.ledgers import (
    NOW,
    available,
    balance,
    code_of,
    counts,
    deposit,
    external,
    is_refused,
    move,
    post,
    post_in,
    reverse,
    run,
)


def test_transfer_moves_money_and_opens_accounts(migrated_database_url: str) -> None:
    async def act(database: Database) -> Any:
        ana, ben = available(uuid4()), available(uuid4())
        await deposit(database, ana, 100)
        await post(database, (ana, -40), (ben, 36), (platform_account("fees", "USD"), 4))
        return [await balance(database, each) for each in (ana, ben, platform_account("fees", "USD"), external())]

    assert run(migrated_database_url, act) == [(60, 0), (36, 0), (4, 0), (-100, 0)]
