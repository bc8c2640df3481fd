"""Invariants of the ledger: what `python -m audifi ledger check` proves."""

from audifi.core.invariants import Invariant

INVARIANTS = (
    Invariant(
        name="ledger_assets_sum_to_zero",
        sentence="The balances in an asset sum to zero.",
        violations="SELECT asset_id, sum(posted) FROM ledger_accounts GROUP BY asset_id HAVING sum(posted) <> 0",
    ),
    Invariant(
        name="ledger_transfers_sum_to_zero",
        sentence="The entries of a transfer sum to zero in each asset.",
        violations="""
            SELECT transfer_id, asset_id, sum(amount) FROM ledger_entries
            GROUP BY transfer_id, asset_id HAVING sum(amount) <> 0""",
    ),
    Invariant(
        name="ledger_balances_equal_entries",
        sentence="A balance is the sum of its entries, and its version their number.",
        violations="""
            SELECT a.id, a.posted, e.posted AS entries, a.version
            FROM ledger_accounts AS a LEFT JOIN (
                SELECT account_id, sum(amount) AS posted, count(*) AS version, max(posted_at) AS last_posted_at
                FROM ledger_entries GROUP BY account_id
            ) AS e ON e.account_id = a.id
            WHERE (a.posted, a.version, a.last_posted_at) IS DISTINCT FROM
                (coalesce(e.posted, 0), coalesce(e.version, 0), e.last_posted_at)""",
    ),
    Invariant(
        name="ledger_history_is_continuous",
        sentence="Each entry continues the one before: its version, its balance, and a time that isn't earlier.",
        violations="""
            SELECT account_id, version FROM (
                SELECT account_id, version, balance_after, posted_at, row_number() OVER earlier AS number,
                    sum(amount) OVER earlier AS balance, lag(posted_at) OVER earlier AS previous
                FROM ledger_entries WINDOW earlier AS (PARTITION BY account_id ORDER BY version)
            ) AS history
            WHERE version <> number OR balance_after <> balance OR posted_at < previous""",
    ),
    Invariant(
        name="ledger_held_equals_open_holds",
        sentence="What is held of an account is the sum of its open holds.",
        violations="""
            SELECT a.id, a.held, h.held AS holds
            FROM ledger_accounts AS a LEFT JOIN (
                SELECT account_id, sum(amount) AS held FROM ledger_holds WHERE status = 'open' GROUP BY account_id
            ) AS h ON h.account_id = a.id
            WHERE a.held <> coalesce(h.held, 0)""",
    ),
    Invariant(
        name="ledger_balances_are_above_their_floor",
        sentence="What isn't held of a balance is at least the account's floor.",
        violations="SELECT id, posted, held, floor FROM ledger_accounts WHERE posted - held < floor",
    ),
)
