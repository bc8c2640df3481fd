"""Rows and requests of compliance, for query plans and fuzzing."""

from typing import Any

from tests.support.clients import Client
from tests.support.feature import FeatureFixtures

# The record of changes comes from the triggers.
ROWS = """
INSERT INTO account_compliance (user_id, kyc, country, version, reason, updated_at)
    SELECT id, 'pending', 'DE', 1, 'A decision', now() FROM users;
UPDATE account_compliance SET kyc = 'verified', version = 2;
"""


def use(client: Client) -> None:
    """Call each operation once, as an admin."""
    user_id = client.tokens["user"]["id"]
    path = f"/compliance/accounts/{user_id}"
    account = {"kyc": "verified", "is_frozen": False, "reason": "A decision"}
    rule = {"kyc_required": False, "countries_blocked": [], "reason": "A decision"}
    client.as_signed_in("GET", path)
    for version in (0, 1):
        assert client.as_signed_in("PUT", path, account, headers={"If-Match": f'"{version}"'}).is_success
    assert client.as_signed_in("PUT", "/compliance/rules/buy", rule, headers={"If-Match": '"0"'}).is_success
    assert client.as_signed_in("PUT", "/compliance/withholding/DE", {"bps": 0, "reason": "A decision"}).is_success
    client.as_signed_in("GET", "/compliance/rules")
    client.as_signed_in("GET", "/compliance/withholding")
    first = client.as_signed_in("GET", f"/compliance/changes?subject={user_id}&limit=1").json()
    cursor = first["next_cursor"]
    assert client.as_signed_in("GET", f"/compliance/changes?subject={user_id}&limit=1&cursor={cursor}").is_success


def ids(client: Client) -> dict[str, Any]:
    """Return path parameters."""
    return {"user_id": client.tokens["user"]["id"], "action": "buy", "country": "DE"}


FIXTURES = FeatureFixtures(rows=ROWS, use=use, ids=ids)
