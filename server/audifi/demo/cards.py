"""Money by card, where PAYMENTS is stand_in: deposits, a refund and a dispute, all of today. Stripe has no past."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx2
from sqlalchemy import bindparam, select

from audifi.app import FEATURES
from audifi.core.db.statements import Statement
from audifi.demo.world import Part, World
from audifi.funding.models import Deposit, Dispute
from audifi.payments import checkouts, refunds, starts
from audifi.payments.schemas import DepositCheckout
from audifi.payments.sessions import PROVIDER
from audifi.payments.stripe_objects import Reader
from audifi.payments.syncs import sync_now

CURRENCY = "USD"

FIND_DEPOSIT = Statement(
    select(Deposit.id).where(Deposit.provider == PROVIDER, Deposit.provider_ref == bindparam("reference"))
)
FIND_DISPUTE = Statement(select(Dispute.id).where(Dispute.provider == PROVIDER).limit(1))


@dataclass(frozen=True, kw_only=True)
class CardDeposit:
    """Money that came in by card, and what became of it."""

    user: str
    amount: int
    refunded: int = 0
    is_disputed: bool = False


DEPOSITS = (
    CardDeposit(user="ben", amount=8_000),
    CardDeposit(user="chiara", amount=12_000, refunded=4_000),
    CardDeposit(user="elif", amount=6_000, is_disputed=True),
)


async def is_there(world: World) -> bool:
    return await world.services.database.fetch_value(FIND_DISPUTE) is not None


async def make(world: World) -> None:
    for feature in FEATURES:
        world.services.syncs.register(feature.syncs)
    address = f"{world.services.settings.stripe_api_base}/_stand_in"
    async with httpx2.AsyncClient(base_url=address) as stand_in:
        for deposit in DEPOSITS:
            await _make(world, stand_in, deposit)
    world.say(f"{len(DEPOSITS)} deposits came by card: one is refunded in part, one is disputed")


async def _make(world: World, stand_in: httpx2.AsyncClient, deposit: CardDeposit) -> None:
    services, user_id = world.services, await world.user(deposit.user)
    intent = await _pay(world, stand_in, deposit, user_id)
    if deposit.refunded:
        deposit_id = await services.database.fetch_value(FIND_DEPOSIT, reference=intent)
        async with services.database.transaction() as tx:
            refund_id = await refunds.request(
                tx,
                deposit_id=deposit_id,
                owner_id=user_id,
                actor_id=user_id,
                amount=deposit.refunded,
                reason=None,
                now=services.clock(),
            )
        await refunds.send(services, refund_id=refund_id)
    if deposit.is_disputed:
        thing = await services.stripe.call("intent_retrieve", lambda v1: v1.payment_intents.retrieve_async(intent))
        dispute = await _do(stand_in, "dispute", charge=Reader(thing).text("latest_charge"))
        await sync_now(services, kind="dispute", provider_id=dispute["id"])


async def _pay(world: World, stand_in: httpx2.AsyncClient, deposit: CardDeposit, user_id: UUID) -> str:
    """Open the page of a deposit and pay on it; return the payment's id at Stripe."""
    services = world.services
    wanted = DepositCheckout(amount=deposit.amount, currency=CURRENCY, success_path="/wallet", cancel_path="/wallet")
    async with services.database.transaction() as tx:
        checkout = await starts.start_deposit(tx, user_id=user_id, wanted=wanted, now=services.clock())
    page = await checkouts.open_page(services, checkout_id=checkout.id)
    session = await _do(stand_in, "pay_checkout", session=page.provider_id)
    await sync_now(services, kind="checkout", provider_id=session["id"])
    return str(session["payment_intent"])


async def _do(stand_in: httpx2.AsyncClient, command: str, **fields: Any) -> Any:
    """Do what a person does at Stripe, or a bank (tools/stripe_stand_in)."""
    answer = await stand_in.post(f"/{command}", json=fields)
    return answer.raise_for_status().json()


PART = Part(name="deposits by card", is_there=is_there, make=make)
