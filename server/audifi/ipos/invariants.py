"""Invariants of offerings, purchases, lots and the ledger."""

from audifi.core.invariants import Invariant

INVARIANTS = (
    Invariant(
        name="ipo_shares_are_complete",
        sentence="From its launch until it is canceled, all shares of an offering are in accounts that accrue.",
        violations="""
            SELECT i.id, i.total_shares, sum(a.posted) AS posted
            FROM ipos AS i
                LEFT JOIN ledger_assets AS s ON s.code = 'share:' || i.id::text
                LEFT JOIN ledger_accounts AS a ON a.asset_id = s.id AND a.accrues
            GROUP BY i.id
            HAVING coalesce(sum(a.posted), 0) <> CASE
                WHEN i.status IN ('live', 'paused', 'completed', 'canceling') THEN i.total_shares ELSE 0
            END
        """,
    ),
    Invariant(
        name="share_lots_match_balances",
        sentence="The lots of an account are as many shares as its balance; the offering's are those given back.",
        violations="""
            SELECT a.id, a.posted, l.shares
            FROM ledger_accounts AS a
                JOIN ledger_assets AS s ON s.id = a.asset_id AND s.kind = 'share'
                LEFT JOIN (
                    SELECT account_id, sum(upper(serials) - lower(serials)) AS shares FROM share_lots GROUP BY 1
                ) AS l ON l.account_id = a.id
                LEFT JOIN ipos AS i ON a.owner_kind = 'ipo' AND a.purpose = 'offering' AND i.id = a.owner_id
            WHERE a.purpose <> 'issuance'
                AND coalesce(l.shares, 0) <> CASE
                    WHEN i.id IS NULL OR i.status = 'completed' THEN a.posted
                    WHEN i.status IN ('live', 'paused', 'canceling') THEN i.returned
                    ELSE 0
                END
        """,
    ),
    Invariant(
        name="share_lots_cover_serials",
        sentence="The lots of an offering are exactly its serials that were sold or retained, or all once completed.",
        violations="""
            SELECT i.id, sum(upper(l.serials) - lower(l.serials)) AS shares
            FROM ipos AS i LEFT JOIN share_lots AS l ON l.ipo_id = i.id
            GROUP BY i.id
            HAVING coalesce(sum(upper(l.serials) - lower(l.serials)), 0) <> CASE
                    WHEN i.status = 'completed' THEN i.total_shares
                    WHEN i.status IN ('live', 'paused', 'completed', 'canceling') THEN i.sold + i.retained_shares
                    ELSE 0
                END
                OR min(lower(l.serials)) <= i.number * 1048576
                OR max(upper(l.serials)) > i.number * 1048576 + i.total_shares + 1
        """,
    ),
    Invariant(
        name="ipo_sales_match_purchases",
        sentence="An offering's sold and returned shares are those of its purchases.",
        violations="""
            SELECT i.id, i.sold, i.returned, sum(p.quantity) AS bought
            FROM ipos AS i LEFT JOIN ipo_purchases AS p ON p.ipo_id = i.id
            GROUP BY i.id
            HAVING coalesce(sum(p.quantity), 0) <> i.sold
                OR coalesce(sum(p.quantity) FILTER (WHERE p.status <> 'settled'), 0) <> i.returned
        """,
    ),
    Invariant(
        name="ipo_buyers_match_purchases",
        sentence="What a buyer has bought is the sum of the settled purchases, and at most the cap.",
        violations="""
            SELECT b.ipo_id, b.user_id, b.bought
            FROM ipo_buyers AS b
                LEFT JOIN ipo_purchases AS p
                    ON p.ipo_id = b.ipo_id AND p.user_id = b.user_id AND p.status = 'settled'
            GROUP BY b.ipo_id, b.user_id
            HAVING coalesce(sum(p.quantity), 0) <> b.bought
        """,
    ),
    Invariant(
        name="ipo_reservations_match",
        sentence="What is reserved in an offering and by a buyer is the sum of the open reservations.",
        violations="""
            SELECT b.ipo_id, b.user_id, b.reserved
            FROM ipo_buyers AS b
                LEFT JOIN ipo_reservations AS r
                    ON r.ipo_id = b.ipo_id AND r.user_id = b.user_id AND r.status = 'open'
            GROUP BY b.ipo_id, b.user_id
            HAVING coalesce(sum(r.quantity), 0) <> b.reserved
            UNION ALL
            SELECT i.id, NULL, i.reserved
            FROM ipos AS i LEFT JOIN ipo_reservations AS r ON r.ipo_id = i.id AND r.status = 'open'
            GROUP BY i.id
            HAVING coalesce(sum(r.quantity), 0) <> i.reserved
        """,
    ),
    Invariant(
        name="ipo_escrow_matches",
        sentence="An offering's escrow is what its settled purchases cost until it is completed, then nothing.",
        violations="""
            SELECT i.id, a.posted, sum(p.total) AS settled
            FROM ipos AS i
                LEFT JOIN ledger_accounts AS a
                    ON a.owner_kind = 'ipo' AND a.owner_id = i.id AND a.purpose = 'escrow'
                LEFT JOIN ipo_purchases AS p ON p.ipo_id = i.id AND p.status = 'settled'
            GROUP BY i.id, a.posted
            HAVING coalesce(a.posted, 0) <> CASE WHEN i.status = 'completed' THEN 0 ELSE coalesce(sum(p.total), 0) END
        """,
    ),
    Invariant(
        name="ipo_proceeds_are_pending",
        sentence="Proceeds that aren't released are in the pending accounts of their owners.",
        violations="""
            SELECT p.user_id, i.currency, sum(p.amount) AS proceeds, a.posted
            FROM ipo_proceeds AS p
                JOIN ipos AS i ON i.id = p.ipo_id
                JOIN ledger_assets AS s ON s.code = i.currency
                LEFT JOIN ledger_accounts AS a ON a.owner_kind = 'user' AND a.owner_id = p.user_id
                    AND a.purpose = 'pending' AND a.asset_id = s.id
            WHERE p.released_at IS NULL
            GROUP BY p.user_id, i.currency, a.posted
            HAVING sum(p.amount) > coalesce(a.posted, 0)
        """,
    ),
)
