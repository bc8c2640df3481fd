"""The Customer Portal: Stripe's page of an account's cards, invoices and receipts.

https://docs.stripe.com/customer-management
"""

from typing import TYPE_CHECKING, Any
from uuid import UUID

from audifi.payments import problems
from audifi.payments.client import RefusedError
from audifi.payments.customers import customer_of
from audifi.payments.stripe_objects import Reader
from audifi.payments.syncs import sync_now

if TYPE_CHECKING:
    from audifi.services import Services


async def open_portal(services: "Services", *, user_id: UUID, return_path: str) -> str:
    """Return the page's URL, good for 5 minutes.

    Raises:
        Problem: those of `Stripe.call`.
    """
    customer = await customer_of(services, user_id)
    params: Any = {
        "customer": customer,
        "return_url": services.settings.app_url + return_path,
    }
    try:
        session = await services.stripe.call(
            "portal_create", lambda v1: v1.billing_portal.sessions.create_async(params)
        )
    except RefusedError:  # the customer was deleted there, and the next attempt makes another
        await sync_now(services, kind="customer", provider_id=customer)
        raise problems.provider_unavailable() from None
    return Reader(session).text("url")
