"""The part of a resale's royalty that is the holders' becomes revenue of theirs.

Step: expand

`resale_buy_v2` is `resale_buy_v1` with `holders_part`; the previous release goes on with the latter.
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0021"
down_revision: str | Sequence[str] | None = "0020"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# The caller computes the parts from the terms, which are fixed; here they have to be those of the listing's total.
BUY = """
CREATE FUNCTION resale_buy_v2(
    key_id bytea, key_lock bigint, request bytea, new_transfer uuid, movement_id uuid,
    of_listing uuid, buyer uuid, expected_total bigint,
    seller_part bigint, fee bigint, holders_part bigint, payees uuid[], parts bigint[], at timestamptz,
    OUT status bigint, OUT body bytea, OUT is_replay boolean
) LANGUAGE plpgsql AS $$
DECLARE
    listing listings;
    ipo ipos;
    lot share_lots;
    sellers_shares text;
    buyers_shares text;
BEGIN
    SELECT c.status, c.body INTO status, body FROM idempotency_claim_v1(key_id, key_lock, request) AS c;
    is_replay := status IS NOT NULL;
    IF is_replay THEN
        RETURN;
    END IF;

    SELECT l.* INTO listing FROM listings AS l WHERE l.id = of_listing;
    SELECT i.* INTO ipo FROM ipos AS i WHERE i.id = listing.ipo_id;
    sellers_shares := format('user/%s/shares/share:%s/0', listing.seller_id, ipo.id);
    buyers_shares := format('user/%s/shares/share:%s/0', buyer, ipo.id);
    IF EXISTS (SELECT FROM masters AS m WHERE m.id = ipo.master_id AND m.suspended_at IS NOT NULL) THEN
        RAISE EXCEPTION 'master.suspended' USING ERRCODE = 'RS001';
    ELSIF buyer = listing.seller_id THEN
        RAISE EXCEPTION 'listing.own' USING ERRCODE = 'RS001';
    ELSIF expected_total <> listing.total THEN
        RAISE EXCEPTION 'price.changed' USING ERRCODE = 'RS001', DETAIL = listing.total;
    ELSIF cardinality(payees) <> cardinality(parts) OR NOT payees <@ (ipo.minters || ipo.artist_id)
        OR least(seller_part, fee, holders_part) < 0 OR 0 > ANY(parts)
        OR seller_part + fee + holders_part + (SELECT coalesce(sum(p), 0) FROM unnest(parts) AS p) <> listing.total
    THEN
        RAISE EXCEPTION 'the parts are not those of the total' USING ERRCODE = 'check_violation';
    END IF;

    PERFORM ledger_refuse_debt_v1(buyer);
    PERFORM compliance_check_v1('resale_buy', buyer, ipo.id, listing.total, ipo.currency, at);

    -- Locks are taken in this order: the listing, its hold, the accounts of the ledger by id.
    UPDATE listings AS l SET status = 'sold', buyer_id = buyer, closed_at = at
        WHERE l.id = of_listing AND l.status = 'open' AND l.expires_at > at;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'listing.not_open' USING ERRCODE = 'RS001';
    END IF;
    SELECT s.* INTO lot FROM share_lots AS s
        WHERE s.account_id = ledger_account_id_v1(sellers_shares) AND s.serials @> listing.serials
            AND s.custody = 'ledger' AND s.transferable_at <= at;
    IF lot.id IS NULL OR EXISTS (
        SELECT FROM ledger_accounts AS a WHERE a.id = lot.account_id AND a.frozen_at IS NOT NULL
    ) THEN
        RAISE EXCEPTION 'listing.unavailable' USING ERRCODE = 'RS001';
    END IF;
    PERFORM ledger_post_v2(
        new_transfer, format('resale:%s', listing.id), 'resale',
        ARRAY[
            format('user/%s/available/%s/0', buyer, ipo.currency),
            format('user/%s/available/%s/0', listing.seller_id, ipo.currency),
            format('platform//fees/%s/*', ipo.currency), sellers_shares, buyers_shares,
            format('ipo/%s/revenue/%s/0', ipo.id, ipo.currency)
        ] || (
            SELECT array_agg(format('user/%s/available/%s/0', p.id, ipo.currency) ORDER BY p.place)
            FROM unnest(payees) WITH ORDINALITY AS p(id, place)
        ),
        ARRAY[-listing.total, seller_part, fee, -listing.quantity, listing.quantity, holders_part] || parts,
        at, format('listing:%s', listing.id), buyer, settled_hold_id => listing.hold_id
    );

    IF holders_part > 0 THEN  -- funded revenue, which the holders get with the next distribution
        INSERT INTO revenue_events (id, ipo_id, source, amount, currency, period_start, period_end, provider,
                external_ref, status, funded_from, created_at)
            VALUES (new_transfer, ipo.id, 'resale_royalty', holders_part, ipo.currency, (at AT TIME ZONE 'UTC')::date,
                (at AT TIME ZONE 'UTC')::date, 'resale', format('transfer:%s', new_transfer), 'funded', 'artist', at);
    END IF;

    -- The lot becomes the part that is sold; what is left of it on both sides stays with the seller.
    UPDATE share_lots AS s
        SET serials = listing.serials, account_id = ledger_account_id_v1(buyers_shares), acquired_at = at
        WHERE s.id = lot.id;
    INSERT INTO share_lots (id, ipo_id, serials, account_id, custody, acquired_at, transferable_at)
        SELECT gen_random_uuid(), lot.ipo_id, rest.serials, lot.account_id, lot.custody, lot.acquired_at,
            lot.transferable_at
        FROM (VALUES
            (int8range(lower(lot.serials), lower(listing.serials))),
            (int8range(upper(listing.serials), upper(lot.serials)))
        ) AS rest(serials)
        WHERE NOT isempty(rest.serials);
    INSERT INTO share_movements (id, ipo_id, transfer_id, serials, from_id, to_id, reason, price, at)
        VALUES (movement_id, ipo.id, new_transfer, listing.serials, lot.account_id, ledger_account_id_v1(buyers_shares),
            'resale', listing.total, at);
    status := 201;
    body := convert_to(jsonb_build_object(
        'listing_id', listing.id, 'transfer_id', new_transfer, 'total', listing.total, 'serials', jsonb_build_array(
            lower(listing.serials) % 1048576, lower(listing.serials) % 1048576 + listing.quantity - 1
        )
    )::text, 'UTF8');
    INSERT INTO idempotency_keys (id, fingerprint, status, body, created_at) VALUES (key_id, request, status, body, at);
END
$$
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '1s'")
    op.execute("SET LOCAL statement_timeout = '10s'")
    op.execute(BUY)
    op.execute(
        "-- squawk-ignore ban-drop-not-null -- nothing reads it; the schedule has no account\n"
        "ALTER TABLE distributions ALTER COLUMN declared_by DROP NOT NULL"
    )


def downgrade() -> None:
    op.execute("DROP FUNCTION resale_buy_v2")
    op.execute(
        "UPDATE distributions SET declared_by = (SELECT artist_id FROM ipos WHERE ipos.id = ipo_id)"
        " WHERE declared_by IS NULL"
    )
    op.alter_column("distributions", "declared_by", nullable=False)
