"""Rules of compliance: accounts, rules, withholding rates, and the record of their changes.

Step: expand

All rules are off: without a row, an account is what it was, and a rule asks nothing.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision: str = "0015"
down_revision: str | Sequence[str] | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INSTANT = sa.DateTime(timezone=True)
COUNTRIES = "countries_blocked::text ~ '^[{]([A-Z]{2}(,[A-Z]{2})*)?[}]$' AND cardinality(countries_blocked) <= 250"

# The one place that knows where the amounts of each action are recorded. A resale's buyer pays; its seller is paid.
USED = """
CREATE FUNCTION compliance_used_v1(of_action text, account uuid, asset text, since timestamptz)
RETURNS TABLE (amount bigint, at timestamptz) LANGUAGE sql STABLE AS $$
    SELECT i.offered * i.unit_price, i.launched_at
        FROM masters AS m JOIN ipos AS i ON i.master_id = m.id
        WHERE of_action = 'launch' AND m.artist_id = account AND i.currency = asset AND i.launched_at > since
            AND i.status <> 'canceled'
    UNION ALL
    SELECT p.amount, p.created_at
        FROM payouts AS p
        WHERE of_action = 'payout' AND p.user_id = account AND p.currency = asset AND p.created_at > since
            AND p.status NOT IN ('failed', 'canceled')
    UNION ALL
    SELECT CASE of_action WHEN 'claim' THEN e.amount ELSE -e.amount END, e.posted_at
        FROM ledger_account_id_v1(format('user/%s/available/%s/0', account, asset)) AS a(id)
            JOIN ledger_entries AS e ON e.account_id = a.id AND e.version > ledger_version_before_v1(a.id, since)
            JOIN ledger_transfers AS t ON t.id = e.transfer_id
        WHERE e.posted_at > since AND CASE of_action
            WHEN 'buy' THEN t.kind IN ('ipo_purchase', 'ipo_withdraw', 'ipo_refund')
            WHEN 'resale_buy' THEN t.kind = 'resale' AND e.amount < 0
            WHEN 'claim' THEN t.kind = 'dividend_claim'
            ELSE false
        END
$$
"""

LIMIT = """
CREATE FUNCTION compliance_limit_v1(
    of_action text, account uuid, new_amount bigint, asset text, max_amount bigint, now timestamptz
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    since timestamptz := now - interval '12 months';
    used bigint;
    resets_at timestamptz;
BEGIN
    -- Until the end of the transaction, no other adds to what is summed up here.
    PERFORM pg_advisory_xact_lock(hashtextextended(format('compliance/%s/%s', of_action, account), 0));
    SELECT greatest(coalesce(sum(u.amount), 0), 0) INTO used
        FROM compliance_used_v1(of_action, account, asset, since) AS u;
    IF used + new_amount > max_amount THEN
        SELECT min(past.at) + interval '12 months' INTO resets_at
            FROM (
                SELECT u.at, sum(u.amount) OVER (ORDER BY u.at) AS amount
                FROM compliance_used_v1(of_action, account, asset, since) AS u
            ) AS past
            WHERE used - past.amount + new_amount <= max_amount;
        RAISE EXCEPTION 'limit.exceeded' USING ERRCODE = 'CP001',
            DETAIL = jsonb_build_object('limit', max_amount, 'used', used, 'resets_at', resets_at);
    END IF;
END
$$
"""

CHECK = """
CREATE FUNCTION compliance_check_v1(
    check_action text, account uuid, ipo uuid, amount bigint, currency text, now timestamptz
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    person account_compliance;
    rule compliance_rules;
    blocked text[];
BEGIN
    SELECT a.* INTO person FROM account_compliance AS a WHERE a.user_id = account;
    SELECT r.* INTO rule FROM compliance_rules AS r WHERE r.action = check_action;
    blocked := coalesce(rule.countries_blocked, '{}');
    IF check_action IN ('buy', 'resale_buy') THEN
        blocked := blocked || (SELECT i.countries_blocked FROM ipos AS i WHERE i.id = ipo);
    END IF;
    IF person.frozen_at IS NOT NULL AND check_action <> 'claim' THEN
        RAISE EXCEPTION 'account.frozen' USING ERRCODE = 'CP001';
    ELSIF rule.kyc_required AND person.kyc IS DISTINCT FROM 'verified' THEN
        RAISE EXCEPTION 'kyc.required' USING ERRCODE = 'CP001';
    ELSIF cardinality(blocked) > 0 AND person.country IS NULL THEN
        RAISE EXCEPTION 'country.unknown' USING ERRCODE = 'CP001';
    ELSIF person.country = ANY(blocked) THEN
        RAISE EXCEPTION 'country.blocked' USING ERRCODE = 'CP001';
    ELSIF rule.amount_per_12_months IS NOT NULL THEN
        PERFORM compliance_limit_v1(check_action, account, amount, currency, rule.amount_per_12_months, now);
    END IF;
END
$$
"""

WITHHOLDING = """
CREATE FUNCTION compliance_withholding_bps_v1(account uuid) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT coalesce((
        SELECT w.bps FROM account_compliance AS a JOIN withholding_rates AS w ON w.country = a.country
        WHERE a.user_id = account
    ), 0)
$$
"""

# Made by the database, so that a change by hand is recorded, too. The new row says who changed it, when and why.
RECORD_CHANGE = """
CREATE FUNCTION compliance_record_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO compliance_changes (kind, subject, old, new, at)
        VALUES (TG_ARGV[0], to_jsonb(NEW) ->> TG_ARGV[1], CASE TG_OP WHEN 'UPDATE' THEN to_jsonb(OLD) END,
            to_jsonb(NEW), NEW.updated_at);
    RETURN NULL;
END
$$
"""

REFUSE_CHANGE = """
CREATE FUNCTION compliance_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused', TG_OP, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$
"""

# The ledger asks its own accounts whether they are frozen. They follow the user's row, and so do the accounts that
# are opened later. The lock makes an account that is being opened wait for the freeze, or the freeze for it.
FREEZE = """
CREATE FUNCTION compliance_freeze() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(format('freeze/%s', NEW.user_id), 0));
    PERFORM FROM ledger_accounts AS a WHERE a.owner_kind = 'user' AND a.owner_id = NEW.user_id
        ORDER BY a.id FOR NO KEY UPDATE;
    UPDATE ledger_accounts AS a SET frozen_at = NEW.frozen_at
        WHERE a.owner_kind = 'user' AND a.owner_id = NEW.user_id;
    RETURN NULL;
END
$$
"""
FREEZE_OPENED = """
CREATE FUNCTION compliance_freeze_opened() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended(format('freeze/%s', NEW.owner_id), 0));
    NEW.frozen_at := (SELECT a.frozen_at FROM account_compliance AS a WHERE a.user_id = NEW.owner_id);
    RETURN NEW;
END
$$
"""

TRIGGERS = """
CREATE TRIGGER freeze_inserted AFTER INSERT ON account_compliance
    FOR EACH ROW WHEN (NEW.frozen_at IS NOT NULL) EXECUTE FUNCTION compliance_freeze();
CREATE TRIGGER freeze_updated AFTER UPDATE ON account_compliance
    FOR EACH ROW WHEN (NEW.frozen_at IS DISTINCT FROM OLD.frozen_at) EXECUTE FUNCTION compliance_freeze();
CREATE TRIGGER freeze_opened BEFORE INSERT ON ledger_accounts
    FOR EACH ROW WHEN (NEW.owner_kind = 'user') EXECUTE FUNCTION compliance_freeze_opened();
CREATE TRIGGER record_change AFTER INSERT OR UPDATE ON account_compliance
    FOR EACH ROW EXECUTE FUNCTION compliance_record_change('account', 'user_id');
CREATE TRIGGER record_change AFTER INSERT OR UPDATE ON compliance_rules
    FOR EACH ROW EXECUTE FUNCTION compliance_record_change('rule', 'action');
CREATE TRIGGER record_change AFTER INSERT OR UPDATE ON withholding_rates
    FOR EACH ROW EXECUTE FUNCTION compliance_record_change('withholding', 'country');
CREATE TRIGGER refuse_delete BEFORE DELETE OR TRUNCATE ON account_compliance
    FOR EACH STATEMENT EXECUTE FUNCTION compliance_refuse_change();
CREATE TRIGGER refuse_delete BEFORE DELETE OR TRUNCATE ON compliance_rules
    FOR EACH STATEMENT EXECUTE FUNCTION compliance_refuse_change();
CREATE TRIGGER refuse_delete BEFORE DELETE OR TRUNCATE ON withholding_rates
    FOR EACH STATEMENT EXECUTE FUNCTION compliance_refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON compliance_changes
    FOR EACH STATEMENT EXECUTE FUNCTION compliance_refuse_change()
"""

# As v1, and asks the rules before it takes a lock.
PURCHASE = """
CREATE FUNCTION ipo_purchase_v2(
    key_id bytea, key_lock bigint, request bytea,
    purchase_id uuid, new_transfer uuid, lot_id uuid, movement_id uuid,
    of_master uuid, buyer uuid, amount bigint, expected_total bigint, used_reservation uuid, at timestamptz,
    OUT status bigint, OUT body bytea, OUT is_replay boolean, OUT sold_out_ipo uuid
) LANGUAGE plpgsql AS $$
DECLARE
    ipo ipos;
    sold_ipo ipos;
    suspended timestamptz;
    buyer_cap bigint;
    released bigint := 0;
    rank bigint;
    total bigint;
    last_serial bigint;
    numbers int8range;
    buyers_shares text;
BEGIN
    SELECT c.status, c.body INTO status, body FROM idempotency_claim_v1(key_id, key_lock, request) AS c;
    is_replay := status IS NOT NULL;
    IF is_replay THEN
        RETURN;
    END IF;

    SELECT i.* INTO ipo FROM ipos AS i WHERE i.master_id = of_master AND i.status NOT IN ('draft', 'canceled');
    IF NOT FOUND THEN
        RAISE EXCEPTION 'not_found' USING ERRCODE = 'IP001';
    END IF;
    SELECT m.suspended_at INTO suspended FROM masters AS m WHERE m.id = of_master;
    total := amount * ipo.unit_price;
    buyer_cap := ipo.max_per_account;
    IF at < ipo.allowlist_until THEN
        buyer_cap := (SELECT coalesce(a.cap, ipo.max_per_account) FROM ipo_allowlist AS a
            WHERE a.ipo_id = ipo.id AND a.user_id = buyer);
    END IF;
    IF suspended IS NOT NULL THEN
        RAISE EXCEPTION 'master.suspended' USING ERRCODE = 'IP001';
    ELSIF buyer = ipo.artist_id THEN
        RAISE EXCEPTION 'ipo.own' USING ERRCODE = 'IP001';
    ELSIF total <> expected_total THEN
        RAISE EXCEPTION 'price.changed' USING ERRCODE = 'IP001', DETAIL = total;
    ELSIF buyer_cap IS NULL THEN
        RAISE EXCEPTION 'ipo.allowlist_only' USING ERRCODE = 'IP001';
    END IF;
    PERFORM compliance_check_v1('buy', buyer, ipo.id, total, ipo.currency, at);

    -- Locks are taken in this order: the reservation, the buyer's row, the offering, the accounts of the ledger by id.
    IF used_reservation IS NOT NULL THEN
        UPDATE ipo_reservations AS r SET status = 'used'
            WHERE r.id = used_reservation AND r.ipo_id = ipo.id AND r.user_id = buyer AND r.quantity = amount
                AND r.status = 'open' AND r.expires_at > at;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'reservation.not_open' USING ERRCODE = 'IP001';
        END IF;
        released := amount;
    END IF;
    IF amount <= buyer_cap THEN
        INSERT INTO ipo_buyers AS b (ipo_id, user_id, bought, cap) VALUES (ipo.id, buyer, amount, buyer_cap)
            ON CONFLICT (ipo_id, user_id) DO UPDATE
                SET bought = b.bought + amount, reserved = b.reserved - released, cap = excluded.cap
                WHERE b.bought + b.reserved - released + amount <= excluded.cap
            RETURNING b.ordinal INTO rank;
    END IF;
    IF NOT FOUND OR amount > buyer_cap THEN
        RAISE EXCEPTION 'ipo.cap_exceeded' USING ERRCODE = 'IP001';
    END IF;
    UPDATE ipos AS i
        SET sold = i.sold + amount, reserved = i.reserved - released, buyers = i.buyers + (rank IS NULL)::int
        WHERE i.id = ipo.id AND i.status = 'live' AND at >= i.opens_at AND at < i.ends_at
            AND i.sold + i.reserved - released + amount <= i.offered
        RETURNING i.* INTO sold_ipo;
    IF NOT FOUND THEN
        PERFORM ipo_refuse_v1(ipo.id, at);
    END IF;
    ipo := sold_ipo;
    IF rank IS NULL THEN
        rank := ipo.buyers;
        UPDATE ipo_buyers AS b SET ordinal = rank WHERE b.ipo_id = ipo.id AND b.user_id = buyer;
    END IF;

    buyers_shares := format('user/%s/shares/share:%s/0', buyer, ipo.id);
    PERFORM ledger_post_v1(
        new_transfer, format('purchase:%s', purchase_id), 'ipo_purchase',
        ARRAY[
            format('user/%s/available/%s/0', buyer, ipo.currency), format('ipo/%s/escrow/%s/0', ipo.id, ipo.currency),
            format('ipo/%s/offering/share:%s/0', ipo.id, ipo.id), buyers_shares
        ],
        ARRAY[-total, total, -amount, amount], at, format('ipo:%s', ipo.id), buyer
    );
    IF EXISTS (
        SELECT FROM ledger_accounts AS a
        WHERE a.id = ledger_account_id_v1(format('user/%s/debt/%s/0', buyer, ipo.currency)) AND a.posted < 0
    ) THEN
        RAISE EXCEPTION 'account.in_debt' USING ERRCODE = 'IP001';
    END IF;

    last_serial := ipo.sold;
    numbers := int8range(ipo.number * 1048576 + last_serial - amount + 1, ipo.number * 1048576 + last_serial + 1);
    INSERT INTO share_lots (id, ipo_id, serials, account_id, custody, acquired_at, transferable_at)
        VALUES (lot_id, ipo.id, numbers, ledger_account_id_v1(buyers_shares), 'ledger', at,
            at + make_interval(days => ipo.lockup_days::int));
    INSERT INTO share_movements (id, ipo_id, transfer_id, serials, from_id, to_id, reason, price, at)
        VALUES (movement_id, ipo.id, new_transfer, numbers,
            ledger_account_id_v1(format('ipo/%s/offering/share:%s/0', ipo.id, ipo.id)),
            ledger_account_id_v1(buyers_shares), 'sale', total, at);
    INSERT INTO ipo_purchases
            (id, ipo_id, user_id, quantity, unit_price, total, serials, terms_sha256, transfer_id, status, created_at)
        VALUES (purchase_id, ipo.id, buyer, amount, ipo.unit_price, total, numbers, ipo.terms_sha256, new_transfer,
            'settled', at);
    status := 201;
    body := convert_to(jsonb_build_object(
        'purchase_id', purchase_id,
        'serials', jsonb_build_array(jsonb_build_array(last_serial - amount + 1, last_serial)),
        'total', total, 'transfer_id', new_transfer, 'minter_rank', rank
    )::text, 'UTF8');
    INSERT INTO idempotency_keys (id, fingerprint, status, body, created_at) VALUES (key_id, request, status, body, at);
    IF ipo.sold = ipo.offered AND ipo.reflection_hours = 0 THEN
        sold_out_ipo := ipo.id;
    END IF;
END
$$
"""


def upgrade() -> None:
    op.execute("ALTER TABLE master_events VALIDATE CONSTRAINT ck_master_events_event")
    op.execute("SET LOCAL lock_timeout = '1s'")
    op.execute("SET LOCAL statement_timeout = '10s'")
    op.add_column(
        "ipos", sa.Column("countries_blocked", ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False)
    )
    op.execute(f"ALTER TABLE ipos ADD CONSTRAINT ck_ipos_countries_blocked CHECK ({COUNTRIES}) NOT VALID")
    create_accounts()
    create_rules()
    create_withholding_rates()
    create_changes()
    for function in (USED, LIMIT, CHECK, WITHHOLDING, RECORD_CHANGE, REFUSE_CHANGE, FREEZE, FREEZE_OPENED, PURCHASE):
        op.execute(function)
    for trigger in TRIGGERS.split(";"):
        op.execute(trigger)


def by_whom() -> list[sa.Column[object]]:
    return [
        sa.Column("updated_by", sa.Uuid()),
        sa.Column("operator", sa.Text()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
    ]


def lengths(table: str) -> list[sa.CheckConstraint]:
    return [
        sa.CheckConstraint("char_length(operator) <= 100", name=op.f(f"ck_{table}_operator_length")),
        sa.CheckConstraint("char_length(reason) BETWEEN 1 AND 200", name=op.f(f"ck_{table}_reason_length")),
    ]


def create_accounts() -> None:
    op.create_table(
        "account_compliance",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("kyc", sa.Text(), nullable=False),
        sa.Column("kyc_ref", sa.Text()),
        sa.Column("country", sa.Text()),
        sa.Column("frozen_at", INSTANT),
        sa.Column("version", sa.BigInteger(), nullable=False),
        *by_whom(),
        sa.CheckConstraint(
            "kyc IN ('none', 'pending', 'verified', 'rejected')", name=op.f("ck_account_compliance_kyc")
        ),
        sa.CheckConstraint("char_length(kyc_ref) BETWEEN 1 AND 100", name=op.f("ck_account_compliance_kyc_ref_length")),
        sa.CheckConstraint("country ~ '^[A-Z]{2}$'", name=op.f("ck_account_compliance_country")),
        *lengths("account_compliance"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_account_compliance_user_id_users")),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_account_compliance")),
    )


def create_rules() -> None:
    op.create_table(
        "compliance_rules",
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("kyc_required", sa.Boolean(), nullable=False),
        sa.Column("countries_blocked", ARRAY(sa.Text()), nullable=False),
        sa.Column("amount_per_12_months", sa.BigInteger()),
        sa.Column("version", sa.BigInteger(), nullable=False),
        *by_whom(),
        sa.CheckConstraint(
            "action IN ('launch', 'buy', 'list', 'resale_buy', 'claim', 'payout')",
            name=op.f("ck_compliance_rules_action"),
        ),
        sa.CheckConstraint(COUNTRIES, name=op.f("ck_compliance_rules_countries_blocked")),
        sa.CheckConstraint(
            "amount_per_12_months IS NULL OR amount_per_12_months BETWEEN 1 AND 9007199254740991 AND action <> 'list'",
            name=op.f("ck_compliance_rules_amount_per_12_months"),
        ),
        *lengths("compliance_rules"),
        sa.PrimaryKeyConstraint("action", name=op.f("pk_compliance_rules")),
    )


def create_withholding_rates() -> None:
    op.create_table(
        "withholding_rates",
        sa.Column("country", sa.Text(), nullable=False),
        sa.Column("bps", sa.BigInteger(), nullable=False),
        *by_whom(),
        sa.CheckConstraint("country ~ '^[A-Z]{2}$'", name=op.f("ck_withholding_rates_country")),
        sa.CheckConstraint("bps BETWEEN 0 AND 10000", name=op.f("ck_withholding_rates_bps")),
        *lengths("withholding_rates"),
        sa.PrimaryKeyConstraint("country", name=op.f("pk_withholding_rates")),
    )


def create_changes() -> None:
    op.create_table(
        "compliance_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("old", JSONB()),
        sa.Column("new", JSONB(), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.CheckConstraint("kind IN ('account', 'rule', 'withholding')", name=op.f("ck_compliance_changes_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_compliance_changes")),
    )
    op.create_index(op.f("ix_compliance_changes_subject_id"), "compliance_changes", ["subject", "id"])


def downgrade() -> None:
    op.execute("DROP TRIGGER freeze_opened ON ledger_accounts")
    op.execute("DROP FUNCTION ipo_purchase_v2")
    for function in ("check_v1", "limit_v1", "used_v1", "withholding_bps_v1"):
        op.execute(f"DROP FUNCTION compliance_{function}")
    for table in ("compliance_changes", "withholding_rates", "compliance_rules", "account_compliance"):
        op.drop_table(table)
    for function in ("record_change", "refuse_change", "freeze", "freeze_opened"):
        op.execute(f"DROP FUNCTION compliance_{function}")
    op.drop_column("ipos", "countries_blocked")
