"""Invariants of accounts, the ledger and the record of changes."""

from audifi.core.invariants import Invariant

INVARIANTS = (
    Invariant(
        name="frozen_accounts_match",
        sentence="The ledger's accounts of a user are frozen exactly if the user's account is.",
        violations="""
            SELECT a.id, a.frozen_at, c.frozen_at AS of_user
            FROM ledger_accounts AS a LEFT JOIN account_compliance AS c ON c.user_id = a.owner_id
            WHERE a.owner_kind = 'user' AND a.frozen_at IS DISTINCT FROM c.frozen_at
        """,
    ),
    Invariant(
        name="compliance_changes_are_recorded",
        sentence="Each version of what is known of an account, and of a rule, is in the record of changes.",
        violations="""
            SELECT v.subject, v.version, count(c.id) AS changes
            FROM (
                SELECT user_id::text AS subject, version FROM account_compliance
                UNION ALL SELECT action, version FROM compliance_rules
            ) AS v LEFT JOIN compliance_changes AS c ON c.subject = v.subject
            GROUP BY v.subject, v.version
            HAVING count(c.id) <> v.version
        """,
    ),
)
