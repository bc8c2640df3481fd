from typing import Annotated, Any

from fastapi import APIRouter, Header, Request

from audifi.core.http.dependencies import DatabaseDep, Now, services_of
from audifi.core.http.openapi import operation_id, raises
from audifi.core.http.routing import StrictRoute
from audifi.emails import problems, webhook
from audifi.emails.measures import EVENTS

router = APIRouter(
    prefix="/api/v1/emails", tags=["emails"], generate_unique_id_function=operation_id, route_class=StrictRoute
)

Signature = Annotated[
    str,
    Header(
        alias="X-Twilio-Email-Event-Webhook-Signature",
        description="ECDSA over the timestamp and the body, in DER and base64.",
        max_length=200,
        examples=["MEUCIQDrZR9IFc9ifYMNJwPDkZyUkdFGZlTAJnbSg8jVRWeOlwIgSQz1yYT9C5wHLvRzbKxAiyHkcYV3nfKBJUVyXA8tBeg="],
    ),
]
Timestamp = Annotated[
    str,
    Header(
        alias="X-Twilio-Email-Event-Webhook-Timestamp",
        description="When the request was signed, in seconds since 1970.",
        max_length=20,
        examples=["1769860800"],
    ),
]
# The signature is of the body's bytes, so FastAPI doesn't parse it.
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "array", "maxItems": webhook.MAX_EVENTS, "items": {"type": "object"}},
                "example": [
                    {
                        "event": "dropped",
                        "email": "ana@example.com",
                        "timestamp": 1769860790,
                        "reason": "Bounced Address",
                        "sg_event_id": "ZHJvcC0xMDE2OTQxNQ",
                        "message_id": "01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17",
                    }
                ],
            }
        },
    }
}


@router.post(
    "/sendgrid-events",
    status_code=204,
    summary="Receive events of SendGrid's signed Event Webhook",
    max_body_size=webhook.MAX_BODY_BYTES,
    openapi_extra=BODY,
)
@raises(problems.webhook_disabled(), problems.signature_invalid(), problems.signature_expired())
async def receive_sendgrid_events(
    request: Request, database: DatabaseDep, now: Now, signature: Signature = "", timestamp: Timestamp = ""
) -> None:
    """For SendGrid alone. Events that are known already, of other kinds, or about other e-mails are ignored."""
    services = services_of(request)
    key = services.settings.sendgrid_webhook_public_key
    if key is None:
        raise problems.webhook_disabled()
    body = await request.body()
    webhook.verify(key, signature=signature, timestamp=timestamp, body=body, now=now)
    for event in await webhook.record(database, webhook.parse(body)):
        services.metrics.count(EVENTS, event)
