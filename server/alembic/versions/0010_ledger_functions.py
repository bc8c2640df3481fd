"""The ledger's functions and triggers.

Step: expand

Balances follow from entries, and held amounts from holds: docs/decisions/0035-ledger.md.
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0010"
down_revision: str | Sequence[str] | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ACCOUNT_ID = """
CREATE FUNCTION ledger_account_id_v1(address text) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    -- UUIDv8 of a SHA-256 (RFC 9562, B.2)
    SELECT left(overlay(overlay(encode(sha256(address::bytea), 'hex') PLACING '8' FROM 13)
        PLACING '8' FROM 17), 32)::uuid
$$
"""

REFUSE_CHANGE = """
CREATE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused', TG_OP, TG_TABLE_NAME USING ERRCODE = 'restrict_violation',
        HINT = 'Balances change by entries, held amounts by holds, and both are append-only.';
END
$$
"""

# What the row says of itself is ignored: only its address counts.
OPEN_ACCOUNT = """
CREATE FUNCTION ledger_open_account() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    asset ledger_assets;
    rules ledger_purposes;
BEGIN
    SELECT * INTO asset FROM ledger_assets WHERE id = NEW.asset_id;
    SELECT * INTO rules FROM ledger_purposes AS p WHERE p.owner_kind = NEW.owner_kind AND p.purpose = NEW.purpose;
    IF asset.kind IS DISTINCT FROM rules.asset_kind THEN
        RAISE EXCEPTION '% % has no accounts in %', NEW.owner_kind, NEW.purpose, asset.code USING ERRCODE = 'LG006';
    END IF;
    NEW.id := ledger_account_id_v1(
        concat_ws('/', NEW.owner_kind, coalesce(NEW.owner_id::text, ''), NEW.purpose, asset.code, NEW.stripe)
    );
    NEW.posted := 0;
    NEW.held := 0;
    NEW.version := 0;
    NEW.last_posted_at := NULL;
    NEW.floor := rules.floor;
    NEW.accrues := rules.accrues;
    RETURN NEW;
END
$$
"""

APPLY_ENTRIES = """
CREATE FUNCTION ledger_apply_entries() RETURNS trigger LANGUAGE plpgsql AS $$
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

APPLY_HOLDS = """
CREATE FUNCTION ledger_apply_holds() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    missing bigint;
    is_frozen boolean;
BEGIN
    PERFORM FROM ledger_accounts WHERE id IN (SELECT account_id FROM changed) ORDER BY id FOR NO KEY UPDATE;
    IF TG_OP = 'UPDATE' THEN  -- only open holds change
        UPDATE ledger_accounts AS a SET held = a.held - freed.amount
            FROM (SELECT account_id, sum(amount) AS amount FROM changed WHERE status <> 'open' GROUP BY 1) AS freed
            WHERE a.id = freed.account_id;
        RETURN NULL;
    END IF;
    SELECT max(a.floor - a.posted + a.held + h.amount), bool_or(a.frozen_at IS NOT NULL) INTO missing, is_frozen
        FROM (SELECT account_id, sum(amount) AS amount FROM changed WHERE status = 'open' GROUP BY 1) AS h
            JOIN ledger_accounts AS a ON a.id = h.account_id;
    IF is_frozen THEN
        RAISE EXCEPTION 'account.frozen' USING ERRCODE = 'LG002';
    END IF;
    IF missing > 0 THEN
        RAISE EXCEPTION 'balance.insufficient' USING ERRCODE = 'LG001', DETAIL = missing;
    END IF;
    UPDATE ledger_accounts AS a SET held = a.held + h.amount
        FROM (SELECT account_id, sum(amount) AS amount FROM changed WHERE status = 'open' GROUP BY 1) AS h
        WHERE a.id = h.account_id;
    RETURN NULL;
END
$$
"""

POST = """
CREATE FUNCTION ledger_post_v1(
    new_id uuid, new_key text, new_kind text, addresses text[], amounts bigint[], at timestamptz,
    new_reference text DEFAULT '', new_actor_id uuid DEFAULT NULL, new_operator text DEFAULT NULL,
    new_reason text DEFAULT NULL, new_occurred_at timestamptz DEFAULT NULL,
    settled_hold_id uuid DEFAULT NULL, reversed_id uuid DEFAULT NULL, allow_frozen boolean DEFAULT false,
    OUT transfer_id uuid, OUT is_replay boolean
) LANGUAGE plpgsql AS $$
DECLARE
    request bytea := sha256(convert_to(concat_ws(E'\\x1f', new_kind, addresses, amounts, settled_hold_id,
        reversed_id), 'UTF8'));
    stored bytea;
    stripe text := get_byte(uuid_send(new_id), 15) % 16;
    ids uuid[];
    nets bigint[];
    accounts bigint;
    frozen uuid[];
    hold ledger_holds;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'a transfer needs READ COMMITTED, to see what the locks before it committed'
            USING ERRCODE = 'LG006';
    END IF;
    INSERT INTO ledger_transfers
            (id, kind, key, hash, reverses, actor_id, operator, reference, reason, occurred_at, created_at)
        VALUES (new_id, new_kind, new_key, request, reversed_id, new_actor_id, new_operator, new_reference, new_reason,
            coalesce(new_occurred_at, at), at)
        ON CONFLICT (key) DO NOTHING;
    transfer_id := new_id;
    is_replay := NOT FOUND;
    IF is_replay THEN
        SELECT t.id, t.hash INTO transfer_id, stored FROM ledger_transfers AS t WHERE t.key = new_key;
        IF stored <> request THEN
            RAISE EXCEPTION 'transfer.key_reused' USING ERRCODE = 'LG003';
        END IF;
        RETURN;
    END IF;

    SELECT array_agg(net.id ORDER BY net.id), array_agg(net.amount ORDER BY net.id) INTO ids, nets
        FROM (
            SELECT ledger_account_id_v1(replace(p.address, '*', stripe)) AS id, sum(p.amount)::bigint AS amount
            FROM unnest(addresses, amounts) AS p(address, amount) GROUP BY 1 HAVING sum(p.amount) <> 0
        ) AS net;
    IF ids IS NULL THEN
        RAISE EXCEPTION 'the postings move nothing' USING ERRCODE = 'LG006';
    END IF;
    IF cardinality(ids) <> (SELECT count(*) FROM ledger_accounts WHERE id = ANY(ids)) THEN
        -- Before any lock, or two transfers could wait for each other.
        INSERT INTO ledger_accounts (owner_kind, owner_id, purpose, asset_id, stripe, created_at)
            SELECT part[1], nullif(part[2], '')::uuid, part[3], asset.id, part[5]::bigint, at
            FROM (
                SELECT DISTINCT string_to_array(replace(address, '*', stripe), '/') AS part
                FROM unnest(addresses) AS address
            ) AS parts JOIN ledger_assets AS asset ON asset.code = part[4]
            ORDER BY ledger_account_id_v1(array_to_string(part, '/'))
            ON CONFLICT DO NOTHING;
    END IF;

    IF settled_hold_id IS NOT NULL THEN
        SELECT * INTO hold FROM ledger_holds WHERE id = settled_hold_id FOR UPDATE;
        PERFORM FROM ledger_accounts WHERE id = ANY(ids || hold.account_id) ORDER BY id FOR NO KEY UPDATE;
        UPDATE ledger_holds SET status = 'posted', transfer_id = new_id
            WHERE id = settled_hold_id AND status = 'open' AND expires_at > at;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'hold.not_open' USING ERRCODE = 'LG004';
        END IF;
        IF coalesce(-nets[array_position(ids, hold.account_id)], 0) NOT BETWEEN 1 AND hold.amount THEN
            RAISE EXCEPTION 'hold.amount_exceeded' USING ERRCODE = 'LG005';
        END IF;
    END IF;

    SELECT count(*), array_agg(a.id) FILTER (WHERE a.frozen_at IS NOT NULL) INTO accounts, frozen
        FROM (SELECT id, frozen_at FROM ledger_accounts WHERE id = ANY(ids) ORDER BY id FOR NO KEY UPDATE) AS a;
    IF accounts <> cardinality(ids) THEN
        RAISE EXCEPTION 'an address is malformed, or its asset unknown' USING ERRCODE = 'LG006';
    END IF;
    IF frozen IS NOT NULL AND NOT allow_frozen
            AND EXISTS (SELECT FROM unnest(ids, nets) AS net(id, amount) WHERE net.id = ANY(frozen) AND amount < 0) THEN
        RAISE EXCEPTION 'account.frozen' USING ERRCODE = 'LG002';
    END IF;
    INSERT INTO ledger_entries (transfer_id, account_id, asset_id, amount, balance_after, version, posted_at)
        SELECT new_id, a.id, a.asset_id, nets[array_position(ids, a.id)], a.posted + nets[array_position(ids, a.id)],
            a.version + 1, greatest(a.last_posted_at, at)
        FROM ledger_accounts AS a WHERE a.id = ANY(ids);
END
$$
"""

# posted_at rises with the version, so it is found by halving, without an index of its own.
VERSION_BEFORE = """
CREATE FUNCTION ledger_version_before_v1(of_account uuid, at timestamptz) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    low bigint := 0;
    high bigint := (SELECT a.version FROM ledger_accounts AS a WHERE a.id = of_account);
    middle bigint;
BEGIN
    WHILE low < high LOOP
        middle := (low + high + 1) / 2;
        IF at > (
            SELECT e.posted_at FROM ledger_entries AS e WHERE e.account_id = of_account AND e.version = middle
        ) THEN
            low := middle;
        ELSE
            high := middle - 1;
        END IF;
    END LOOP;
    RETURN low;
END
$$
"""

TRIGGERS = """
CREATE TRIGGER open_account BEFORE INSERT ON ledger_accounts
    FOR EACH ROW EXECUTE FUNCTION ledger_open_account();
CREATE TRIGGER refuse_change
    BEFORE UPDATE OF id, owner_kind, owner_id, purpose, asset_id, stripe, posted, held, floor, version, last_posted_at,
        accrues, created_at
    ON ledger_accounts
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER apply_entries AFTER INSERT ON ledger_entries REFERENCING NEW TABLE AS inserted
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_apply_entries();
CREATE TRIGGER apply_new_holds AFTER INSERT ON ledger_holds REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_apply_holds();
CREATE TRIGGER apply_changed_holds AFTER UPDATE ON ledger_holds REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_apply_holds();
CREATE TRIGGER refuse_change BEFORE UPDATE ON ledger_holds
    FOR EACH ROW WHEN (
        OLD.status <> 'open'
        OR (OLD.id, OLD.account_id, OLD.amount, OLD.key) IS DISTINCT FROM (NEW.id, NEW.account_id, NEW.amount, NEW.key)
    ) EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER refuse_delete BEFORE DELETE ON ledger_holds
    FOR EACH ROW WHEN (OLD.status = 'open') EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON ledger_holds
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_assets
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_purposes
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_transfers
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change()
"""


def upgrade() -> None:
    for function in (ACCOUNT_ID, REFUSE_CHANGE, OPEN_ACCOUNT, APPLY_ENTRIES, APPLY_HOLDS, POST, VERSION_BEFORE):
        op.execute(function)
    for trigger in TRIGGERS.split(";"):
        op.execute(trigger)


def downgrade() -> None:
    for table in ("accounts", "entries", "holds", "assets", "purposes", "transfers"):
        op.execute(f"DROP TRIGGER refuse_change ON ledger_{table}")
    op.execute("DROP TRIGGER open_account ON ledger_accounts")
    op.execute("DROP TRIGGER apply_entries ON ledger_entries")
    for trigger in ("apply_new_holds", "apply_changed_holds", "refuse_delete", "refuse_truncate"):
        op.execute(f"DROP TRIGGER {trigger} ON ledger_holds")
    for function in ("post_v1", "version_before_v1", "apply_holds", "apply_entries", "open_account", "refuse_change"):
        op.execute(f"DROP FUNCTION ledger_{function}")
    op.execute("DROP FUNCTION ledger_account_id_v1")
