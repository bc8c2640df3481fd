"""Revenue, distributions and claims; the ledger's pools get and pay money.

Step: expand

Money that comes into a pool raises what each unit has accrued, money that leaves it is taken from what an account has
accrued: both in the trigger that applies entries (docs/decisions/0038-dividends.md).
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0018"
down_revision: str | Sequence[str] | None = "0017"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INSTANT = sa.DateTime(timezone=True)
UNITS = sa.Numeric(38, 0)
MAX = 2**53 - 1

# A pool has stripes, so that claims don't wait for each other; its floor is that nobody claims more than has accrued.
PURPOSES = """
ALTER TABLE ledger_purposes DISABLE TRIGGER refuse_change;
UPDATE ledger_purposes SET floor = NULL WHERE owner_kind = 'pool' AND purpose = 'pool';
ALTER TABLE ledger_purposes ENABLE TRIGGER refuse_change;
INSERT INTO ledger_purposes (owner_kind, purpose, asset_kind, floor, accrues)
    VALUES ('ipo', 'revenue', 'currency', 0, false)
"""

APPLY_ENTRIES = """
CREATE OR REPLACE FUNCTION ledger_apply_entries() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    entries bigint;
    in_table bigint;
    is_balanced boolean;
    applied bigint;
    missing bigint;
    any_accrues boolean;
    any_pool boolean;
    pool record;
    holder uuid;
BEGIN
    SELECT sum(a.entries), bool_and(a.total = 0),
            (SELECT count(*) FROM ledger_entries WHERE transfer_id = (SELECT transfer_id FROM inserted LIMIT 1))
        INTO entries, is_balanced, in_table
        FROM (SELECT count(*) AS entries, sum(amount) AS total FROM inserted GROUP BY asset_id) AS a;
    IF entries > 64 OR entries <> in_table THEN
        RAISE EXCEPTION 'the entries of a transfer are one INSERT, and at most 64' USING ERRCODE = 'LG006';
    END IF;
    IF NOT is_balanced THEN
        RAISE EXCEPTION 'the entries of a transfer must sum to zero in each asset' USING ERRCODE = 'LG006';
    END IF;
    WITH changed AS (
        UPDATE ledger_accounts AS a
            SET posted = i.balance_after, version = i.version, last_posted_at = i.posted_at
            FROM inserted AS i
            WHERE a.id = i.account_id AND i.balance_after = a.posted + i.amount AND i.version = a.version + 1
                AND (a.last_posted_at IS NULL OR i.posted_at >= a.last_posted_at)
                AND (a.floor IS NULL OR i.amount > 0 OR i.balance_after - a.held >= a.floor)
            RETURNING a.accrues, a.owner_kind
    ) SELECT count(*), bool_or(accrues), bool_or(owner_kind = 'pool') INTO applied, any_accrues, any_pool FROM changed;
    IF applied <> entries THEN
        SELECT max(a.floor - i.balance_after + a.held) INTO missing
            FROM inserted AS i JOIN ledger_accounts AS a ON a.id = i.account_id
            WHERE i.amount < 0 AND i.balance_after = a.posted + i.amount;
        IF missing > 0 THEN
            RAISE EXCEPTION 'balance.insufficient' USING ERRCODE = 'LG001', DETAIL = missing;
        END IF;
        RAISE EXCEPTION 'an entry does not continue its account' USING ERRCODE = 'LG006';
    END IF;
    IF any_accrues THEN  -- what accrued until now belongs to who held the units until now
        INSERT INTO ledger_accruals AS settled (pool_id, account_id, checkpoint, accrued)
            SELECT p.id, a.id, p.per_unit, (i.balance_after - i.amount) * p.per_unit
            FROM inserted AS i
                JOIN ledger_pools AS p ON p.share_asset_id = i.asset_id
                JOIN ledger_accounts AS a ON a.id = i.account_id AND a.accrues
            ON CONFLICT (pool_id, account_id) DO UPDATE
            SET checkpoint = excluded.checkpoint,
                accrued = settled.accrued + (excluded.checkpoint - settled.checkpoint)
                    * (SELECT i.balance_after - i.amount FROM inserted AS i WHERE i.account_id = excluded.account_id);
    END IF;
    IF any_pool THEN
        SELECT c.account_id INTO holder FROM ledger_claims AS c
            WHERE c.transfer_id = (SELECT transfer_id FROM inserted LIMIT 1);
        PERFORM FROM ledger_accounts WHERE id = holder FOR NO KEY UPDATE;
        FOR pool IN  -- what the stripes of a pool exchange sums to nothing
            SELECT a.owner_id AS id, sum(i.amount) AS amount
            FROM inserted AS i JOIN ledger_accounts AS a ON a.id = i.account_id
            WHERE a.owner_kind = 'pool' GROUP BY 1 HAVING sum(i.amount) <> 0 ORDER BY 1
        LOOP
            IF pool.amount > 0 THEN  -- a distribution: rounded down for each unit, the residue stays in the pool
                UPDATE ledger_pools AS p
                    SET per_unit = p.per_unit + div(pool.amount * 1000000000 + p.residue, p.units),
                        residue = mod(pool.amount * 1000000000 + p.residue, p.units)
                    WHERE p.id = pool.id;
            ELSE  -- a claim: CHECK accrued >= 0 refuses more than the holder has accrued
                INSERT INTO ledger_accruals AS settled (pool_id, account_id, checkpoint, accrued)
                    SELECT p.id, a.id, p.per_unit, a.posted * p.per_unit
                    FROM ledger_pools AS p JOIN ledger_accounts AS a ON a.asset_id = p.share_asset_id AND a.accrues
                    WHERE p.id = pool.id AND a.id = holder
                    ON CONFLICT (pool_id, account_id) DO UPDATE
                    SET checkpoint = excluded.checkpoint,
                        accrued = settled.accrued + (excluded.checkpoint - settled.checkpoint)
                            * (SELECT a.posted FROM ledger_accounts AS a WHERE a.id = excluded.account_id);
                UPDATE ledger_accruals SET accrued = accrued + pool.amount * 1000000000
                    WHERE pool_id = pool.id AND account_id = holder;
            END IF;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'a pool gets and pays money by distributions and claims alone' USING ERRCODE = 'LG006';
            END IF;
        END LOOP;
    END IF;
    RETURN NULL;
END
$$
"""

# As migration 0010 made it.
APPLY_ENTRIES_BEFORE = """
CREATE OR REPLACE FUNCTION ledger_apply_entries() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    entries bigint;
    in_table bigint;
    is_balanced boolean;
    applied bigint;
    missing bigint;
    any_accrues boolean;
BEGIN
    SELECT sum(a.entries), bool_and(a.total = 0),
            (SELECT count(*) FROM ledger_entries WHERE transfer_id = (SELECT transfer_id FROM inserted LIMIT 1))
        INTO entries, is_balanced, in_table
        FROM (SELECT count(*) AS entries, sum(amount) AS total FROM inserted GROUP BY asset_id) AS a;
    IF entries > 64 OR entries <> in_table THEN
        RAISE EXCEPTION 'the entries of a transfer are one INSERT, and at most 64' USING ERRCODE = 'LG006';
    END IF;
    IF NOT is_balanced THEN
        RAISE EXCEPTION 'the entries of a transfer must sum to zero in each asset' USING ERRCODE = 'LG006';
    END IF;
    WITH changed AS (
        UPDATE ledger_accounts AS a
            SET posted = i.balance_after, version = i.version, last_posted_at = i.posted_at
            FROM inserted AS i
            WHERE a.id = i.account_id AND i.balance_after = a.posted + i.amount AND i.version = a.version + 1
                AND (a.last_posted_at IS NULL OR i.posted_at >= a.last_posted_at)
                AND (a.floor IS NULL OR i.amount > 0 OR i.balance_after - a.held >= a.floor)
            RETURNING a.accrues
    ) SELECT count(*), bool_or(accrues) INTO applied, any_accrues FROM changed;
    IF applied <> entries THEN
        SELECT max(a.floor - i.balance_after + a.held) INTO missing
            FROM inserted AS i JOIN ledger_accounts AS a ON a.id = i.account_id
            WHERE i.amount < 0 AND i.balance_after = a.posted + i.amount;
        IF missing > 0 THEN
            RAISE EXCEPTION 'balance.insufficient' USING ERRCODE = 'LG001', DETAIL = missing;
        END IF;
        RAISE EXCEPTION 'an entry does not continue its account' USING ERRCODE = 'LG006';
    END IF;
    IF any_accrues THEN  -- what accrued until now belongs to who held the units until now
        INSERT INTO ledger_accruals AS settled (pool_id, account_id, checkpoint, accrued)
            SELECT p.id, a.id, p.per_unit, (i.balance_after - i.amount) * p.per_unit
            FROM inserted AS i
                JOIN ledger_pools AS p ON p.share_asset_id = i.asset_id
                JOIN ledger_accounts AS a ON a.id = i.account_id AND a.accrues
            ON CONFLICT (pool_id, account_id) DO UPDATE
            SET checkpoint = excluded.checkpoint,
                accrued = settled.accrued + (excluded.checkpoint - settled.checkpoint)
                    * (SELECT i.balance_after - i.amount FROM inserted AS i WHERE i.account_id = excluded.account_id);
    END IF;
    RETURN NULL;
END
$$
"""

CLAIMABLE = """
CREATE FUNCTION ledger_claimable_v1(accrued numeric, checkpoint numeric, posted bigint, per_unit numeric)
RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- rounded down: the fraction of a base unit stays accrued
    SELECT div(coalesce(accrued, 0) + posted * (per_unit - coalesce(checkpoint, 0)), 1000000000)::bigint
$$
"""

OPEN_POOL = """
CREATE FUNCTION ledger_open_pool() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ledger_accounts (owner_kind, owner_id, purpose, asset_id, stripe, created_at)
        VALUES ('pool', NEW.id, 'pool', NEW.currency_asset_id, 0, now()) ON CONFLICT DO NOTHING;
    NEW.account_id := (SELECT a.id FROM ledger_accounts AS a WHERE a.owner_kind = 'pool' AND a.owner_id = NEW.id
        AND a.purpose = 'pool' AND a.asset_id = NEW.currency_asset_id AND a.stripe = 0);
    NEW.per_unit := 0;
    NEW.residue := 0;
    RETURN NEW;
END
$$
"""

TRIGGERS = """
CREATE TRIGGER open_pool BEFORE INSERT ON ledger_pools FOR EACH ROW EXECUTE FUNCTION ledger_open_pool();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON ledger_pools
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON ledger_pools
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER refuse_change BEFORE INSERT OR UPDATE OR DELETE ON ledger_accruals
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON ledger_accruals
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_claims
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON dividend_claims
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change()
"""

# The feature that knows the holders' countries replaces it.
WITHHOLDING = """
CREATE FUNCTION dividend_withholding_bps_v1(of_user uuid) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT compliance_withholding_bps_v1(of_user)
$$
"""

PUBLISH_DISTRIBUTION = """
CREATE FUNCTION dividend_publish_distribution() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO domain_events (kind, subject_id, payload, at)
        VALUES ('distribution.posted', NEW.id,
            jsonb_build_object('pool_id', NEW.pool_id, 'currency', NEW.currency, 'holders', NEW.holders),
            NEW.posted_at);
    RETURN NULL;
END
$$
"""
PUBLISH_ON_POSTING = """
CREATE TRIGGER publish_distribution AFTER UPDATE OF status ON distributions
    FOR EACH ROW WHEN (NEW.status = 'posted' AND OLD.status <> 'posted')
    EXECUTE FUNCTION dividend_publish_distribution()
"""

CLAIM = """
CREATE FUNCTION dividend_claim_v1(
    key_id bytea, key_lock bigint, request bytea, first_transfer uuid, holder uuid, of_master uuid, max_pools bigint,
    at timestamptz, OUT status bigint, OUT body bytea, OUT is_replay boolean, OUT claims bigint
) LANGUAGE plpgsql AS $$
DECLARE
    bits bytea := uuid_send(first_transfer);
    stripe text := get_byte(bits, 15) % 16;
    rate bigint;
    candidates bigint;
    pool_ids uuid[];
    holdings uuid[];
    currencies text[];
    amounts bigint[];
    addresses text[];
    pool record;
    withheld bigint;
    transfer uuid;
    paid jsonb := '[]';
BEGIN
    SELECT c.status, c.body INTO status, body FROM idempotency_claim_v1(key_id, key_lock, request) AS c;
    is_replay := status IS NOT NULL;
    IF is_replay THEN
        RETURN;
    END IF;

    rate := dividend_withholding_bps_v1(holder);
    SELECT count(*), array_agg(c.pool_id ORDER BY c.pool_id), array_agg(c.account_id ORDER BY c.pool_id),
            array_agg(c.currency ORDER BY c.pool_id), array_agg(c.amount ORDER BY c.pool_id)
        INTO candidates, pool_ids, holdings, currencies, amounts
        FROM (
            SELECT p.id AS pool_id, a.id AS account_id, d.currency,
                ledger_claimable_v1(x.accrued, x.checkpoint, a.posted, p.per_unit)::bigint AS amount
            FROM ledger_accounts AS a
                JOIN ledger_pools AS p ON p.share_asset_id = a.asset_id
                JOIN dividend_pools AS d ON d.pool_id = p.id
                JOIN ipos AS i ON i.id = d.ipo_id
                LEFT JOIN ledger_accruals AS x ON x.pool_id = p.id AND x.account_id = a.id
            WHERE a.owner_kind = 'user' AND a.owner_id = holder AND a.purpose = 'shares'
                AND ledger_claimable_v1(x.accrued, x.checkpoint, a.posted, p.per_unit) > 0
                AND (of_master IS NULL OR i.master_id = of_master)
            ORDER BY p.id LIMIT max_pools + 1
        ) AS c;
    pool_ids := pool_ids[1:max_pools];
    PERFORM compliance_check_v1('claim', holder, NULL, sum(c.amount)::bigint, c.currency, at)
        FROM unnest(currencies[1:max_pools], amounts[1:max_pools]) AS c(currency, amount)
        GROUP BY c.currency ORDER BY c.currency;

    -- All accounts are locked at once, in the order of their ids, whatever the number of transfers.
    SELECT array_agg(DISTINCT part.address) INTO addresses
        FROM unnest(pool_ids, currencies[1:max_pools]) AS c(pool_id, currency),
            LATERAL (VALUES
                (format('pool/%s/pool/%s/%s', c.pool_id, c.currency, stripe)),
                (format('user/%s/available/%s/0', holder, c.currency)),
                (CASE WHEN rate > 0 THEN format('platform//withholding/%s/%s', c.currency, stripe) END)
            ) AS part(address)
        WHERE part.address IS NOT NULL;
    INSERT INTO ledger_accounts (owner_kind, owner_id, purpose, asset_id, stripe, created_at)
        SELECT part[1], nullif(part[2], '')::uuid, part[3], asset.id, part[5]::bigint, at
        FROM (SELECT string_to_array(address, '/') AS part FROM unnest(addresses) AS address) AS parts
            JOIN ledger_assets AS asset ON asset.code = part[4]
        WHERE NOT EXISTS (
            SELECT FROM ledger_accounts AS a WHERE a.id = ledger_account_id_v1(array_to_string(part, '/', ''))
        )
        ORDER BY ledger_account_id_v1(array_to_string(part, '/', ''))
        ON CONFLICT DO NOTHING;
    PERFORM FROM ledger_accounts
        WHERE id = ANY(holdings || ARRAY(SELECT ledger_account_id_v1(address) FROM unnest(addresses) AS address))
        ORDER BY id FOR NO KEY UPDATE;

    FOR pool IN
        SELECT p.id, a.id AS account_id, i.id AS ipo_id, i.master_id, d.currency, c.place,
            ledger_claimable_v1(x.accrued, x.checkpoint, a.posted, p.per_unit) AS amount
        FROM unnest(pool_ids, holdings) WITH ORDINALITY AS c(pool_id, account_id, place)
            JOIN ledger_pools AS p ON p.id = c.pool_id
            JOIN ledger_accounts AS a ON a.id = c.account_id
            JOIN dividend_pools AS d ON d.pool_id = p.id
            JOIN ipos AS i ON i.id = d.ipo_id
            LEFT JOIN ledger_accruals AS x ON x.pool_id = p.id AND x.account_id = a.id
        WHERE ledger_claimable_v1(x.accrued, x.checkpoint, a.posted, p.per_unit) > 0
        ORDER BY c.place
    LOOP
        transfer := encode(set_byte(bits, 14, pool.place::int), 'hex')::uuid;
        withheld := div(pool.amount::numeric * rate, 10000);  -- rounded down, for the holder
        INSERT INTO ledger_claims (transfer_id, account_id) VALUES (transfer, pool.account_id);
        PERFORM ledger_post_v2(
            transfer, format('claim:%s', transfer), 'dividend_claim',
            ARRAY[
                format('pool/%s/pool/%s/%s', pool.id, pool.currency, stripe),
                format('user/%s/available/%s/0', holder, pool.currency)
            ] || CASE WHEN withheld > 0
                THEN ARRAY[format('platform//withholding/%s/%s', pool.currency, stripe)] ELSE '{}' END,
            ARRAY[-pool.amount, pool.amount - withheld]
                || CASE WHEN withheld > 0 THEN ARRAY[withheld] ELSE '{}' END,
            at, format('ipo:%s', pool.ipo_id), holder
        );
        INSERT INTO dividend_claims (transfer_id, user_id, pool_id, amount, withheld, created_at)
            VALUES (transfer, holder, pool.id, pool.amount, withheld, at);
        INSERT INTO domain_events (kind, subject_id, payload, at)
            VALUES ('dividend.claimed', transfer, jsonb_build_object('pool_id', pool.id, 'amount', pool.amount), at);
        paid := paid || jsonb_build_object('master_id', pool.master_id, 'currency', pool.currency,
            'amount', pool.amount, 'withheld', withheld, 'transfer_id', transfer);
    END LOOP;
    claims := jsonb_array_length(paid);
    IF claims = 0 THEN
        RAISE EXCEPTION 'dividend.nothing_to_claim' USING ERRCODE = 'DV001';
    END IF;
    status := 201;
    body := convert_to(jsonb_build_object('data', paid, 'has_more', candidates > max_pools)::text, 'UTF8');
    INSERT INTO idempotency_keys (id, fingerprint, status, body, created_at) VALUES (key_id, request, status, body, at);
END
$$
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '1s'")
    op.execute("SET LOCAL statement_timeout = '10s'")
    create_ledger_claims()
    create_dividend_pools()
    create_distributions()
    create_revenue_events()
    create_dividend_claims()
    for statement in PURPOSES.split(";"):
        op.execute(statement)
    for function in (CLAIMABLE, OPEN_POOL, APPLY_ENTRIES, WITHHOLDING, PUBLISH_DISTRIBUTION, PUBLISH_ON_POSTING, CLAIM):
        op.execute(function)
    for trigger in TRIGGERS.split(";"):
        op.execute(trigger)


def create_ledger_claims() -> None:
    op.create_table(
        "ledger_claims",
        sa.Column("transfer_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("transfer_id", name=op.f("pk_ledger_claims")),
        sa.ForeignKeyConstraint(
            ["transfer_id"],
            ["ledger_transfers.id"],
            name=op.f("fk_ledger_claims_transfer_id_ledger_transfers"),
            deferrable=True,
            initially="DEFERRED",
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["ledger_accounts.id"], name=op.f("fk_ledger_claims_account_id_ledger_accounts")
        ),
    )


def create_dividend_pools() -> None:
    op.create_table(
        "dividend_pools",
        sa.Column("pool_id", sa.Uuid(), nullable=False),
        sa.Column("ipo_id", sa.Uuid(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("pool_id", name=op.f("pk_dividend_pools")),
        sa.UniqueConstraint("ipo_id", "currency", name=op.f("uq_dividend_pools_ipo_id_currency")),
        sa.ForeignKeyConstraint(["pool_id"], ["ledger_pools.id"], name=op.f("fk_dividend_pools_pool_id_ledger_pools")),
        sa.ForeignKeyConstraint(["ipo_id"], ["ipos.id"], name=op.f("fk_dividend_pools_ipo_id_ipos")),
    )


def create_distributions() -> None:
    op.create_table(
        "distributions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("ipo_id", sa.Uuid(), nullable=False),
        sa.Column("pool_id", sa.Uuid(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("gross", sa.BigInteger(), nullable=False),
        sa.Column("platform", sa.BigInteger(), nullable=False),
        sa.Column("artist", sa.BigInteger(), nullable=False),
        sa.Column("holders", sa.BigInteger(), nullable=False),
        sa.Column("per_unit_before", UNITS),
        sa.Column("per_unit_after", UNITS),
        sa.Column("residue_after", UNITS),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("declared_by", sa.Uuid(), nullable=False),
        sa.Column("declared_at", INSTANT, nullable=False),
        sa.Column("record_at", INSTANT, nullable=False),
        sa.Column("posted_at", INSTANT),
        sa.Column("transfer_id", sa.Uuid()),
        sa.Column("canceled_by", sa.Text()),
        sa.Column("cancel_reason", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_distributions")),
        sa.ForeignKeyConstraint(["ipo_id"], ["ipos.id"], name=op.f("fk_distributions_ipo_id_ipos")),
        sa.ForeignKeyConstraint(["pool_id"], ["ledger_pools.id"], name=op.f("fk_distributions_pool_id_ledger_pools")),
        sa.ForeignKeyConstraint(
            ["transfer_id"], ["ledger_transfers.id"], name=op.f("fk_distributions_transfer_id_ledger_transfers")
        ),
        sa.CheckConstraint("status IN ('declared', 'posted', 'canceled')", name=op.f("ck_distributions_status")),
        sa.CheckConstraint("platform >= 0 AND artist >= 0 AND holders >= 1", name=op.f("ck_distributions_parts")),
        sa.CheckConstraint("platform + artist + holders = gross", name=op.f("ck_distributions_gross")),
        sa.CheckConstraint("record_at >= declared_at", name=op.f("ck_distributions_record_at")),
        sa.CheckConstraint(
            "(status = 'posted') = (num_nonnulls(posted_at, transfer_id, per_unit_before, per_unit_after,"
            " residue_after) = 5)",
            name=op.f("ck_distributions_posted"),
        ),
        sa.CheckConstraint(
            "char_length(canceled_by) <= 100 AND char_length(cancel_reason) <= 500",
            name=op.f("ck_distributions_canceled_length"),
        ),
    )
    op.create_index(op.f("ix_distributions_ipo_id_record_at"), "distributions", ["ipo_id", "record_at"])
    op.create_index(
        "ix_distributions_due", "distributions", ["record_at"], postgresql_where=sa.text("status = 'declared'")
    )


def create_revenue_events() -> None:
    op.create_table(
        "revenue_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("ipo_id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("period_start", sa.Date(), nullable=False),
        sa.Column("period_end", sa.Date(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("external_ref", sa.Text(), nullable=False),
        sa.Column("statement_id", sa.Uuid()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("funded_from", sa.Text()),
        sa.Column("distribution_id", sa.Uuid()),
        sa.Column("recorded_by", sa.Uuid()),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revenue_events")),
        sa.UniqueConstraint(
            "ipo_id", "provider", "external_ref", name=op.f("uq_revenue_events_ipo_id_provider_external_ref")
        ),
        sa.ForeignKeyConstraint(["ipo_id"], ["ipos.id"], name=op.f("fk_revenue_events_ipo_id_ipos")),
        sa.ForeignKeyConstraint(
            ["distribution_id"], ["distributions.id"], name=op.f("fk_revenue_events_distribution_id_distributions")
        ),
        sa.CheckConstraint(
            "source IN ('streaming', 'sale', 'resale_royalty', 'license', 'merchandise', 'manual')",
            name=op.f("ck_revenue_events_source"),
        ),
        sa.CheckConstraint(
            "status IN ('recorded', 'funded', 'distributed', 'voided')", name=op.f("ck_revenue_events_status")
        ),
        sa.CheckConstraint("funded_from IN ('artist', 'receipt')", name=op.f("ck_revenue_events_funded_from")),
        sa.CheckConstraint(f"amount BETWEEN 1 AND {MAX}", name=op.f("ck_revenue_events_amount")),
        sa.CheckConstraint("period_start <= period_end", name=op.f("ck_revenue_events_period")),
        sa.CheckConstraint("char_length(provider) BETWEEN 1 AND 100", name=op.f("ck_revenue_events_provider_length")),
        sa.CheckConstraint(
            "char_length(external_ref) BETWEEN 1 AND 200", name=op.f("ck_revenue_events_external_ref_length")
        ),
        sa.CheckConstraint(
            "status NOT IN ('funded', 'distributed') OR funded_from IS NOT NULL", name=op.f("ck_revenue_events_funded")
        ),
        sa.CheckConstraint(
            "status <> 'distributed' OR distribution_id IS NOT NULL", name=op.f("ck_revenue_events_distributed")
        ),
        sa.CheckConstraint(
            "distribution_id IS NULL OR status IN ('funded', 'distributed')", name=op.f("ck_revenue_events_declared")
        ),
    )
    op.create_index(op.f("ix_revenue_events_ipo_id_id"), "revenue_events", ["ipo_id", "id"])
    op.create_index(op.f("ix_revenue_events_distribution_id"), "revenue_events", ["distribution_id"])
    op.create_index(
        "ix_revenue_events_waiting",
        "revenue_events",
        ["ipo_id", "currency"],
        postgresql_where=sa.text("status = 'funded' AND distribution_id IS NULL"),
    )


def create_dividend_claims() -> None:
    op.create_table(
        "dividend_claims",
        sa.Column("transfer_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("pool_id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("withheld", sa.BigInteger(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("transfer_id", name=op.f("pk_dividend_claims")),
        sa.ForeignKeyConstraint(
            ["transfer_id"], ["ledger_transfers.id"], name=op.f("fk_dividend_claims_transfer_id_ledger_transfers")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_dividend_claims_user_id_users")),
        sa.ForeignKeyConstraint(["pool_id"], ["ledger_pools.id"], name=op.f("fk_dividend_claims_pool_id_ledger_pools")),
        sa.CheckConstraint("amount >= 1", name=op.f("ck_dividend_claims_amount")),
        sa.CheckConstraint("withheld BETWEEN 0 AND amount", name=op.f("ck_dividend_claims_withheld")),
    )
    op.create_index(
        op.f("ix_dividend_claims_user_id_created_at_transfer_id"),
        "dividend_claims",
        ["user_id", "created_at", "transfer_id"],
    )


def downgrade() -> None:
    for table, trigger in (
        ("pools", "open_pool"),
        ("pools", "refuse_change"),
        ("pools", "refuse_truncate"),
        ("accruals", "refuse_change"),
        ("accruals", "refuse_truncate"),
    ):
        op.execute(f"DROP TRIGGER {trigger} ON ledger_{table}")
    for function in ("dividend_claim_v1", "dividend_withholding_bps_v1", "ledger_open_pool", "ledger_claimable_v1"):
        op.execute(f"DROP FUNCTION {function}")
    op.execute(APPLY_ENTRIES_BEFORE)
    op.execute("ALTER TABLE ledger_purposes DISABLE TRIGGER refuse_change")
    op.execute("UPDATE ledger_purposes SET floor = 0 WHERE owner_kind = 'pool'")
    op.execute("DELETE FROM ledger_purposes WHERE owner_kind = 'ipo' AND purpose = 'revenue'")
    op.execute("ALTER TABLE ledger_purposes ENABLE TRIGGER refuse_change")
    for table in ("dividend_claims", "revenue_events", "distributions", "dividend_pools", "ledger_claims"):
        op.drop_table(table)
    op.execute("DROP FUNCTION dividend_publish_distribution")
