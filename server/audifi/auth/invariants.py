"""Invariants of accounts and sessions."""

from audifi.core.invariants import Invariant

INVARIANTS = (
    Invariant(
        name="deleted_account_is_empty",
        sentence="A deleted account keeps neither its address nor its name nor a role.",
        violations="""
            SELECT id FROM users
            WHERE deleted_at IS NOT NULL
              AND (email <> 'deleted:' || id OR email_key <> 'deleted:' || id
                   OR display_name IS NOT NULL OR role <> 'fan')""",
    ),
    Invariant(
        name="deleted_account_has_no_session",
        sentence="All sessions of a deleted account have ended.",
        violations="""
            SELECT sessions.id, sessions.user_id FROM sessions JOIN users ON users.id = sessions.user_id
            WHERE sessions.revoked_at IS NULL AND sessions.idle_expires_at > users.deleted_at""",
    ),
)
