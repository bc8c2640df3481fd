"""Connected accounts: where payouts go. Stripe's pages ask their owners for what it must know of them.

https://docs.stripe.com/connect/express-accounts
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Text, bindparam, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY

from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement, parameters
from audifi.payments import problems, stripe_objects
from audifi.payments.client import RefusedError
from audifi.payments.models import PayoutAccount
from audifi.payments.stripe_objects import METADATA_ID, ConnectedAccount, Reader
from audifi.payments.syncs import SyncKind, sync_now

if TYPE_CHECKING:
    from audifi.services import Services

MAX_REQUIREMENTS = 50

_accounts = PayoutAccount.__table__


@dataclass(frozen=True, slots=True)
class PayoutAccountRow:
    user_id: UUID
    provider_id: str
    country: str
    payouts_enabled: bool
    requirements_due: list[str]
    synced_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Onboarding:
    url: str
    expires_at: datetime


COLUMNS = [_accounts.c[name] for name in PayoutAccountRow.__dataclass_fields__]
FIND = Statement(select(*COLUMNS).where(_accounts.c.user_id == bindparam("owner_id")))
RECORD = Statement(
    postgresql.insert(_accounts)
    .values(parameters("user_id", "provider_id", "country", "synced_at"))
    .values(payouts_enabled=False, requirements_due=bindparam("requirements_due", type_=ARRAY(Text)))
    .on_conflict_do_nothing(index_elements=["user_id"])
)
WRITE = Statement(
    update(_accounts)
    .where(_accounts.c.provider_id == bindparam("account_id"))
    .values(
        payouts_enabled=bindparam("enabled"),
        requirements_due=bindparam("due", type_=ARRAY(Text)),
        synced_at=bindparam("now"),
    )
)


async def onboard(
    services: "Services", *, user_id: UUID, country: str, return_path: str, refresh_path: str
) -> Onboarding:
    """Return a page on which the owner gives what Stripe asks for. The account is made before, once.

    Raises:
        Problem: those of `Stripe.call`, 422 for a country in which Stripe pays nobody out, `payout.country_fixed`,
            `payout.account_closed`.
    """
    app_url = services.settings.app_url
    params: Any = {
        "account": await _account_of(services, user_id, country),
        "type": "account_onboarding",
        "return_url": app_url + return_path,
        "refresh_url": app_url + refresh_path,
    }
    try:
        link = Reader(
            await services.stripe.call("account_link_create", lambda v1: v1.account_links.create_async(params))
        )
    except RefusedError:
        raise problems.payout_account_closed() from None
    return Onboarding(url=link.text("url"), expires_at=link.time("expires_at"))


async def refresh(services: "Services", *, user_id: UUID) -> PayoutAccountRow | None:
    """Return the account's state, fetched now; None if it has none."""
    account = await services.database.fetch_one(FIND, PayoutAccountRow, owner_id=user_id)
    if account is None:
        return None
    await sync_now(services, kind="account", provider_id=f"{account.provider_id}/{account.provider_id}")
    return await services.database.fetch_one(FIND, PayoutAccountRow, owner_id=user_id)


async def _account_of(services: "Services", user_id: UUID, country: str) -> str:
    database = services.database
    known = await database.fetch_one(FIND, PayoutAccountRow, owner_id=user_id)
    if known is None:
        # Paid out by hand, so that each payout of ours is one of the bank's.
        params: Any = {
            "type": "express",
            "country": country,
            "capabilities": {"transfers": {"requested": True}},
            "settings": {"payouts": {"schedule": {"interval": "manual"}}},
            "metadata": {METADATA_ID: str(user_id)},
        }
        try:
            account = await services.stripe.call(
                "account_create",
                lambda v1: v1.accounts.create_async(params, {"idempotency_key": f"account:{user_id}:{country}"}),
            )
        except RefusedError:
            raise problems.payout_country_unsupported() from None
        created = stripe_objects.connected_account(account)
        await database.execute(
            RECORD,
            user_id=user_id,
            provider_id=created.id,
            country=created.country,
            requirements_due=created.requirements_due[:MAX_REQUIREMENTS],
            synced_at=services.clock(),
        )
        known = await database.fetch_row(FIND, PayoutAccountRow, owner_id=user_id)
    if known.country != country:
        raise problems.payout_country_fixed(known.country)
    return known.provider_id


async def _fetch(services: "Services", provider_id: str) -> ConnectedAccount | None:
    account_id = provider_id.partition("/")[0]
    thing = await services.stripe.find("account_retrieve", lambda v1: v1.accounts.retrieve_async(account_id))
    return stripe_objects.connected_account(thing) if thing is not None else None


async def _write(
    services: "Services", transaction: Transaction, provider_id: str, account: ConnectedAccount | None
) -> None:
    await transaction.execute(
        WRITE,
        account_id=provider_id.partition("/")[0],
        enabled=account is not None and account.payouts_enabled,
        due=account.requirements_due[:MAX_REQUIREMENTS] if account else ["account"],
        now=services.clock(),
    )


SYNC = SyncKind(name="account", events=("account.updated",), fetch=_fetch, write=_write, is_connected=True)
