"""Stripe's webhooks, below `/api/v1/payments`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from pydantic import SecretStr

from audifi.core.db.database import Database
from audifi.core.http.client_info import network_of
from audifi.core.http.dependencies import DatabaseDep, Now, services_of
from audifi.core.http.openapi import operation_id, raises
from audifi.core.http.problems import Problem
from audifi.core.http.rate_limits import count_request
from audifi.core.http.routing import StrictRoute
from audifi.payments import limits, problems, webhooks

router = APIRouter(
    prefix="/api/v1/payments/webhooks",
    tags=["payments"],
    generate_unique_id_function=operation_id,
    route_class=StrictRoute,
)

Signature = Annotated[
    str | None,
    Header(
        alias="Stripe-Signature",
        description="Times and HMACs over them and the body.",
        max_length=2000,
        examples=["t=1796000000,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd"],
    ),
]
WEBHOOK_PATHS = frozenset(f"{router.prefix}/{name}" for name in ("stripe", "stripe-connect"))
"""Stripe's requests come from few addresses, and aren't counted as a client's."""
# The signature is of the body's bytes, so FastAPI doesn't parse it.
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "example": {
                    "id": "evt_1Q2w3E4r5T6y7U8i",
                    "object": "event",
                    "type": "checkout.session.completed",
                    "created": 1_796_000_000,
                    "livemode": False,
                    "data": {"object": {"id": "cs_test_a1b2", "object": "checkout.session"}},
                },
            }
        },
    }
}
OF_WEBHOOKS = (
    problems.not_configured(),
    problems.signature_missing(),
    problems.signature_invalid(),
    problems.webhook_stale(),
    problems.webhook_malformed(),
)


@router.post(
    "/stripe",
    status_code=204,
    summary="Receive events of the platform's account",
    max_body_size=webhooks.MAX_BODY_BYTES,
    openapi_extra=BODY,
)
@raises(*OF_WEBHOOKS)
async def receive_stripe_event(request: Request, database: DatabaseDep, now: Now, signature: Signature = None) -> None:
    """For Stripe alone. An event says which object to look at; nothing else of it is read. Known events are ignored."""
    settings = services_of(request).settings
    secrets = [settings.stripe_webhook_secret, settings.stripe_webhook_secret_previous]
    await _receive(request, database, now, secrets=secrets, signature=signature, is_connected=False)


@router.post(
    "/stripe-connect",
    status_code=204,
    summary="Receive events of connected accounts",
    max_body_size=webhooks.MAX_BODY_BYTES,
    openapi_extra=BODY,
)
@raises(*OF_WEBHOOKS)
async def receive_connect_event(request: Request, database: DatabaseDep, now: Now, signature: Signature = None) -> None:
    """For Stripe alone: events about the accounts to which payouts go."""
    settings = services_of(request).settings
    secrets = [settings.stripe_connect_webhook_secret, settings.stripe_connect_webhook_secret_previous]
    await _receive(request, database, now, secrets=secrets, signature=signature, is_connected=True)


async def _receive(
    request: Request,
    database: Database,
    now: datetime,
    *,
    secrets: Sequence[SecretStr | None],
    signature: str | None,
    is_connected: bool,
) -> None:
    services = services_of(request)
    body, limiter = await request.body(), services.request_limiter
    try:
        if not services.stripe.is_configured or secrets[0] is None:
            raise problems.not_configured()
        webhooks.verify(secrets, header=signature, body=body, now=now)
    except Problem:
        # A client without the secret is counted as a client, and so can't use up Stripe's limit.
        client = request.client.host if request.client else ""
        count_request(request.scope, limiter, limiter.per_client, network_of(client))
        raise
    count_request(request.scope, limiter, limits.WEBHOOKS, "all")
    await webhooks.record(services, database, webhooks.parse(body), is_connected=is_connected)
