"""`Idempotency-Key` as a dependency of routes."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel

from audifi.core.db.database import Database, Transaction
from audifi.core.http.dependencies import services_of
from audifi.core.http.openapi import raises
from audifi.core.idempotency import problems
from audifi.core.idempotency.service import (
    Claim,
    StoredResponse,
    find_answer,
    fingerprint,
    make_claim,
    parse_key,
    run_once,
)


@dataclass(frozen=True, kw_only=True)
class IdempotentRequest:
    """A request with its key. Its effect runs once."""

    request: Request
    key: str

    async def run(
        self,
        *,
        user_id: UUID,
        body: BaseModel | None,
        effect: Callable[[Transaction], Awaitable[BaseModel]],
        status: int = 201,
    ) -> Response:
        """Run the effect in a transaction, or answer as the first time.

        Args:
            user_id: the account that sends the request.
            body: the request's body; another body with the same key is refused.
            effect: writes in the transaction; returns the answer.
            status: of the answer.

        Raises:
            Problem: see `run_once`.
        """
        services = services_of(self.request)

        async def run_effect(transaction: Transaction) -> tuple[int, bytes]:
            answer = await effect(transaction)
            return status, answer.model_dump_json().encode()

        stored = await run_once(
            services.database,
            user_id=user_id,
            key=self.key,
            request=self._fingerprint(body),
            now=services.clock(),
            effect=run_effect,
        )
        return _response(stored)

    async def find(self, *, user_id: UUID, body: BaseModel | None) -> Response | None:
        """Return the answer to an earlier request with this key; None if there was none.

        For effects that ask another server before they write.

        Raises:
            Problem: 422 where the key was used for another request.
        """
        stored = await find_answer(
            services_of(self.request).database, user_id=user_id, key=self.key, request=self._fingerprint(body)
        )
        return _response(stored) if stored else None

    def digest(self, *, user_id: UUID, body: BaseModel) -> str:
        """Return a key for another server, the same for each retry of this request."""
        claim = make_claim(user_id=user_id, key=self.key, request=self._fingerprint(body))
        return hashlib.sha256(claim.key_id + claim.fingerprint).hexdigest()

    async def run_call(
        self,
        *,
        user_id: UUID,
        body: BaseModel | None,
        call: Callable[[Transaction, Claim], Awaitable[StoredResponse]],
    ) -> Response:
        """Run an effect that claims its key and stores its answer in one statement, by `idempotency_claim_v1`.

        It saves the two round trips of `run`.

        Raises:
            Problem: what the call raises; the key's are among them.
        """

        async def write(database: Database, claim: Claim) -> StoredResponse:
            return await database.run(lambda transaction: call(transaction, claim), may_commit=False)

        return await self.run_write(user_id=user_id, body=body, write=write)

    async def run_write(
        self,
        *,
        user_id: UUID,
        body: BaseModel | None,
        write: Callable[[Database, Claim], Awaitable[StoredResponse]],
    ) -> Response:
        """As `run_call`, for a statement that is a transaction of its own.

        Raises:
            Problem: what the write raises.
        """
        claim = make_claim(user_id=user_id, key=self.key, request=self._fingerprint(body))
        return _response(await write(services_of(self.request).database, claim))

    def _fingerprint(self, body: BaseModel | None) -> bytes:
        sent = body.model_dump_json().encode() if body else b""
        return fingerprint(self.request.method.encode(), self.request.url.path.encode(), sent)


def _response(stored: StoredResponse) -> Response:
    headers = {"Cache-Control": "no-store"} | ({"Idempotent-Replayed": "true"} if stored.is_replay else {})
    return Response(stored.body, stored.status, headers, media_type="application/json")


@raises(problems.key_missing(), problems.key_invalid(), problems.key_in_progress(), problems.key_reused())
async def idempotent_request(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            max_length=257,
            description="A new UUID for each operation, and the same one with each retry: it is done once. "
            "Kept for 30 days (draft-ietf-httpapi-idempotency-key-header).",
            examples=["6f1c9f0e-9a57-4e0b-8d1e-3f0f0f7c2f55"],
        ),
    ] = None,
) -> IdempotentRequest:
    """Return the request with its key.

    Raises:
        Problem: 400.
    """
    return IdempotentRequest(request=request, key=parse_key(idempotency_key))


Idempotent = Annotated[IdempotentRequest, Depends(idempotent_request)]
