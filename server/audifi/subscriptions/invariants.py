"""Invariants of plans and what was used of them."""

from audifi.core.invariants import Invariant
from audifi.subscriptions.entitlements import UNLIMITED
from audifi.subscriptions.plans import ENTITLEMENTS, VERSION

LIMITS = ", ".join(
    f"('{plan}', {version}, '{key}', {UNLIMITED if bound is None else bound})"
    for (plan, version), entitlements in ENTITLEMENTS.items()
    for key, bound in entitlements.limits.items()
)

INVARIANTS = (
    Invariant(
        name="usage_counters_equal_uses",
        sentence="What is used is the number of uses in the period that aren't released.",
        violations="""
            SELECT coalesce(c.user_id, u.user_id) AS user_id, coalesce(c.key, u.key) AS key, c.used, u.uses
            FROM usage_counters AS c FULL JOIN (
                SELECT user_id, key, period, count(*) AS uses FROM usage_uses
                WHERE released_at IS NULL GROUP BY user_id, key, period
            ) AS u ON (u.user_id, u.key, u.period) = (c.user_id, c.key, c.period)
            WHERE coalesce(c.used, 0) <> coalesce(u.uses, 0)""",
    ),
    Invariant(
        name="usage_within_plan",
        sentence="When a limit was used last, the account's plan allowed as much; since then the plan may have fallen.",
        violations=f"""
            WITH limits(plan, version, key, bound) AS (VALUES {LIMITS}), plans AS (
                SELECT user_id, plan, {VERSION} AS version, starts_at, ends_at FROM plan_grants
                UNION ALL SELECT s.user_id, s.plan, p.entitlements_version, '-infinity', s.access_until
                    FROM subscriptions AS s JOIN plan_prices AS p ON p.price_id = s.price_id
            )
            SELECT c.user_id, c.key, c.used FROM usage_counters AS c
                JOIN limits AS free ON (free.plan, free.version, free.key) = ('FREE', {VERSION}, c.key)
            WHERE c.used > free.bound AND NOT EXISTS (
                SELECT FROM plans JOIN limits USING (plan, version)
                WHERE limits.key = c.key AND plans.user_id = c.user_id AND limits.bound >= c.used AND (
                    SELECT max(u.used_at) FROM usage_uses AS u
                    WHERE (u.user_id, u.key, u.period) = (c.user_id, c.key, c.period) AND u.released_at IS NULL
                ) BETWEEN plans.starts_at AND plans.ends_at + interval '5 minutes'
            )""",  # noqa: S608 - of constants
    ),
    Invariant(
        name="subscription_in_force_is_paid",
        sentence="A subscription whose plan is in force was paid, or on trial, up to its current period at least.",
        violations="""
            SELECT s.id, s.status FROM subscriptions AS s
            WHERE s.status IN ('active', 'past_due') AND s.access_until > s.synced_at
                AND (s.trial_end IS NULL OR s.trial_end < s.period_start) AND NOT EXISTS (
                    SELECT FROM invoices AS i
                    WHERE i.subscription_id = s.id AND i.status = 'paid' AND i.period_end >= s.period_start)""",
    ),
    Invariant(
        name="invoices_are_posted",
        sentence="What was paid of an invoice, and each refund of it, is in the ledger once.",
        violations="""
            SELECT coalesce(r.key, t.key) AS key, r.amount, t.amount AS posted FROM (
                SELECT 'invoice:' || provider_id AS key, paid AS amount FROM invoices WHERE paid > 0
                UNION ALL SELECT format('invoice_%s:%s', kind, provider_id),
                    CASE WHEN kind IN ('refund', 'dispute') THEN -amount ELSE amount END FROM invoice_adjustments
            ) AS r FULL JOIN (
                SELECT t.key, -sum(e.amount) AS amount FROM ledger_transfers AS t
                    JOIN ledger_entries AS e ON e.transfer_id = t.id JOIN ledger_accounts AS a ON a.id = e.account_id
                WHERE t.kind IN ('invoice', 'invoice_refund', 'invoice_refund_returned', 'invoice_dispute',
                    'invoice_dispute_won') AND a.owner_kind = 'provider' AND a.purpose = 'external'
                GROUP BY t.key
            ) AS t ON t.key = r.key
            WHERE r.amount IS DISTINCT FROM t.amount""",
    ),
    Invariant(
        name="invoices_equal_refunds",
        sentence="What is refunded of an invoice is the sum of its refunds that didn't come back.",
        violations="""
            SELECT i.id, i.refunded, i.refunded_tax FROM invoices AS i LEFT JOIN (
                SELECT invoice_id, sum(CASE kind WHEN 'refund' THEN amount ELSE -amount END) AS amount,
                    sum(CASE kind WHEN 'refund' THEN tax ELSE -tax END) AS tax
                FROM invoice_adjustments WHERE kind IN ('refund', 'refund_returned') GROUP BY invoice_id
            ) AS r ON r.invoice_id = i.id
            WHERE (i.refunded, i.refunded_tax) <> (coalesce(r.amount, 0), coalesce(r.tax, 0))""",
    ),
    Invariant(
        name="trials_are_of_subscriptions",
        sentence="A subscription on trial has the trial of its account.",
        violations="""
            SELECT s.id FROM subscriptions AS s
            WHERE s.status = 'trialing' AND NOT EXISTS (
                SELECT FROM trial_uses AS t WHERE t.subscription_id = s.id AND NOT t.is_refused)""",
    ),
)
