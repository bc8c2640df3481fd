"""What imports the package `stripe`: its HTTP client over httpx2, and the signatures of its webhooks.

Importing it takes a fifth of a second, so `client` and `webhooks` do it at their first use.
"""

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from typing import Any, override

import httpx2
import stripe

from audifi.core.http_client import open_client

CONNECTIONS = 20  # as many as jobs run at once
RETRIES = 2
API_VERSION = stripe.api_version
"""That the package sends with each call."""

logging.getLogger("stripe").setLevel(logging.WARNING)  # else it logs each call's URL
stripe.enable_telemetry = False  # else each call tells the duration of the one before


class HttpClient(stripe.HTTPClient):
    """The package's HTTP client, on httpx2: its own async client needs httpx or aiohttp."""

    name = "httpx2"

    def __init__(self, timeout_seconds: float) -> None:
        super().__init__()
        self._http = open_client(timeout_seconds, limits=httpx2.Limits(max_connections=CONNECTIONS))

    @override
    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        try:
            response = await self._http.request(method, url, headers=dict(headers), content=post_data)
        except httpx2.HTTPError as error:
            # Stripe keeps the idempotency key, so a repetition does nothing twice.
            raise stripe.APIConnectionError(  # type: ignore[no-untyped-call] # its constructor has no types
                type(error).__name__, should_retry=True
            ) from None
        return response.content, response.status_code, response.headers

    @override
    def sleep_async(self, secs: float) -> Awaitable[None]:
        return asyncio.sleep(secs)

    @override
    async def close_async(self) -> None:
        await self._http.aclose()


def make_client(*, key: str, api_base: str | None, timeout_seconds: float) -> tuple[stripe.StripeClient, HttpClient]:
    http = HttpClient(timeout_seconds)
    client = stripe.StripeClient(
        key,
        http_client=http,
        max_network_retries=RETRIES,
        base_addresses={"api": api_base} if api_base else None,
    )
    return client, http


def is_signed(body: str, header: str, secret: str) -> bool:
    """Return whether a webhook was signed with the secret, at whatever time."""
    try:
        stripe.WebhookSignature.verify_header(body, header, secret, tolerance=None)
    except stripe.SignatureVerificationError:
        return False
    return True
