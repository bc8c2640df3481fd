"""Listings of shares for resale, and the function that buys one.

Step: expand
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import INT8RANGE, ExcludeConstraint

revision: str = "0017"
down_revision: str | Sequence[str] | None = "0016"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INSTANT = sa.DateTime(timezone=True)

# The caller computes the parts from the terms, which are fixed; here they have to be those of the listing's total.
BUY = """
CREATE FUNCTION resale_buy_v1(
    key_id bytea, key_lock bigint, request bytea, new_transfer uuid, movement_id uuid,
    of_listing uuid, buyer uuid, expected_total bigint,
    seller_part bigint, fee bigint, payees uuid[], parts bigint[], at timestamptz,
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
        OR least(seller_part, fee) < 0 OR 0 > ANY(parts)
        OR seller_part + fee + (SELECT coalesce(sum(p), 0) FROM unnest(parts) AS p) <> listing.total
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
            format('platform//fees/%s/*', ipo.currency), sellers_shares, buyers_shares
        ] || (
            SELECT array_agg(format('user/%s/available/%s/0', p.id, ipo.currency) ORDER BY p.place)
            FROM unnest(payees) WITH ORDINALITY AS p(id, place)
        ),
        ARRAY[-listing.total, seller_part, fee, -listing.quantity, listing.quantity] || parts,
        at, format('listing:%s', listing.id), buyer, settled_hold_id => listing.hold_id
    );

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

REFUSE_CHANGE = """
CREATE FUNCTION listings_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a listing is never edited, and ends once' USING ERRCODE = 'restrict_violation';
END
$$
"""
NEVER_EDITED = """
CREATE TRIGGER refuse_change BEFORE UPDATE ON listings FOR EACH ROW WHEN (
    OLD.status <> 'open'
    OR (OLD.id, OLD.ipo_id, OLD.seller_id, OLD.serials, OLD.unit_price, OLD.hold_id, OLD.expires_at, OLD.created_at)
        IS DISTINCT FROM
        (NEW.id, NEW.ipo_id, NEW.seller_id, NEW.serials, NEW.unit_price, NEW.hold_id, NEW.expires_at, NEW.created_at)
) EXECUTE FUNCTION listings_refuse_change()
"""
NEVER_DELETED = """
CREATE TRIGGER refuse_delete BEFORE DELETE OR TRUNCATE ON listings
    FOR EACH STATEMENT EXECUTE FUNCTION listings_refuse_change()
"""


def upgrade() -> None:
    create_listings()
    for statement in (BUY, REFUSE_CHANGE, NEVER_EDITED, NEVER_DELETED):
        op.execute(statement)


def create_listings() -> None:
    is_open = sa.text("status = 'open'")
    op.create_table(
        "listings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("ipo_id", sa.Uuid(), nullable=False),
        sa.Column("seller_id", sa.Uuid(), nullable=False),
        sa.Column("serials", INT8RANGE(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("unit_price", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("hold_id", sa.Uuid(), nullable=False),
        sa.Column("buyer_id", sa.Uuid()),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("closed_at", INSTANT),
        ExcludeConstraint((sa.column("serials"), "&&"), using="gist", where=is_open, name="ex_listings_serials"),
        sa.CheckConstraint("status IN ('open', 'sold', 'canceled', 'expired')", name=op.f("ck_listings_status")),
        sa.CheckConstraint(
            "quantity >= 1 AND quantity = upper(serials) - lower(serials)", name=op.f("ck_listings_quantity")
        ),
        sa.CheckConstraint("unit_price BETWEEN 1 AND 100000000", name=op.f("ck_listings_unit_price")),
        sa.CheckConstraint("total = quantity * unit_price", name=op.f("ck_listings_total")),
        sa.CheckConstraint("(status = 'sold') = (buyer_id IS NOT NULL)", name=op.f("ck_listings_buyer")),
        sa.CheckConstraint("buyer_id <> seller_id", name=op.f("ck_listings_not_own")),
        sa.CheckConstraint("(status = 'open') = (closed_at IS NULL)", name=op.f("ck_listings_closed_at")),
        sa.CheckConstraint("expires_at <= created_at + interval '90 days'", name=op.f("ck_listings_expires_at")),
        sa.ForeignKeyConstraint(["ipo_id"], ["ipos.id"], name=op.f("fk_listings_ipo_id_ipos")),
        sa.ForeignKeyConstraint(["seller_id"], ["users.id"], name=op.f("fk_listings_seller_id_users")),
        sa.ForeignKeyConstraint(["buyer_id"], ["users.id"], name=op.f("fk_listings_buyer_id_users")),
        sa.ForeignKeyConstraint(["hold_id"], ["ledger_holds.id"], name=op.f("fk_listings_hold_id_ledger_holds")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_listings")),
        sa.UniqueConstraint("hold_id", name=op.f("uq_listings_hold_id")),
    )
    for columns in (
        ["ipo_id", "unit_price", "id"],
        ["ipo_id", "created_at", "id"],
        ["seller_id"],
        ["expires_at"],
    ):
        op.create_index(op.f(f"ix_listings_{'_'.join(columns)}"), "listings", columns, postgresql_where=is_open)


def downgrade() -> None:
    op.execute("DROP FUNCTION resale_buy_v1")
    op.drop_table("listings")
    op.execute("DROP FUNCTION listings_refuse_change")
