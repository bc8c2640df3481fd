"""Invariants of revenue, pools and claims."""

from audifi.core.invariants import Invariant

INVARIANTS = (
    Invariant(
        name="dividend_pools_are_exact",
        sentence="A pool's balance is what has accrued and isn't claimed, with the residue, to the fraction.",
        violations="""
            SELECT p.id, p.balance, h.accrued + p.residue AS owed
            FROM (
                SELECT pool.*, (
                    SELECT sum(posted) FROM ledger_accounts WHERE owner_kind = 'pool' AND owner_id = pool.id
                ) AS balance FROM ledger_pools AS pool
            ) AS p LEFT JOIN (
                SELECT pool.id,
                    sum(coalesce(x.accrued, 0) + a.posted * (pool.per_unit - coalesce(x.checkpoint, 0))) AS accrued
                FROM ledger_pools AS pool
                    JOIN ledger_accounts AS a ON a.asset_id = pool.share_asset_id AND a.accrues
                    LEFT JOIN ledger_accruals AS x ON x.pool_id = pool.id AND x.account_id = a.id
                GROUP BY pool.id
            ) AS h USING (id)
            WHERE coalesce(h.accrued, 0) + p.residue <> p.balance * 1000000000""",
    ),
    Invariant(
        name="dividend_pools_count_all_units",
        sentence="A pool has as many units as there are shares in accounts that accrue.",
        violations="""
            SELECT p.id, p.units, sum(a.posted) AS shares
            FROM ledger_pools AS p JOIN ledger_accounts AS a ON a.asset_id = p.share_asset_id AND a.accrues
            GROUP BY p.id HAVING sum(a.posted) <> p.units""",
    ),
    Invariant(
        name="dividend_pools_keep_what_is_not_claimed",
        sentence="What holders got by distributions is what they claimed and what is left in the pool.",
        violations="""
            SELECT p.id, d.holders, c.amount AS claimed, b.posted AS balance
            FROM ledger_pools AS p
                LEFT JOIN (
                    SELECT pool_id, sum(holders) AS holders FROM distributions WHERE status = 'posted' GROUP BY 1
                ) AS d ON d.pool_id = p.id
                LEFT JOIN (SELECT pool_id, sum(amount) AS amount FROM dividend_claims GROUP BY 1) AS c
                    ON c.pool_id = p.id
                LEFT JOIN (
                    SELECT owner_id, sum(posted) AS posted FROM ledger_accounts WHERE owner_kind = 'pool' GROUP BY 1
                ) AS b ON b.owner_id = p.id
            WHERE coalesce(d.holders, 0) <> coalesce(c.amount, 0) + coalesce(b.posted, 0)
                OR coalesce(d.holders, 0) * 1000000000 <> p.per_unit * p.units + p.residue""",
    ),
    Invariant(
        name="revenue_funded_is_kept",
        sentence="An offering's revenue account has what is funded and not distributed.",
        violations="""
            SELECT coalesce(a.owner_id, e.ipo_id) AS ipo_id, a.posted, e.amount
            FROM (
                SELECT a.owner_id, asset.code AS currency, a.posted
                FROM ledger_accounts AS a JOIN ledger_assets AS asset ON asset.id = a.asset_id
                WHERE a.owner_kind = 'ipo' AND a.purpose = 'revenue'
            ) AS a FULL JOIN (
                SELECT ipo_id, currency, sum(amount) AS amount FROM revenue_events WHERE status = 'funded'
                GROUP BY ipo_id, currency
            ) AS e ON e.ipo_id = a.owner_id AND e.currency = a.currency
            WHERE coalesce(a.posted, 0) <> coalesce(e.amount, 0)""",
    ),
    Invariant(
        name="distributions_match_revenue",
        sentence="A distribution's revenue is that of its events, which are distributed exactly once it is posted.",
        violations="""
            SELECT d.id, d.status, d.gross, sum(e.amount) AS revenue
            FROM distributions AS d LEFT JOIN revenue_events AS e ON e.distribution_id = d.id
            GROUP BY d.id
            HAVING coalesce(sum(e.amount), 0) <> CASE d.status WHEN 'canceled' THEN 0 ELSE d.gross END
                OR bool_or((e.status = 'distributed') <> (d.status = 'posted'))""",
    ),
    Invariant(
        name="dividend_claims_match_transfers",
        sentence="A claim's transfer took its amount from the pool, for shares of the claim's user.",
        violations="""
            SELECT c.transfer_id FROM dividend_claims AS c
                LEFT JOIN ledger_claims AS l ON l.transfer_id = c.transfer_id
                LEFT JOIN ledger_accounts AS h ON h.id = l.account_id
            WHERE h.owner_id IS DISTINCT FROM c.user_id OR -c.amount IS DISTINCT FROM (
                SELECT sum(e.amount) FROM ledger_entries AS e JOIN ledger_accounts AS a ON a.id = e.account_id
                WHERE e.transfer_id = c.transfer_id AND a.owner_kind = 'pool' AND a.owner_id = c.pool_id)""",
    ),
)
