"""Debts of users, which what they get pays first.

Step: expand
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0012"
down_revision: str | Sequence[str] | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# A transaction that changes a debt holds the lock of the same owner's available account: debts are locked last.
PAY_DEBTS = """
CREATE FUNCTION ledger_pay_debts_v1(payment_id uuid, payment_key text, account_ids uuid[], at timestamptz)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    addresses text[];
    amounts bigint[];
BEGIN
    PERFORM FROM ledger_accounts WHERE id = ANY(account_ids) ORDER BY id FOR NO KEY UPDATE;
    SELECT array_agg(concat_ws('/', 'user', payment.owner_id, part.purpose, payment.code, '0')), array_agg(part.amount)
        INTO addresses, amounts
        FROM (
            SELECT a.owner_id, asset.code, least(a.posted - a.held, -d.posted) AS amount
            FROM ledger_accounts AS a JOIN ledger_assets AS asset ON asset.id = a.asset_id
                JOIN ledger_accounts AS d
                    ON (d.owner_kind, d.owner_id, d.purpose, d.asset_id) = ('user', a.owner_id, 'debt', a.asset_id)
            WHERE a.id = ANY(account_ids) AND d.posted < 0 AND a.posted > a.held
        ) AS payment,
            LATERAL (VALUES ('available', -payment.amount), ('debt', payment.amount)) AS part(purpose, amount);
    IF addresses IS NOT NULL THEN
        PERFORM ledger_post_v1(payment_id, payment_key, 'debt_payment', addresses, amounts, at, allow_frozen => true);
    END IF;
END
$$
"""

POST = """
CREATE FUNCTION ledger_post_v2(
    new_id uuid, new_key text, new_kind text, addresses text[], amounts bigint[], at timestamptz,
    new_reference text DEFAULT '', new_actor_id uuid DEFAULT NULL, new_operator text DEFAULT NULL,
    new_reason text DEFAULT NULL, new_occurred_at timestamptz DEFAULT NULL,
    settled_hold_id uuid DEFAULT NULL, reversed_id uuid DEFAULT NULL, allow_frozen boolean DEFAULT false,
    allow_debt boolean DEFAULT false,
    OUT transfer_id uuid, OUT is_replay boolean
) LANGUAGE plpgsql AS $$
DECLARE
    bits bytea := uuid_send(new_id);
    stripe text := get_byte(bits, 15) % 16;
    places text[] := ARRAY(SELECT replace(address, '*', stripe) FROM unnest(addresses) AS address);
    credited uuid[];
    debtor record;
BEGIN
    IF allow_debt THEN
        -- Opened before any lock, and locked in the order of ids, as the transfer does.
        INSERT INTO ledger_accounts (owner_kind, owner_id, purpose, asset_id, stripe, created_at)
            SELECT part[1], nullif(part[2], '')::uuid, part[3], asset.id, part[5]::bigint, at
            FROM (SELECT DISTINCT string_to_array(place, '/') AS part FROM unnest(places) AS place) AS parts
                JOIN ledger_assets AS asset ON asset.code = part[4]
            ORDER BY ledger_account_id_v1(array_to_string(part, '/'))
            ON CONFLICT DO NOTHING;
        PERFORM FROM ledger_accounts WHERE id IN (SELECT ledger_account_id_v1(place) FROM unnest(places) AS place)
            ORDER BY id FOR NO KEY UPDATE;
        FOR debtor IN
            SELECT taken.place, a.posted - a.held + taken.amount AS missing
            FROM (SELECT place, sum(amount) AS amount FROM unnest(places, amounts) AS p(place, amount) GROUP BY place)
                AS taken JOIN ledger_accounts AS a ON a.id = ledger_account_id_v1(taken.place)
            WHERE a.owner_kind = 'user' AND a.purpose = 'available' AND a.posted - a.held + taken.amount < 0
        LOOP
            addresses := addresses || ARRAY[debtor.place, replace(debtor.place, '/available/', '/debt/')];
            amounts := amounts || ARRAY[-debtor.missing, debtor.missing];
        END LOOP;
    END IF;
    SELECT posted.transfer_id, posted.is_replay INTO transfer_id, is_replay
        FROM ledger_post_v1(new_id, new_key, new_kind, addresses, amounts, at, new_reference, new_actor_id,
            new_operator, new_reason, new_occurred_at, settled_hold_id, reversed_id, allow_frozen) AS posted;
    IF is_replay THEN
        RETURN;
    END IF;
    SELECT array_agg(a.id) INTO credited
        FROM unnest(addresses, amounts) AS p(address, amount)
            JOIN ledger_accounts AS a ON a.id = ledger_account_id_v1(p.address)
            JOIN ledger_accounts AS d
                ON (d.owner_kind, d.owner_id, d.purpose, d.asset_id) = ('user', a.owner_id, 'debt', a.asset_id)
        WHERE p.amount > 0 AND a.owner_kind = 'user' AND a.purpose = 'available' AND d.posted < 0;
    IF credited IS NOT NULL THEN  -- by a transfer with a neighbouring id, so that ids sort by time
        PERFORM ledger_pay_debts_v1(
            encode(set_bit(bits, 120, 1 - get_bit(bits, 120)), 'hex')::uuid, 'debt_payment:' || new_id, credited, at
        );
    END IF;
END
$$
"""

REFUSE_DEBT = """
CREATE FUNCTION ledger_refuse_debt_v1(user_id uuid) RETURNS void LANGUAGE plpgsql STABLE AS $$
BEGIN
    PERFORM FROM ledger_accounts WHERE owner_kind = 'user' AND owner_id = user_id AND purpose = 'debt' AND posted < 0;
    IF FOUND THEN
        RAISE EXCEPTION 'account.in_debt' USING ERRCODE = 'LG007';
    END IF;
END
$$
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '1s'")
    op.execute("SET LOCAL statement_timeout = '10s'")
    op.execute(
        "ALTER TABLE ledger_accounts ADD CONSTRAINT ck_ledger_accounts_debt"
        " CHECK (purpose <> 'debt' OR posted <= 0) NOT VALID"
    )
    for function in (PAY_DEBTS, POST, REFUSE_DEBT):
        op.execute(function)


def downgrade() -> None:
    for function in ("refuse_debt_v1", "post_v2", "pay_debts_v1"):
        op.execute(f"DROP FUNCTION ledger_{function}")
    op.execute("ALTER TABLE ledger_accounts DROP CONSTRAINT ck_ledger_accounts_debt")
