"""Invariants of listings, lots, holds and transfers."""

from audifi.core.invariants import Invariant

SOLD = """
    SELECT l.id, l.seller_id, l.buyer_id, l.quantity, l.unit_price, l.total, l.closed_at, h.transfer_id,
        lower(l.serials) % 1048576 AS first, l.ipo_id, i.artist_id, i.minters, i.resale_fee_bps,
        i.royalty::jsonb AS royalty, i.royalty_to_holders_bps
    FROM listings AS l JOIN ipos AS i ON i.id = l.ipo_id JOIN ledger_holds AS h ON h.id = l.hold_id
    WHERE l.status = 'sold'
"""
# By the terms, in SQL: audifi.ipos.splits is what it proves. The seller's part is what is left of the total.
TO_ARTIST = """
    SELECT id, total * (royalty ->> 'artist_bps')::bigint / 10000 AS amount FROM sold WHERE royalty ? 'artist_bps'
    UNION ALL SELECT s.id, sum(s.unit_price * tier.bps / 10000
            * greatest(least(s.first + s.quantity - 1, tier.last) - greatest(s.first, tier.previous + 1) + 1, 0)
        )::bigint
        FROM sold AS s, LATERAL (
            SELECT (t.tier ->> 1)::bigint AS bps, coalesce((t.tier ->> 0)::bigint, 1048576) AS last,
                lag((t.tier ->> 0)::bigint, 1, 0::bigint) OVER (ORDER BY t.place) AS previous
            FROM jsonb_array_elements(s.royalty -> 'tiers') WITH ORDINALITY AS t(tier, place)
        ) AS tier
        GROUP BY s.id
"""
PARTS = """
    SELECT id, 'currency' AS kind, buyer_id AS user_id, -total AS amount FROM sold
    UNION ALL SELECT id, 'currency', NULL, total * resale_fee_bps / 10000 FROM sold
    UNION ALL SELECT id, 'currency', artist_id, amount - amount * royalty_to_holders_bps / 10000
        FROM sold JOIN to_artist USING (id)
    UNION ALL SELECT id, 'currency', ipo_id, amount * royalty_to_holders_bps / 10000
        FROM sold JOIN to_artist USING (id)
    UNION ALL SELECT s.id, 'currency', u.id, s.total * rate.bps::bigint / 10000
        FROM sold AS s, users AS u,
            jsonb_array_elements_text(s.royalty -> 'minter_bps') WITH ORDINALITY AS rate(bps, place)
        WHERE u.id = s.minters[rate.place] AND (u.deleted_at IS NULL OR u.deleted_at > s.closed_at)
"""

INVARIANTS = (
    Invariant(
        name="listings_are_held",
        sentence="The shares of an open listing are in one lot of its seller, and held until it expires.",
        violations="""
            SELECT l.id, l.seller_id, h.status
            FROM listings AS l
                JOIN ledger_holds AS h ON h.id = l.hold_id
                LEFT JOIN share_lots AS s ON s.account_id = h.account_id AND s.serials @> l.serials
                    AND s.custody = 'ledger'
            WHERE l.status = 'open' AND (
                s.id IS NULL
                OR h.account_id <> ledger_account_id_v1(format('user/%s/shares/share:%s/0', l.seller_id, l.ipo_id))
                OR h.amount <> l.quantity
                OR h.expires_at <> l.expires_at
                OR h.status NOT IN ('open', 'expired')
            )
        """,
    ),
    Invariant(
        name="resales_are_paid",
        sentence="A sold listing's transfer delivers its shares, and pays each party its part by the terms.",
        violations=f"""
            WITH sold AS ({SOLD}), to_artist AS ({TO_ARTIST}), parts AS ({PARTS})
            SELECT id, kind, user_id, sum(amount) AS difference
            FROM (
                SELECT * FROM parts
                UNION ALL SELECT id, 'currency', seller_id, -sum(amount)
                    FROM parts JOIN sold USING (id) GROUP BY 1, 2, 3
                UNION ALL SELECT id, 'share', buyer_id, quantity FROM sold
                UNION ALL SELECT id, 'share', seller_id, -quantity FROM sold
                UNION ALL SELECT s.id, asset.kind, a.owner_id, -e.amount
                    FROM sold AS s
                        JOIN ledger_entries AS e USING (transfer_id)
                        JOIN ledger_accounts AS a ON a.id = e.account_id
                        JOIN ledger_assets AS asset ON asset.id = e.asset_id
            ) AS differences
            GROUP BY id, kind, user_id HAVING sum(amount) <> 0
        """,  # noqa: S608 - constants
    ),
)
