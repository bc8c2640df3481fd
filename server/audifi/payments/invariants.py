"""Invariants of payments: what `python -m audifi payments check` proves."""

from audifi.core.invariants import Invariant

INVARIANTS = (
    Invariant(
        name="payments_syncs_are_followed",
        sentence="An object that is behind Stripe has a job, or gets one within 15 minutes.",
        violations="""
            SELECT kind, provider_id, next_at FROM provider_syncs
            WHERE synced < requested AND next_at < now() - interval '15 minutes'""",
    ),
    Invariant(
        name="payments_events_are_synced",
        sentence="An event is done only once its object was fetched after it.",
        violations="""
            SELECT event_id FROM provider_events AS e LEFT JOIN provider_syncs AS s
                ON s.kind = e.sync_kind AND s.provider_id = e.sync_id
            WHERE e.status <> 'ignored' AND (s.kind IS NULL OR (e.status = 'done' AND s.synced = 0)
                OR (e.status <> 'done' AND s.synced = s.requested))""",
    ),
    Invariant(
        name="payments_deposits_are_of_checkouts",
        sentence="A deposit at Stripe has the user, amount and currency of a complete checkout.",
        violations="""
            SELECT d.id FROM deposits AS d
            WHERE d.provider = 'stripe' AND NOT EXISTS (
                SELECT FROM checkouts AS c WHERE c.kind = 'deposit' AND c.status = 'complete'
                    AND (c.user_id, c.amount, c.currency) = (d.user_id, d.amount, d.currency))""",
    ),
    Invariant(
        name="payments_refunding_equals_refunds",
        sentence="What is refunded of a deposit is the sum of its refunds that haven't failed.",
        violations="""
            SELECT d.id, d.refunding, r.amount FROM deposits AS d LEFT JOIN (
                SELECT deposit_id, sum(amount) AS amount FROM deposit_refunds
                WHERE status <> 'failed' GROUP BY deposit_id
            ) AS r ON r.deposit_id = d.id
            WHERE d.refunding <> coalesce(r.amount, 0)""",
    ),
    Invariant(
        name="payments_holds_are_of_open_refunds",
        sentence="A refund's hold is its amount, and open exactly while the refund is.",
        violations="""
            SELECT r.id FROM deposit_refunds AS r JOIN ledger_holds AS hold ON hold.id = r.hold_id
            WHERE hold.amount <> r.amount OR (hold.status = 'open') <> (r.status IN ('requested', 'submitted'))
                OR (hold.status = 'posted') <> (r.transfer_id IS NOT NULL)""",
    ),
    Invariant(
        name="payments_refunds_have_moved_their_amount",
        sentence="Each refund has moved its amount to the provider once, and back if it failed afterwards.",
        violations="""
            SELECT m.transfer_id, m.kind FROM (
                SELECT r.transfer_id, -r.amount AS amount, r.user_id, 'deposit_refund' AS kind FROM deposit_refunds AS r
                WHERE r.transfer_id IS NOT NULL
                UNION ALL SELECT r.returned_by_id, r.amount, r.user_id, 'refund_returned' FROM deposit_refunds AS r
                WHERE r.returned_by_id IS NOT NULL
            ) AS m JOIN ledger_transfers AS t ON t.id = m.transfer_id
            WHERE t.kind <> m.kind OR m.amount IS DISTINCT FROM (
                SELECT sum(e.amount) FROM ledger_entries AS e JOIN ledger_accounts AS a ON a.id = e.account_id
                WHERE e.transfer_id = m.transfer_id AND a.owner_kind = 'user' AND a.owner_id = m.user_id)
            UNION ALL SELECT t.id, t.kind FROM ledger_transfers AS t
            WHERE t.kind IN ('deposit_refund', 'refund_returned') AND NOT EXISTS (
                SELECT FROM deposit_refunds AS r WHERE t.id IN (r.transfer_id, r.returned_by_id))""",
    ),
)
