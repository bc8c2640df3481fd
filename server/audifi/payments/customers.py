"""Accounts' customers at Stripe."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import BigInteger, bindparam, exists, select, text, update
from sqlalchemy.dialects import postgresql

from audifi.auth.models import User
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement, parameters
from audifi.payments.models import Customer
from audifi.payments.stripe_objects import METADATA_ID
from audifi.payments.syncs import QUEUE_JOB, RAISE, SyncKind

if TYPE_CHECKING:
    from stripe import Customer as StripeCustomer

    from audifi.services import Services

_customers = Customer.__table__
FIND = Statement(
    select(_customers.c.provider_id, _customers.c.deleted_at).where(_customers.c.user_id == bindparam("owner_id"))
)
RECORD = Statement(
    postgresql.insert(_customers)
    .values(parameters("user_id", "provider_id", "created_at"))
    .on_conflict_do_nothing(index_elements=["user_id"])
)
REPLACE = Statement(
    update(_customers)
    .where(_customers.c.user_id == bindparam("owner_id"), _customers.c.provider_id == bindparam("old_id"))
    .values(provider_id=bindparam("new_id"), deleted_at=None)
)
EMAIL = Statement(select(User.email).where(User.id == bindparam("owner_id"), User.deleted_at.is_(None)))
IS_OF_DELETED_ACCOUNT = Statement(
    select(
        exists().where(
            _customers.c.provider_id == bindparam("customer_id"),
            User.id == _customers.c.user_id,
            User.deleted_at.is_not(None),
        )
    )
)
# By the clock of the database: an account's deletion has no other.
_OF_ACCOUNT = """(SELECT 'customer' AS kind, provider_id, now() + interval '1 minute' AS next_at
        FROM provider_customers WHERE user_id = :owner_id AND deleted_at IS NULL) AS asked"""
LOOK = Statement(
    text(
        f"WITH sync AS ({RAISE.format(source=_OF_ACCOUNT)}), job AS ({QUEUE_JOB} FROM sync)"  # noqa: S608 - constants
        " SELECT requested FROM sync"
    ).columns(requested=BigInteger)
)
DELETED = Statement(
    update(_customers)
    .where(_customers.c.provider_id == bindparam("customer_id"), _customers.c.deleted_at.is_(None))
    .values(deleted_at=bindparam("now"))
)


@dataclass(frozen=True, slots=True)
class _Known:
    provider_id: str
    deleted_at: datetime | None


async def customer_of(services: "Services", user_id: UUID) -> str:
    """Return the id of the account's customer; make one where there is none, or it was deleted there.

    Two requests at once get the same: the idempotency key is the account's. Called outside a transaction.

    Raises:
        Problem, RefusedError: see `Stripe.call`.
    """
    database = services.database
    known = await database.fetch_one(FIND, _Known, owner_id=user_id)
    if known is not None and known.deleted_at is None:
        return known.provider_id
    email = await database.fetch_value(EMAIL, owner_id=user_id)
    # By the hour: Stripe repeats its own 500 for a day. A customer too many is empty, and harms nobody.
    key = f"customer:{user_id}:{services.clock():%Y%m%d%H}" + (f":{known.provider_id}" if known else "")
    created: StripeCustomer = await services.stripe.call(
        "customer_create",
        lambda v1: v1.customers.create_async(
            {"email": email, "metadata": {METADATA_ID: str(user_id)}}, {"idempotency_key": key}
        ),
    )
    if known is not None:
        await database.execute(REPLACE, owner_id=user_id, old_id=known.provider_id, new_id=created.id)
    else:
        await database.execute(RECORD, user_id=user_id, provider_id=created.id, created_at=services.clock())
    # Read again: where the key had expired between two requests, the first one's customer stays.
    first = await database.fetch_row(FIND, _Known, owner_id=user_id)
    return first.provider_id


async def find_customer(services: "Services", user_id: UUID) -> str | None:
    """Return the id of the account's customer, if it has one."""
    known = await services.database.fetch_one(FIND, _Known, owner_id=user_id)
    return known.provider_id if known is not None and known.deleted_at is None else None


async def delete_with_account(transaction: Transaction, *, user_id: UUID) -> None:
    """Have the customer of an account that is being deleted deleted, too, with its cards and addresses."""
    await transaction.execute(LOOK, owner_id=user_id)


async def _fetch(services: "Services", provider_id: str) -> object:
    if await services.background_database.fetch_value(IS_OF_DELETED_ACCOUNT, customer_id=provider_id):
        await services.stripe.find("customer_delete", lambda v1: v1.customers.delete_async(provider_id))
        return None
    return await services.stripe.find("customer_retrieve", lambda v1: v1.customers.retrieve_async(provider_id))


async def _write(services: "Services", transaction: Transaction, provider_id: str, customer: object) -> None:
    if customer is None:
        await transaction.execute(DELETED, customer_id=provider_id, now=services.clock())


SYNC = SyncKind(name="customer", events=("customer.deleted",), fetch=_fetch, write=_write)
