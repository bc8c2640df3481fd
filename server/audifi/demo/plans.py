"""Plans of the artists: without one, an account has one master."""

from audifi.demo.world import OPERATOR, Part, World
from audifi.subscriptions import grants
from audifi.subscriptions.entitlements import plan_of
from audifi.subscriptions.plans import PaidPlan

PLANS: dict[str, PaidPlan] = {"mira": "ENTERPRISE", "juno": "PRO", "parade": "PRO"}
DAYS_AGO = 39
DAYS = 365


async def is_there(world: World) -> bool:
    user_id = await world.user(list(PLANS)[-1])
    plans = await plan_of(world.services.database, user_ids=[user_id], now=world.today)
    return plans[user_id].name != "FREE"


async def make(world: World) -> None:
    for name, plan in PLANS.items():
        user_id = await world.user(name)
        async with world.services.database.transaction() as tx:
            await grants.grant(
                tx,
                user_id=user_id,
                plan=plan,
                reason="The demo",
                ends_at=world.ago(days=DAYS_AGO - DAYS),
                operator=OPERATOR,
                now=world.ago(days=DAYS_AGO),
            )
    world.say(f"{len(PLANS)} artists have a plan")


PART = Part(name="plans", is_there=is_there, make=make)
