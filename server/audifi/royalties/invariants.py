"""Invariants of royalty statements: each decimal of a line is in a revenue event, or carried to the next statement."""

from audifi.core.invariants import Invariant

INVARIANTS = (
    Invariant(
        name="royalty_lines_add_up",
        sentence="The totals of an imported statement are the exact sums of its matched lines.",
        violations="""
            SELECT statement_id, master_id, currency FROM (
                SELECT statement_id, master_id, l.currency, count(*) AS lines, sum(amount) AS amount
                FROM royalty_lines AS l JOIN royalty_statements AS s ON s.id = statement_id
                WHERE l.status = 'matched' AND s.status = 'imported' AND deleted_to = 0
                GROUP BY statement_id, master_id, l.currency
            ) AS l FULL JOIN (
                SELECT statement_id, master_id, t.currency, sum(t.lines) AS lines, sum(amount) AS amount
                FROM royalty_totals AS t JOIN royalty_statements AS s ON s.id = statement_id
                WHERE deleted_to = 0
                GROUP BY statement_id, master_id, t.currency
            ) AS t USING (statement_id, master_id, currency)
            WHERE (l.lines, l.amount) IS DISTINCT FROM (t.lines, t.amount)""",
    ),
    Invariant(
        name="royalty_totals_recorded",
        sentence="A total and what was carried to it are what was recorded and what it carries on.",
        violations="""
            SELECT t.id FROM royalty_totals AS t JOIN ledger_assets ON code = t.currency
            WHERE carried_in + amount <> recorded / power(10::numeric, scale) + carried_out
                OR (event_id IS NOT NULL AND carried_out NOT BETWEEN 0 AND 1 / power(10::numeric, scale))""",
    ),
    Invariant(
        name="royalty_events_recorded",
        sentence="The revenue event of a total has its amount, currency and statement.",
        violations="""
            SELECT t.id FROM royalty_totals AS t LEFT JOIN revenue_events AS e ON e.id = event_id
            WHERE event_id IS NOT NULL AND (e.amount, e.currency, e.statement_id)
                IS DISTINCT FROM (t.recorded, t.currency, t.statement_id)""",
    ),
    Invariant(
        name="royalty_carries_add_up",
        sentence="What a master's statements add up to was recorded, or is carried.",
        violations="""
            SELECT master_id, provider, currency FROM royalty_carries AS c FULL JOIN (
                SELECT master_id, provider, t.currency, sum(amount - recorded / power(10::numeric, scale)) AS amount
                FROM royalty_totals AS t JOIN royalty_statements AS s ON s.id = statement_id
                    JOIN ledger_assets ON code = t.currency
                GROUP BY master_id, provider, t.currency
            ) AS t USING (master_id, provider, currency)
            WHERE coalesce(c.amount, 0) <> coalesce(t.amount, 0)""",
    ),
    Invariant(
        name="royalty_lines_counted",
        sentence="A statement that was read has its lines, and the number of them that have no master.",
        violations="""
            SELECT id, statement_id FROM (SELECT * FROM royalty_statements WHERE deleted_to = 0) AS s FULL JOIN (
                SELECT statement_id, count(*) AS lines, max(number) AS last_line,
                    count(*) FILTER (WHERE status = 'unmatched') AS unmatched
                FROM royalty_lines
                WHERE statement_id NOT IN (SELECT id FROM royalty_statements WHERE deleted_to > 0)
                GROUP BY statement_id
            ) AS l ON statement_id = id
            WHERE (coalesce(l.lines, 0), coalesce(l.last_line, 0), coalesce(unmatched, 0))
                IS DISTINCT FROM (s.lines, s.last_line, s.unmatched_lines)""",
    ),
)
