"""Claims: what has accrued on a holder's shares is paid to the holder."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, LargeBinary, text
from uuid6 import uuid7

from audifi.auth.problems import account_not_empty
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.core.idempotency.service import Claim
from audifi.dividends import problems
from audifi.dividends.queries import HAS_CLAIMABLE
from audifi.ledger import service as ledger

MAX_POOLS = 100
"""Claimed by one request."""

CLAIM = Statement(
    text(
        "SELECT status, body, is_replay, claims FROM dividend_claim_v1(:key_id, :key_lock, :fingerprint, :transfer_id,"
        " :user_id, :master_id, :max_pools, :now)"
    ).columns(status=BigInteger, body=LargeBinary, is_replay=Boolean, claims=BigInteger)
)


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """What `dividend_claim_v1` returns."""

    status: int
    body: bytes
    is_replay: bool
    claims: int | None
    """How many pools paid; None for a replay."""


async def claim(
    tx: Transaction, key: Claim, *, user_id: UUID, master_id: UUID | None, now: datetime, max_pools: int = MAX_POOLS
) -> ClaimResult:
    """Pay what has accrued, in one statement, which claims the Idempotency-Key and stores the answer.

    The account's debt is paid first. What `dividend_withholding_bps_v1` says is withheld.

    Args:
        tx: a transaction.
        key: of the request.
        user_id: the holder.
        master_id: pays only the pools of this master; None: of all.
        now: the instant.
        max_pools: pays at most so many, the oldest first.

    Raises:
        Problem: `dividend.nothing_to_claim`, `balance.limit_exceeded`, `idempotency_key.in_progress`,
            `idempotency_key.reused`.
    """
    with problems.refusals():
        result = await tx.fetch_row(
            CLAIM,
            ClaimResult,
            key_id=key.key_id,
            key_lock=key.lock,
            fingerprint=key.fingerprint,
            transfer_id=uuid7(),
            user_id=user_id,
            master_id=master_id,
            max_pools=max_pools,
            now=now,
        )
    for _ in range(result.claims or 0):
        ledger.count_transfer(tx, "dividend_claim")
    return result


async def refuse_to_lose_dividends(tx: Transaction, user_id: UUID) -> None:
    """
    Raises:
        Problem: `account.not_empty`, while the user can claim something.
    """
    if await tx.fetch_value(HAS_CLAIMABLE, user_id=user_id):
        raise account_not_empty("Claim the dividends: POST /api/v1/dividends/claim.")
