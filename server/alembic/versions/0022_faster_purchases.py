"""Faster versions of the ledger's transfer and of the purchase in an offering.

Step: expand

A transfer looks for debts by their accounts' ids, and returns how long it waited for locks. A purchase may be a
statement of its own: it holds the offering's row until it is committed.
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0022"
down_revision: str | Sequence[str] | None = "0021"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Does what ledger_post_v2 does. Debts that it makes are left to that function: their amounts depend on balances.
POST = """
CREATE FUNCTION ledger_post_v3(
    new_id uuid, new_key text, new_kind text, addresses text[], amounts bigint[], at timestamptz,
    new_reference text DEFAULT '', new_actor_id uuid DEFAULT NULL, new_operator text DEFAULT NULL,
    new_reason text DEFAULT NULL, new_occurred_at timestamptz DEFAULT NULL,
    settled_hold_id uuid DEFAULT NULL, reversed_id uuid DEFAULT NULL, allow_frozen boolean DEFAULT false,
    allow_debt boolean DEFAULT false,
    OUT transfer_id uuid, OUT is_replay boolean, OUT lock_seconds double precision
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    request bytea;
    stored bytea;
    bits bytea := uuid_send(new_id);
    stripe text := get_byte(bits, 15) % 16;
    ids uuid[];
    nets bigint[];
    hold ledger_holds;
    began timestamptz;
    assets bigint[];
    balances bigint[];
    versions bigint[];
    instants timestamptz[];
    takes_from_frozen boolean;
    indebted uuid[];
BEGIN
    IF allow_debt THEN
        SELECT p.transfer_id, p.is_replay, 0 INTO transfer_id, is_replay, lock_seconds
            FROM ledger_post_v2(new_id, new_key, new_kind, addresses, amounts, at, new_reference, new_actor_id,
                new_operator, new_reason, new_occurred_at, settled_hold_id, reversed_id, allow_frozen, true) AS p;
        RETURN;
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'a transfer needs READ COMMITTED, to see what the locks before it committed'
            USING ERRCODE = 'LG006';
    END IF;
    request := sha256(convert_to(concat_ws(E'\\x1f', new_kind, addresses, amounts, settled_hold_id, reversed_id),
        'UTF8'));
    INSERT INTO ledger_transfers
            (id, kind, key, hash, reverses, actor_id, operator, reference, reason, occurred_at, created_at)
        VALUES (new_id, new_kind, new_key, request, reversed_id, new_actor_id, new_operator, new_reference, new_reason,
            coalesce(new_occurred_at, at), at)
        ON CONFLICT (key) DO NOTHING;
    transfer_id := new_id;
    is_replay := NOT FOUND;
    lock_seconds := 0;
    IF is_replay THEN
        SELECT t.id, t.hash INTO transfer_id, stored FROM ledger_transfers AS t WHERE t.key = new_key;
        IF stored <> request THEN
            RAISE EXCEPTION 'transfer.key_reused' USING ERRCODE = 'LG003';
        END IF;
        RETURN;
    END IF;

    SELECT array_agg(net.id), array_agg(net.amount) INTO ids, nets
        FROM (
            SELECT p.id, sum(p.amount)::bigint AS amount
            FROM (
                SELECT ledger_account_id_v1(replace(u.address, '*', stripe)) AS id, u.amount
                FROM unnest(addresses, amounts) AS u(address, amount) OFFSET 0
            ) AS p GROUP BY p.id HAVING sum(p.amount) <> 0 ORDER BY p.id
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

    began := clock_timestamp();
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
    SELECT array_agg(a.asset_id), array_agg(a.posted), array_agg(a.version), array_agg(a.last_posted_at),
            bool_or(a.frozen_at IS NOT NULL AND nets[array_position(ids, a.id)] < 0)
        INTO assets, balances, versions, instants, takes_from_frozen
        FROM (
            SELECT id, asset_id, posted, version, last_posted_at, frozen_at
            FROM ledger_accounts WHERE id = ANY(ids) ORDER BY id FOR NO KEY UPDATE
        ) AS a;
    lock_seconds := extract(epoch FROM clock_timestamp() - began);
    IF coalesce(cardinality(assets), 0) <> cardinality(ids) THEN
        RAISE EXCEPTION 'an address is malformed, or its asset unknown' USING ERRCODE = 'LG006';
    END IF;
    IF takes_from_frozen AND NOT allow_frozen THEN
        RAISE EXCEPTION 'account.frozen' USING ERRCODE = 'LG002';
    END IF;
    INSERT INTO ledger_entries (transfer_id, account_id, asset_id, amount, balance_after, version, posted_at)
        SELECT new_id, a.id, a.asset_id, a.net, a.balance + a.net, a.version + 1, greatest(a.instant, at)
        FROM unnest(ids, assets, nets, balances, versions, instants)
            AS a(id, asset_id, net, balance, version, instant);

    SELECT array_agg(ledger_account_id_v1(p.address)) INTO indebted
        FROM unnest(addresses, amounts) AS p(address, amount)
            JOIN ledger_accounts AS d ON d.id = ledger_account_id_v1(replace(p.address, '/available/', '/debt/'))
        WHERE p.amount > 0 AND p.address LIKE 'user/%/available/%' AND d.posted < 0;
    IF indebted IS NOT NULL THEN  -- by a transfer with a neighbouring id, so that ids sort by time
        PERFORM ledger_pay_debts_v1(
            encode(set_bit(bits, 120, 1 - get_bit(bits, 120)), 'hex')::uuid, 'debt_payment:' || new_id, indebted, at
        );
    END IF;
END
$$
"""

# As ipo_purchase_v2. The last share is sold only in a transaction that completes the offering, too.
PURCHASE = """
CREATE FUNCTION ipo_purchase_v3(
    key_id bytea, key_lock bigint, request bytea,
    purchase_id uuid, new_transfer uuid, lot_id uuid, movement_id uuid,
    of_master uuid, buyer uuid, amount bigint, expected_total bigint, used_reservation uuid, at timestamptz,
    may_sell_out boolean,
    OUT status bigint, OUT body bytea, OUT is_replay boolean, OUT sold_out_ipo uuid,
    OUT lock_seconds double precision
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
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
    began timestamptz;
    waited double precision;
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
    PERFORM ledger_refuse_debt_v1(buyer);
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
    began := clock_timestamp();
    -- A queue before the row. All that wait for the row itself are woken by each commit, and follow its versions.
    PERFORM pg_advisory_xact_lock(hashtextextended(format('ipo/%s', ipo.id), 0));
    UPDATE ipos AS i
        SET sold = i.sold + amount, reserved = i.reserved - released, buyers = i.buyers + (rank IS NULL)::int
        WHERE i.id = ipo.id AND i.status = 'live' AND at >= i.opens_at AND at < i.ends_at
            AND i.sold + i.reserved - released + amount <= i.offered
        RETURNING i.* INTO sold_ipo;
    IF NOT FOUND THEN
        PERFORM ipo_refuse_v1(ipo.id, at);
    END IF;
    lock_seconds := extract(epoch FROM clock_timestamp() - began);
    ipo := sold_ipo;
    IF ipo.sold = ipo.offered AND ipo.reflection_hours = 0 THEN
        IF NOT may_sell_out THEN
            RAISE EXCEPTION 'ipo.sells_out' USING ERRCODE = 'IP001';
        END IF;
        sold_out_ipo := ipo.id;
    END IF;
    IF rank IS NULL THEN
        rank := ipo.buyers;
        UPDATE ipo_buyers AS b SET ordinal = rank WHERE b.ipo_id = ipo.id AND b.user_id = buyer;
    END IF;

    buyers_shares := format('user/%s/shares/share:%s/0', buyer, ipo.id);
    SELECT p.lock_seconds INTO waited FROM ledger_post_v3(
        new_transfer, format('purchase:%s', purchase_id), 'ipo_purchase',
        ARRAY[
            format('user/%s/available/%s/0', buyer, ipo.currency), format('ipo/%s/escrow/%s/0', ipo.id, ipo.currency),
            format('ipo/%s/offering/share:%s/0', ipo.id, ipo.id), buyers_shares
        ],
        ARRAY[-total, total, -amount, amount], at, format('ipo:%s', ipo.id), buyer
    ) AS p;
    lock_seconds := lock_seconds + waited;
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
END
$$
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '1s'")
    op.execute("SET LOCAL statement_timeout = '10s'")
    for table in ("ipos", "ipo_buyers"):  # room for new versions of a row beside it, which need no new index entries
        op.execute(f"ALTER TABLE {table} SET (fillfactor = 50)")
    for function in (POST, PURCHASE):
        op.execute(function)


def downgrade() -> None:
    for function in ("ipo_purchase_v3", "ledger_post_v3"):
        op.execute(f"DROP FUNCTION {function}")
    for table in ("ipos", "ipo_buyers"):
        op.execute(f"ALTER TABLE {table} RESET (fillfactor)")
