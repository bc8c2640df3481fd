"""Invariants of deposits, disputes and payouts: what `python -m audifi funding check` proves."""

# ruff: noqa: S608 - made of constants

from audifi.core.invariants import Invariant
from audifi.ledger.accounts import provider_id

PROVIDERS = ("operator", "development", "stripe")
_providers = ", ".join(f"('{name}', '{provider_id(name)}'::uuid)" for name in PROVIDERS)

# Each transfer of a row, with what it must have moved from the provider to the user.
_MOVED = """
    SELECT transfer_id, provider, currency, user_id, amount, 'deposit' AS kind
    FROM deposits WHERE transfer_id IS NOT NULL
    UNION ALL SELECT dispute.transfer_id, dispute.provider, currency, user_id, -dispute.amount, 'dispute'
    FROM deposit_disputes AS dispute JOIN deposits ON deposits.id = deposit_id WHERE dispute.transfer_id IS NOT NULL
    UNION ALL SELECT returned_by_id, dispute.provider, currency, user_id, dispute.amount, 'dispute_won'
    FROM deposit_disputes AS dispute JOIN deposits ON deposits.id = deposit_id WHERE returned_by_id IS NOT NULL
    UNION ALL SELECT transfer_id, provider, currency, user_id, -amount, 'payout'
    FROM payouts WHERE transfer_id IS NOT NULL
    UNION ALL SELECT returned_by_id, provider, currency, user_id, amount, 'payout_returned'
    FROM payouts WHERE returned_by_id IS NOT NULL
"""
_KINDS = "('deposit', 'dispute', 'dispute_won', 'payout', 'payout_returned')"

INVARIANTS = (
    Invariant(
        name="funding_external_equals_records",
        sentence="A provider's external account is disputes not won, plus payouts paid, less deposits succeeded.",
        violations=f"""
            SELECT provider, asset_id, external, recorded FROM (
                SELECT a.owner_id, a.asset_id, sum(e.amount) AS external
                FROM ledger_transfers AS t JOIN ledger_entries AS e ON e.transfer_id = t.id
                    JOIN ledger_accounts AS a ON a.id = e.account_id
                WHERE t.kind IN {_KINDS} AND a.owner_kind = 'provider' AND a.purpose = 'external'
                GROUP BY a.owner_id, a.asset_id
            ) AS posted FULL JOIN (
                SELECT p.owner_id, r.provider, asset.id AS asset_id, sum(r.amount) AS recorded
                FROM (
                    SELECT provider, currency, disputed - amount AS amount FROM deposits WHERE transfer_id IS NOT NULL
                    UNION ALL SELECT provider, currency, amount FROM payouts WHERE status = 'paid'
                ) AS r JOIN ledger_assets AS asset ON asset.code = r.currency
                    LEFT JOIN (VALUES {_providers}) AS p(provider, owner_id) USING (provider)
                GROUP BY p.owner_id, r.provider, asset.id
            ) AS rows USING (owner_id, asset_id)
            WHERE coalesce(external, 0) <> coalesce(recorded, 0)""",
    ),
    Invariant(
        name="funding_transfers_equal_records",
        sentence="Each deposit, dispute and payout has moved its amount between the provider and its user, once.",
        violations=f"""
            SELECT m.transfer_id, m.kind FROM ({_MOVED}) AS m JOIN ledger_transfers AS t ON t.id = m.transfer_id
            WHERE t.kind <> m.kind OR m.amount IS DISTINCT FROM (
                SELECT sum(e.amount) FROM ledger_entries AS e JOIN ledger_accounts AS a ON a.id = e.account_id
                    JOIN ledger_assets AS asset ON asset.id = a.asset_id
                WHERE e.transfer_id = m.transfer_id AND a.owner_kind = 'user' AND a.owner_id = m.user_id
                    AND a.purpose IN ('available', 'debt') AND asset.code = m.currency)""",
    ),
    Invariant(
        name="funding_disputed_equals_disputes",
        sentence="What is disputed of a deposit is the sum of its disputes that aren't won.",
        violations="""
            SELECT id FROM deposits LEFT JOIN (
                SELECT deposit_id, sum(amount) AS amount, bool_or(status = 'open') AS is_open
                FROM deposit_disputes WHERE status <> 'won' GROUP BY deposit_id
            ) AS standing ON deposit_id = id
            WHERE disputed <> coalesce(standing.amount, 0) OR (status = 'disputed') <> coalesce(is_open, false)""",
    ),
    Invariant(
        name="funding_holds_are_of_open_payouts",
        sentence="A payout's hold is its amount, and open exactly while the payout is.",
        violations="""
            SELECT payouts.id FROM payouts JOIN ledger_holds AS hold ON hold.id = hold_id
            WHERE hold.amount <> payouts.amount
                OR (hold.status = 'open') <> (payouts.status IN ('requested', 'submitted'))
                OR (hold.status = 'posted') <> (payouts.transfer_id IS NOT NULL)""",
    ),
)
