"""The state of the simulated Stripe account: objects, their clock, timers and events."""

import copy
import heapq
import itertools
import random
import string
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tools.stripe_stand_in.cards import Means
from tools.stripe_stand_in.errors import missing

type Object = dict[str, Any]

API_VERSION = "2026-10-28.endive"
HOUR = 3600
DAY = 24 * HOUR
EVENT_LIFETIME = 30 * DAY


@dataclass(kw_only=True)
class Settings:
    """What is set in Stripe's dashboard, or by its tests."""

    after_retries: str = "cancel"  # or "unpaid": https://docs.stripe.com/billing/revenue-recovery/smart-retries
    tax_percent: int = 0  # of invoices with automatic tax
    automatic_payouts: bool = True  # of connected accounts


@dataclass(frozen=True, kw_only=True)
class PendingUpdate:
    """What happens to a subscription when an invoice is paid, and when it is voided."""

    apply: Callable[[], None]
    discard: Callable[[], None]


@dataclass(kw_only=True)
class World:
    """All objects by id, oldest first. Only the event loop's thread touches them."""

    start: int | None = None  # None: the clock runs; else it stands until it is moved
    seed: int = 0
    base_url: str = ""
    settings: Settings = field(default_factory=Settings)
    objects: dict[str, Object] = field(default_factory=dict)
    account_of: dict[str, str] = field(default_factory=dict)  # objects of connected accounts
    settle: dict[str, Callable[[Object], None]] = field(default_factory=dict)  # what waits for a PaymentIntent
    means: dict[str, Means] = field(default_factory=dict)  # of payment methods
    set_up: set[str] = field(default_factory=set)  # payment methods whose owner has authenticated once
    failing_banks: set[str | None] = field(default_factory=set)  # of connected accounts
    payment_data: dict[str, Object] = field(default_factory=dict)  # of Checkout Sessions: what they pass on
    pending_lines: dict[str, list[Object]] = field(default_factory=dict)  # of a subscription's next invoice
    pending_updates: dict[str, PendingUpdate] = field(default_factory=dict)  # by the invoice that must be paid
    at_period_end: dict[str, Callable[[], None]] = field(
        default_factory=dict
    )  # what a subscription's schedule does then
    request: Object = field(default_factory=lambda: {"id": None, "idempotency_key": None})
    on_event: list[Callable[[Object], None]] = field(default_factory=list)
    _offset: int = 0
    _timers: list[tuple[int, int, Callable[[], None]]] = field(default_factory=list)
    _sequence: "itertools.count[int]" = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._by_kind: dict[str, dict[str, Object]] = {}

    @property
    def now(self) -> int:
        return (int(time.time()) if self.start is None else self.start) + self._offset

    @property
    def sending_time(self) -> int:
        """Return the time with which deliveries are signed: real, where the clock runs, however far it was moved."""
        return int(time.time()) if self.start is None else self.now

    def at(self, when: int, run: Callable[[], None]) -> None:
        """Call `run` when the clock reaches `when`; it checks itself whether there is still something to do."""
        heapq.heappush(self._timers, (when, next(self._sequence), run))

    def advance(self, to: int) -> None:
        """Move the clock, and run each timer at its time (https://docs.stripe.com/billing/testing/test-clocks)."""
        while self._timers and self._timers[0][0] <= to:
            when, _, run = heapq.heappop(self._timers)
            self._offset += max(0, when - self.now)
            run()
        self._offset += max(0, to - self.now)

    def new_id(self, prefix: str, length: int = 24) -> str:
        return f"{prefix}_" + "".join(self._random.choices(string.ascii_letters + string.digits, k=length))

    def new(self, kind: str, id_: str, fields: Object, *, account: str | None = None) -> Object:
        """Store an object."""
        created = {"id": id_, "object": kind, "created": self.now, "livemode": False} | fields
        self.add(created)
        if account:
            self.account_of[id_] = account
        return created

    def add(self, thing: Object) -> None:
        self.objects[thing["id"]] = thing
        self._by_kind.setdefault(thing["object"], {})[thing["id"]] = thing

    def remove(self, id_: str) -> None:
        """Delete an object."""
        del self._by_kind[self.objects.pop(id_)["object"]][id_]

    def find(self, kind: str, id_: str, *, account: str | None = None) -> Object:
        """Return the object of a path. Raises 404 resource_missing."""
        thing = self.objects.get(id_)
        if thing is None or thing["object"] != kind or self.account_of.get(id_) != account:
            raise missing(kind, id_)
        return thing

    def referred(self, kind: str, id_: str, param: str) -> Object:
        """Return the object that a parameter names. Raises 400 resource_missing."""
        thing = self.objects.get(id_)
        if thing is None or thing["object"] != kind or thing.get("deleted"):
            raise missing(kind, id_, param=param, status=400)
        return thing

    def all(self, kind: str, **values: Any) -> list[Object]:
        """Return the objects of a kind with these values, oldest first."""
        return [
            thing
            for thing in self._by_kind.get(kind, {}).values()
            if all(thing.get(name) == value for name, value in values.items())
        ]

    def change(self, thing: Object, event: str | None, **fields: Any) -> None:
        """Change an object, and tell by an event where anything is different."""
        previous = {name: copy.deepcopy(thing.get(name)) for name in fields if thing.get(name) != fields[name]}
        thing.update(fields)
        if event and previous:
            self.emit(event, thing, previous)

    def emit(self, kind: str, thing: Object, previous: Object | None = None) -> None:
        """Record an event (https://docs.stripe.com/api/events), and have it delivered."""
        account = self.account_of.get(thing["id"])
        data: Object = {"object": copy.deepcopy(thing)}
        if previous is not None:
            data["previous_attributes"] = previous
        event = self.new(
            "event",
            self.new_id("evt"),
            {
                "api_version": API_VERSION,
                "data": data,
                "pending_webhooks": 0,
                "request": dict(self.request),
                "type": kind,
            }
            | ({"account": account} if account else {}),
            account=account,
        )
        for listener in self.on_event:
            listener(event)
