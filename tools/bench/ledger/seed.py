"""What the measurements start from: money, offerings, long accounts, and the same rows without the ledger's rules."""

from dataclasses import dataclass
from uuid import UUID

from tests.support import databases

ARTIST = UUID("01930b5a-7c1e-7d3f-8a52-6f0e4b9c2e70")
SELLING, FEW, MANY = (UUID(f"01930b5a-7c1e-7d3f-8a52-6f0e4b9c2e{number}") for number in (71, 72, 73))
"""Masters: with an offering that sells, and with offerings of few and of many movements."""
SHORT_ACCOUNT, LONG_ACCOUNT = 1, 2
"""Users with few and with many entries, by their numbers."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many rows are compared."""

    users: int
    few_entries: int
    many_entries: int
    few_movements: int
    many_movements: int


FULL = Sizes(users=1000, few_entries=100, many_entries=1_000_000, few_movements=10, many_movements=10_000)
TINY = Sizes(users=200, few_entries=30, many_entries=300, few_movements=2, many_movements=20)

USERS = """
CREATE TABLE bench_users AS
    SELECT row_number() OVER (ORDER BY id) AS n, id, format('user/%s/available/USD/0', id) AS address,
        ledger_account_id_v1(format('user/%s/available/USD/0', id)) AS account_id
    FROM users;
ALTER TABLE bench_users ADD PRIMARY KEY (n);
SELECT count(ledger_post_v2(gen_random_uuid(), 'bench ' || n, 'adjustment',
    ARRAY[address, 'provider//external/USD/*'], ARRAY[1000000000, -1000000000], now())) FROM bench_users;
"""
# The same rows with the same indexes, checks and references, and without the ledger's triggers.
BARE = """
CREATE TABLE bench_accounts (LIKE ledger_accounts INCLUDING ALL) WITH (fillfactor = 50);
CREATE TABLE bench_transfers (LIKE ledger_transfers INCLUDING ALL);
CREATE TABLE bench_entries (LIKE ledger_entries INCLUDING ALL,
    FOREIGN KEY (transfer_id) REFERENCES bench_transfers, FOREIGN KEY (account_id, asset_id)
    REFERENCES bench_accounts (id, asset_id));
INSERT INTO bench_accounts SELECT * FROM ledger_accounts;
CREATE FUNCTION bench_post(new_id uuid, new_key text, giver uuid, taker uuid, moved bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO bench_transfers (id, kind, key, hash, reference, occurred_at, created_at)
        VALUES (new_id, 'adjustment', new_key, sha256(''), '', now(), now());
    WITH changed AS (
        UPDATE bench_accounts
            SET posted = posted + CASE id WHEN taker THEN moved ELSE -moved END, version = version + 1,
                last_posted_at = now()
            WHERE id IN (giver, taker)
            RETURNING id, asset_id, posted, version
    ) INSERT INTO bench_entries (transfer_id, account_id, asset_id, amount, balance_after, version, posted_at)
        SELECT new_id, id, asset_id, CASE id WHEN taker THEN moved ELSE -moved END, posted, version, now()
        FROM changed;
END
$$;
CREATE TABLE bench_counter (n bigint NOT NULL);
INSERT INTO bench_counter VALUES (0);
"""
OFFERINGS = f"""
INSERT INTO users (id, email, email_key, created_at) VALUES ('{ARTIST}', 'artist', 'artist', now());
INSERT INTO masters (id, artist_id, type, title, description, genre, release_date, mood_tags, status,
        rights_confirmed_at, audio_sha256, cover_sha256, version, created_at)
    SELECT id::uuid, '{ARTIST}', 'track', 'Night drive', 'A', 'B', '2026-01-31', '{{}}', 'offered', now(),
        sha256(''), sha256(''), 1, now()
    FROM unnest(ARRAY['{SELLING}', '{FEW}', '{MANY}']) AS id;
INSERT INTO ipos (id, master_id, artist_id, status, currency, total_shares, retained_shares, offered, unit_price,
        max_per_account, min_shares, holders_bps, platform_bps, sale_fee_bps, resale_fee_bps, royalty,
        royalty_to_holders_bps, lockup_days, reflection_hours, opens_at, ends_at, terms_sha256, created_at)
    SELECT id, id, artist_id, 'live', 'USD', 1000000, 0, 1000000, 1, 1000000, 0, 5000, 1000, 500, 0, '{{}}',
        0, 0, 0, now() - interval '1 day', now() + interval '9 days', sha256(''), now()
    FROM masters;
INSERT INTO ledger_assets (code, kind, scale) SELECT 'share:' || id, 'share', 0 FROM ipos;
SELECT ledger_post_v2(gen_random_uuid(), 'launch ' || id, 'ipo_launch', ARRAY[
    format('ipo/%s/issuance/share:%s/0', id, id), format('ipo/%s/offering/share:%s/0', id, id)
], ARRAY[-1000000, 1000000], now()) FROM ipos;
"""
# Rows of the past, written as they would be, but without the triggers: a million transfers would take minutes.
HISTORY = """
SET session_replication_role = replica;
INSERT INTO ledger_transfers (id, kind, key, hash, reference, occurred_at, created_at)
    SELECT md5('{user} ' || n)::uuid, 'adjustment', 'history {user} ' || n, sha256(''), '', now(),
        now() - interval '1 day' + n * interval '1 microsecond'
    FROM generate_series(2, {entries}) AS n;
INSERT INTO ledger_entries (transfer_id, account_id, asset_id, amount, balance_after, version, posted_at)
    SELECT md5('{user} ' || v)::uuid, account_id, asset_id, 1, 1000000000 + v, v,
        now() + v * interval '1 microsecond'
    FROM bench_users JOIN ledger_accounts AS a ON a.id = account_id, generate_series(2, {entries}) AS v
    WHERE bench_users.n = {user};
UPDATE ledger_accounts SET version = {entries}, posted = 1000000000 + {entries}, last_posted_at = now() + interval '1 s'
    WHERE id = (SELECT account_id FROM bench_users WHERE n = {user});
SET session_replication_role = DEFAULT;
"""
MOVEMENTS = """
SET session_replication_role = replica;
INSERT INTO share_lots (id, ipo_id, serials, account_id, custody, acquired_at, transferable_at)
    SELECT gen_random_uuid(), ipos.id, int8range(number * 1048576 + s, number * 1048576 + s + 1), account_id, 'ledger',
        now(), now()
    FROM ipos, generate_series(1, {movements}) AS s JOIN bench_users ON n = 1 + s % {users}
    WHERE ipos.id = '{ipo}';
INSERT INTO share_movements (id, ipo_id, transfer_id, serials, from_id, to_id, reason, price, at)
    SELECT gen_random_uuid(), ipo_id, (SELECT id FROM ledger_transfers LIMIT 1), serials, account_id, account_id,
        'sale', 1, now()
    FROM share_lots WHERE ipo_id = '{ipo}';
SET session_replication_role = DEFAULT;
"""


def insert(url: str, sizes: Sizes) -> None:
    """Insert everything into a migrated database that has the users and no more."""
    history = [
        HISTORY.format(user=user, entries=entries)
        for user, entries in ((SHORT_ACCOUNT, sizes.few_entries), (LONG_ACCOUNT, sizes.many_entries))
    ]
    movements = [
        MOVEMENTS.format(ipo=ipo, movements=movements, users=sizes.users)
        for ipo, movements in ((FEW, sizes.few_movements), (MANY, sizes.many_movements))
    ]
    databases.execute(url, USERS, OFFERINGS, BARE, *history, *movements, "VACUUM ANALYZE")
