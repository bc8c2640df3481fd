"""What domain events mean for accounts: each source inserts the notices of some events, and returns their ids."""

from dataclasses import dataclass

from sqlalchemy import text

from audifi.core.db.statements import Statement
from audifi.notices.models import Notice, NoticeKind


def _insert(columns: str, subjects: str) -> Statement:
    """Insert a notice for each row of `subjects`, a select with a `user_id`, a `kind`, and the columns.

    The deletion of an account waits for the lock, then deletes its notices: none is left behind.
    """
    return Statement(
        text(f"""
        INSERT INTO notices (id, created_at, user_id, kind, {columns})
            SELECT gen_random_uuid(), :now, u.id, subjects.kind, {columns}
            FROM ({subjects}) AS subjects
            JOIN users AS u ON u.id = subjects.user_id AND u.deleted_at IS NULL
            FOR SHARE OF u
        RETURNING id
        """).columns(Notice.id)  # noqa: S608 - all of it is written here
    )


SHARES = _insert(
    "master_id, title, quantity, amount, currency",
    """
    SELECT party.user_id, party.kind, i.master_id, m.title, upper(s.serials) - lower(s.serials) AS quantity,
        s.price AS amount, i.currency
    FROM share_movements AS s
    JOIN ipos AS i ON i.id = s.ipo_id
    JOIN masters AS m ON m.id = i.master_id
    JOIN ledger_accounts AS giver ON giver.id = s.from_id
    JOIN ledger_accounts AS taker ON taker.id = s.to_id
    CROSS JOIN LATERAL (VALUES
        (taker.owner_id, 'shares_bought', s.reason IN ('sale', 'resale')),
        (giver.owner_id, 'shares_sold', s.reason = 'resale'),
        (giver.owner_id, 'shares_refunded', s.reason IN ('refund', 'withdraw'))
    ) AS party (user_id, kind, applies)
    WHERE s.id = ANY(CAST(:ids AS uuid[])) AND party.applies
    """,
)
OFFERINGS = _insert(
    "master_id, title, quantity",
    """
    SELECT i.artist_id AS user_id, CAST(:kind AS text) AS kind, i.master_id, m.title, i.sold - i.returned AS quantity
    FROM ipos AS i JOIN masters AS m ON m.id = i.master_id
    WHERE i.id = ANY(CAST(:ids AS uuid[]))
    """,
)
MASTERS = _insert(
    "master_id, title, reason",
    """
    SELECT artist_id AS user_id, CAST(:kind AS text) AS kind, id AS master_id, title, rejection_reason AS reason
    FROM masters WHERE id = ANY(CAST(:ids AS uuid[]))
    """,
)
PAYOUTS = _insert(
    "amount, currency",
    """
    SELECT user_id, CAST(:kind AS text) AS kind, amount, currency FROM payouts WHERE id = ANY(CAST(:ids AS uuid[]))
    """,
)


@dataclass(frozen=True)
class Source:
    """Where the notices of an event come from."""

    insert: Statement
    kind: NoticeKind | None = None
    """Of the notices; None: the statement knows it."""
    subject: str | None = None
    """What in the event's payload is the id to look for; None: the event's subject."""


SOURCES = {
    "share.minted": Source(SHARES, subject="movement_id"),
    "share.moved": Source(SHARES, subject="movement_id"),
    "ipo.completed": Source(OFFERINGS, "offering_completed"),
    "ipo.canceled": Source(OFFERINGS, "offering_canceled"),
    "master.approved": Source(MASTERS, "master_approved"),
    "master.rejected": Source(MASTERS, "master_rejected"),
    "payout.paid": Source(PAYOUTS, "payout_paid"),
    "payout.failed": Source(PAYOUTS, "payout_failed"),
}
"""By the kind of the event; other events concern nobody who would want to know."""
