"""A second server process of the shop, in the test's event loop: its jobs don't run, and it can be killed anywhere."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any, override

from audifi.app import FEATURES
from audifi.core.db.database import Database
from audifi.payments.client import Stripe
from audifi.payments.payouts import StripePayouts
from audifi.services import Services, build_services
from tests.payments.shops import Shop
from tests.support.races import Gate


class KilledError(BaseException):
    """What no handler catches. The pool drops the connection, as a process that dies does."""


class Fuse:
    """Lets some steps pass, and kills after the next one: a statement that begins so, or a call to Stripe."""

    def __init__(self, steps: int, statements: tuple[str, ...] = ("",)) -> None:
        self.left = steps
        self._statements = statements

    def burn(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise KilledError

    @contextmanager
    def __call__(self, sql: str) -> Iterator[None]:
        yield
        if sql.startswith(self._statements):
            self.burn()


class FusedStripe(Stripe):
    """Kills after Stripe has done what it was asked for, and before its answer is read."""

    def __init__(self, fuse: Fuse, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._fuse = fuse

    @override
    async def call(self, name: str, call: Any) -> Any:
        result = await super().call(name, call)
        self._fuse.burn()
        return result


@asynccontextmanager
async def process(
    shop: Shop, *, fuse: Fuse | None = None, gate: Gate | None = None, **settings: Any
) -> AsyncIterator[Services]:
    """Give the services of another process on the shop's database. A fuse kills it, a gate stops it."""
    changed = shop.app.services.settings.model_copy(update=settings)
    services = build_services(changed, clock=shop.app.clock)
    for feature in FEATURES:
        services.syncs.register(feature.syncs)
    if fuse:  # nothing of the others has been used, so there is nothing to close
        background = Database(changed, name="background", pool_size=2, read_pool_size=1, trace=fuse)
        stripe = FusedStripe(fuse, changed)
        services = replace(
            services,
            database=Database(changed, pool_size=2, read_pool_size=1, trace=fuse),
            background_database=background,
            stripe=stripe,
            payout_provider=StripePayouts(stripe, background, shop.app.clock, recent_days=120),
        )
    if gate:
        services = replace(services, database=Database(changed, pool_size=2, read_pool_size=1, trace=gate))
    try:
        yield services
    finally:
        await services.database.close()
        await services.background_database.close()
        await services.stripe.close()
        await services.email_sender.close()


async def is_killed(
    shop: Shop, steps: int, work: Callable[[Services], Awaitable[object]], *, statements: tuple[str, ...] = ("",)
) -> bool:
    """Run it in a process of its own that dies after some steps; return whether it did."""
    async with process(shop, fuse=Fuse(steps, statements)) as services:
        try:
            await work(services)
        except KilledError:
            return True
    return False
