"""Money: deposits that an operator saw on the bank's statement. The payouts and the chargeback come later."""

from dataclasses import dataclass

from sqlalchemy import bindparam, select

from audifi.core.db.statements import Statement
from audifi.demo.world import OPERATOR, Part, World
from audifi.funding import deposits, disputes, payouts
from audifi.funding.deposits import Attribution, Receipt
from audifi.funding.disputes import DisputeReport
from audifi.funding.models import Deposit, Dispute

PROVIDER = "operator"
BY = Attribution(operator=OPERATOR, reason="Demo data")
DISPUTE = "demo-dispute-1"

FIND_DEPOSIT = Statement(
    select(Deposit.id).where(Deposit.provider == PROVIDER, Deposit.provider_ref == bindparam("reference"))
)
FIND_DISPUTE = Statement(
    select(Dispute.id).where(Dispute.provider == PROVIDER, Dispute.provider_ref == bindparam("reference"))
)


@dataclass(frozen=True, kw_only=True)
class DemoDeposit:
    """Money that came in."""

    user: str
    amount: int
    days_ago: float
    currency: str = "USD"

    @property
    def reference(self) -> str:
        return f"demo-{self.user}-{self.currency}"


DEPOSITS = (
    DemoDeposit(user="ada", amount=500_000, days_ago=36),
    DemoDeposit(user="ben", amount=300_000, days_ago=35),
    DemoDeposit(user="chiara", amount=120_000, days_ago=35),
    DemoDeposit(user="finn", amount=20_000, days_ago=34),
    DemoDeposit(user="ada", amount=50_000, days_ago=30, currency="EUR"),
    DemoDeposit(user="elif", amount=75_000, days_ago=2),
)


async def deposits_are_there(world: World) -> bool:
    reference = DEPOSITS[-1].reference
    return await world.services.database.fetch_value(FIND_DEPOSIT, reference=reference) is not None


async def make_deposits(world: World) -> None:
    for deposit in DEPOSITS:
        receipt = Receipt(
            provider=PROVIDER,
            reference=deposit.reference,
            user_id=await world.user(deposit.user),
            currency=deposit.currency,
            amount=deposit.amount,
        )
        async with world.services.database.transaction() as tx:
            await deposits.book(tx, receipt=receipt, now=world.ago(days=deposit.days_ago), by=BY)
    world.say(f"{len(DEPOSITS)} deposits are booked")


async def payouts_are_there(world: World) -> bool:
    return await world.services.database.fetch_value(FIND_DISPUTE, reference=DISPUTE) is not None


async def make_payouts(world: World) -> None:
    """Pay one payout, leave another one for an operator, and let a bank take a deposit back."""
    database, artist_id = world.services.database, await world.user("mira")
    async with database.transaction() as tx:
        asked_at, paid_at = world.ago(days=15), world.ago(days=14)
        paid = await payouts.request(tx, user_id=artist_id, provider=None, currency="USD", amount=60_000, now=asked_at)
        await payouts.submit(tx, payout_id=paid.id, now=paid_at, by=BY)
        await payouts.payout_paid(tx, payout_id=paid.id, now=paid_at, reference="demo-payout-1", by=BY)
    async with database.transaction() as tx:
        await payouts.request(
            tx, user_id=artist_id, provider=None, currency="USD", amount=25_000, now=world.ago(days=1)
        )
    world.say("a payout is paid, another one waits")
    report = DisputeReport(
        provider=PROVIDER,
        deposit_reference=next(deposit.reference for deposit in DEPOSITS if deposit.user == "finn"),
        reference=DISPUTE,
        status="open",
        amount=20_000,
    )
    async with database.transaction() as tx:
        await disputes.dispute_reported(tx, report=report, now=world.ago(days=5), by=BY)
    world.say("a deposit is charged back, and its account in debt")


DEPOSITS_PART = Part(name="deposits", is_there=deposits_are_there, make=make_deposits)
PAYOUTS_PART = Part(name="payouts", is_there=payouts_are_there, make=make_payouts)
