"""Invariants of masters."""

from audifi.core.invariants import Invariant

INVARIANTS = (
    Invariant(
        name="master_splits_within_whole",
        sentence="The splits of a master's collaborators are at most 10,000 basis points together.",
        violations="SELECT master_id FROM master_collaborators GROUP BY master_id HAVING sum(split_bps) > 10000",
    ),
    Invariant(
        name="master_tracks_in_order",
        sentence="The positions of a master's tracks are 1, 2, 3 and so on; a master of type track has one at most.",
        violations="""
            SELECT masters.id FROM masters JOIN master_tracks ON master_id = masters.id GROUP BY masters.id
            HAVING max(position) <> count(*) OR (masters.type = 'track' AND count(*) > 1)""",
    ),
    Invariant(
        name="master_with_tracks_when_submitted",
        sentence="A master that is submitted, approved or offered has a track.",
        violations="""
            SELECT id FROM masters WHERE status IN ('submitted', 'approved', 'offered')
            AND NOT EXISTS (SELECT FROM master_tracks WHERE master_id = masters.id)""",
    ),
    Invariant(
        name="master_tracks_offered_with_master",
        sentence="A track is marked as offered if, and only if, its master is offered.",
        violations="""
            SELECT master_id, position FROM master_tracks JOIN masters ON masters.id = master_id
            WHERE offered <> (status = 'offered')""",
    ),
    Invariant(
        name="master_rights_confirmed",
        sentence="A valid confirmation of rights is the last one recorded.",
        violations="""
            SELECT id FROM masters WHERE rights_confirmed_at IS DISTINCT FROM
                (SELECT max(created_at) FROM rights_confirmations WHERE master_id = masters.id)
            AND rights_confirmed_at IS NOT NULL""",
    ),
    Invariant(
        name="master_files_verified",
        sentence="The hash of a master's audio or cover is that of its verified upload.",
        violations="""
            SELECT masters.id, kinds.kind FROM masters CROSS JOIN (VALUES ('audio'), ('cover')) AS kinds (kind)
            LEFT JOIN master_uploads AS upload
                ON master_id = masters.id AND upload.kind = kinds.kind AND upload.status = 'verified'
            WHERE CASE kinds.kind WHEN 'audio' THEN audio_sha256 ELSE cover_sha256 END IS DISTINCT FROM sha256""",
    ),
    Invariant(
        name="master_has_an_account",
        sentence="Each master of a deleted account was offered once, and its offering has ended.",
        violations="""
            SELECT masters.id FROM masters JOIN users ON users.id = artist_id
            WHERE users.deleted_at IS NOT NULL AND (
                masters.status NOT IN ('draft', 'rejected', 'archived')
                OR NOT EXISTS (SELECT FROM master_events WHERE master_id = masters.id AND event = 'offered')
            )""",
    ),
)
