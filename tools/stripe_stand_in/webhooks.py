"""Deliveries of events: signed, repeated when they fail, and disturbed on demand (https://docs.stripe.com/webhooks)."""

import asyncio
import hashlib
import hmac
import json
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tools.stripe_stand_in.world import API_VERSION, HOUR, Object, World

# Live mode tries for three days, with exponential backoff: https://docs.stripe.com/webhooks#retries
RETRY_SECONDS = tuple(HOUR * 2**number for number in range(6))
TIMEOUT_SECONDS = 10
LOG_LENGTH = 20_000
ORDERS: dict[str, Callable[[list["Delivery"]], None]] = {
    "as_created": lambda _: None,
    "reversed": list.reverse,
    "shuffled": lambda deliveries: random.Random(len(deliveries)).shuffle(deliveries),
}


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A webhook endpoint. `connect`: gets the events of connected accounts, and only those.

    Its version is listed only: the objects of all events are of `API_VERSION`.
    """

    id: str
    url: str
    secret: str
    connect: bool = False
    api_version: str = API_VERSION


@dataclass(kw_only=True)
class Delivery:
    event: Object
    endpoint: Endpoint
    attempt: int = 1


@dataclass(kw_only=True)
class Disturbances:
    """Failures of deliveries. `lose`: how many of the next ones never arrive. `held`: they wait for `release`."""

    held: bool = False
    copies: int = 1
    lose: int = 0


def sign(payload: str, secret: str, timestamp: int) -> str:
    """Return the header Stripe-Signature (https://docs.stripe.com/webhooks#verify-manually)."""
    signature = hmac.new(secret.encode(), f"{timestamp}.{payload}".encode(), hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={signature}"


@dataclass(kw_only=True)
class Webhooks:
    """Delivers events one after another."""

    world: World
    endpoints: list[Endpoint]
    disturbances: Disturbances = field(default_factory=Disturbances)
    log: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=LOG_LENGTH))
    _queue: deque[Delivery] = field(default_factory=deque)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def enqueue(self, event: Object) -> None:
        for endpoint in self.endpoints:
            if endpoint.connect != ("account" in event):
                continue
            if self.disturbances.lose > 0:
                self.disturbances.lose -= 1
                self._note(Delivery(event=event, endpoint=endpoint), "lost")
                continue
            event["pending_webhooks"] += 1
            self.add(*(Delivery(event=event, endpoint=endpoint) for _ in range(self.disturbances.copies)))

    def add(self, *deliveries: Delivery) -> None:
        self._queue.extend(deliveries)
        self._wake()

    def release(self, order: str) -> None:
        """Deliver what was held, in this order."""
        waiting = list(self._queue)
        ORDERS[order](waiting)
        self._queue = deque(waiting)
        self.disturbances.held = False
        self._wake()

    def hold(self, *, held: bool) -> None:
        self.disturbances.held = held
        self._wake()

    async def drain(self) -> None:
        """Wait until nothing is on its way. What is held, or waits for its next attempt, isn't."""
        await self._idle.wait()

    def _wake(self) -> None:
        if self._queue and not self.disturbances.held:
            self._idle.clear()
        self._changed.set()

    async def run(self) -> None:
        async with httpx2.AsyncClient(timeout=TIMEOUT_SECONDS) as client:
            while True:
                if not self._queue or self.disturbances.held:
                    self._idle.set()
                    self._changed.clear()
                    await self._changed.wait()
                    continue
                await self._deliver(client, self._queue.popleft())

    async def _deliver(self, client: httpx2.AsyncClient, delivery: Delivery) -> None:
        payload = json.dumps(delivery.event, indent=2)
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "Stripe-Signature": sign(payload, delivery.endpoint.secret, self.world.sending_time),
        }
        try:
            response = await client.post(delivery.endpoint.url, content=payload, headers=headers)
            outcome = str(response.status_code)
        except httpx2.HTTPError as error:
            outcome = type(error).__name__
        self._note(delivery, outcome)
        if outcome.startswith("2"):
            delivery.event["pending_webhooks"] = max(0, delivery.event["pending_webhooks"] - 1)
        elif delivery.attempt <= len(RETRY_SECONDS):
            again = Delivery(event=delivery.event, endpoint=delivery.endpoint, attempt=delivery.attempt + 1)
            self.world.at(self.world.now + RETRY_SECONDS[delivery.attempt - 1], lambda: self.add(again))

    def _note(self, delivery: Delivery, outcome: str) -> None:
        event = delivery.event
        entry = {"event": event["id"], "type": event["type"], "endpoint": delivery.endpoint.id, "outcome": outcome}
        self.log.append(entry | {"attempt": delivery.attempt})

    def shown_endpoints(self) -> list[Object]:
        """Return the endpoints as the API lists them (https://docs.stripe.com/api/webhook_endpoints)."""
        return [
            {
                "id": endpoint.id,
                "object": "webhook_endpoint",
                "api_version": endpoint.api_version,
                "created": 0,
                "enabled_events": ["*"],
                "livemode": False,
                "metadata": {},
                "status": "enabled",
                "url": endpoint.url,
            }
            for endpoint in self.endpoints
        ]
