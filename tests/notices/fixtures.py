"""Rows and requests of notices, for query plans and fuzzing."""

from collections.abc import Mapping
from typing import Any

from tests.support.clients import Client
from tests.support.feature import FeatureFixtures

ROWS = """
INSERT INTO notices (id, user_id, kind, title, quantity, created_at)
    SELECT gen_random_uuid(), id, 'offering_completed', 'Night drive', n, now() - random() * interval '1 year'
    FROM users, generate_series(1, 3) AS n;
INSERT INTO domain_events (kind, subject_id, payload, at)
    SELECT kind, gen_random_uuid(), jsonb_build_object('movement_id', gen_random_uuid()), now() + interval '30 days'
    FROM unnest(ARRAY['share.minted', 'ipo.completed', 'master.approved', 'payout.paid']) AS kind;
"""


def use(client: Client) -> None:
    """Read two pages."""
    first = client.as_signed_in("GET", "/notices?limit=1").json()
    if first["next_cursor"]:
        client.as_signed_in("GET", f"/notices?limit=1&cursor={first['next_cursor']}")


def ids(_: Client) -> Mapping[str, Any]:
    return {}


FIXTURES = FeatureFixtures(
    rows=ROWS,
    use=use,
    ids=ids,
    background=(
        "FROM share_movements AS s",
        "SELECT i.artist_id AS user_id",
        "SELECT artist_id AS user_id",
        "SELECT user_id, CAST",
        "JOIN users ON users.id = notices.user_id",
        "UPDATE domain_event_readers",
    ),
)
