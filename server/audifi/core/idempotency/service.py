"""Run a request's effect once per `Idempotency-Key`, and answer retries with the first answer.

The key is stored in the transaction of the effect: both are committed, or neither. A request that is refused stores
nothing, so it may be corrected and sent again with the same key.
https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
from sqlalchemy import BigInteger, bindparam, func, insert, select

from audifi.core.db.database import Database, Transaction
from audifi.core.db.retention import ExpiredRows
from audifi.core.db.statements import Statement
from audifi.core.http.problems import Problem
from audifi.core.idempotency import problems
from audifi.core.idempotency.models import IdempotencyKey

KEPT_FOR = timedelta(days=30)
KEY = re.compile(r"[A-Za-z0-9_.:-]{1,255}")

_keys = IdempotencyKey.__table__
# The lock makes a second request with the key fail at once instead of waiting for the first one's transaction.
_lock = (
    select(func.pg_try_advisory_xact_lock(bindparam("lock", type_=BigInteger)).label("acquired"))
    .cte("lock")
    .prefix_with("MATERIALIZED")
)
CLAIM = Statement(
    select(_lock.c.acquired, _keys.c.fingerprint, _keys.c.status, _keys.c.body).select_from(
        _lock.outerjoin(_keys, _keys.c.id == bindparam("id"))
    )
)
FIND = Statement(select(_keys.c.fingerprint, _keys.c.status, _keys.c.body).where(_keys.c.id == bindparam("id")))
STORE = Statement(insert(_keys))


@dataclass(frozen=True, slots=True)
class ClaimRow:
    acquired: bool
    fingerprint: bytes | None
    status: int | None
    body: bytes | None


@dataclass(frozen=True, slots=True)
class KeyRow:
    fingerprint: bytes
    status: int
    body: bytes


@dataclass(frozen=True, kw_only=True)
class StoredResponse:
    """An answer as it is kept and sent."""

    status: int
    body: bytes
    """JSON."""
    is_replay: bool = False


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What `idempotency_claim_v1` needs, for an effect that claims its key and stores its answer in one statement."""

    key_id: bytes
    lock: int
    fingerprint: bytes


def make_claim(*, user_id: UUID, key: str, request: bytes) -> Claim:
    """Return the claim of an account's key for a request, given by its `fingerprint`."""
    key_id = hashlib.sha256(user_id.bytes + key.encode()).digest()
    return Claim(key_id=key_id, lock=int.from_bytes(key_id[:8], signed=True), fingerprint=request)


def parse_key(header: str | None) -> str:
    """Return the key; the draft's quotes around it (RFC 8941, 3.3.3) may be left out, as Stripe's clients do.

    Raises:
        Problem: 400, where it is missing or invalid.
    """
    if header is None:
        raise problems.key_missing()
    quoted = re.fullmatch(r'"(.*)"', header)
    key = quoted[1] if quoted else header
    if not KEY.fullmatch(key):
        raise problems.key_invalid()
    return key


def fingerprint(*parts: bytes) -> bytes:
    """Return a digest of the request: method, path, body."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8) + part)
    return digest.digest()


async def run_once(
    database: Database,
    *,
    user_id: UUID,
    key: str,
    request: bytes,
    now: datetime,
    effect: Callable[[Transaction], Awaitable[tuple[int, bytes]]],
) -> StoredResponse:
    """Run the effect in a transaction and store its answer, or return the stored answer of the first time.

    Args:
        database: where the transaction runs.
        user_id: the account whose key it is; keys of two accounts have nothing to do with each other.
        key: from `parse_key`.
        request: the request's `fingerprint`.
        now: the instant of the request.
        effect: writes what the request asks for, without a `commit` of its own; returns the status and the JSON body.
            It runs again after a deadlock (`Database.run`).

    Raises:
        Problem: 409 while the first request is in progress, 422 where the key was used for another request, and
            whatever the effect raises.
    """
    claim = make_claim(user_id=user_id, key=key, request=request)

    async def attempt(transaction: Transaction) -> StoredResponse:
        row = await transaction.fetch_row(CLAIM, ClaimRow, lock=claim.lock, id=claim.key_id)
        if not row.acquired:
            raise problems.key_in_progress()
        if row.fingerprint is not None and row.status is not None and row.body is not None:
            return _replay(KeyRow(row.fingerprint, row.status, row.body), request)
        status, body = await effect(transaction)
        await transaction.execute(STORE, id=claim.key_id, fingerprint=request, status=status, body=body, created_at=now)
        return StoredResponse(status=status, body=body)

    try:
        return await database.run(attempt, may_commit=False)
    except (Problem, asyncpg.IntegrityConstraintViolationError):
        # The first request may have committed between this one's snapshot and its lock, and have been the reason for
        # the error: everything is rolled back, and the stored answer is there now.
        stored = await database.fetch_one(FIND, KeyRow, id=claim.key_id)
        if stored is None:
            raise
    return _replay(stored, request)


async def find_answer(database: Database, *, user_id: UUID, key: str, request: bytes) -> StoredResponse | None:
    """Return the stored answer of the first time; None if there was none. See `run_once`.

    Raises:
        Problem: 422 where the key was used for another request.
    """
    claim = make_claim(user_id=user_id, key=key, request=request)
    stored = await database.fetch_one(FIND, KeyRow, id=claim.key_id)
    return _replay(stored, request) if stored else None


def _replay(stored: KeyRow, request: bytes) -> StoredResponse:
    """
    Raises:
        Problem: 422, the key was used for another request.
    """
    if stored.fingerprint != request:
        raise problems.key_reused()
    return StoredResponse(status=stored.status, body=stored.body, is_replay=True)


def expired_keys(now: datetime) -> ExpiredRows:
    return ExpiredRows(table=_keys, by=_keys.c.created_at, before=now - KEPT_FOR)
