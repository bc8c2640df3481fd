"""Rows and requests of e-mails, for query plans and fuzzing."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tests.support.clients import Client
from tests.support.feature import FeatureFixtures
from tests.support.sendgrid import signature_headers

ROWS = """
INSERT INTO email_messages (id, address_hash, purpose, created_at, accepted_at)
    SELECT gen_random_uuid(), sha256(n::text::bytea), 'sign_in', at, at
    FROM (SELECT n, now() - random() * interval '31 days' AS at FROM generate_series(1, 20000) AS n) AS messages;
INSERT INTO email_events (message_id, event, reason, occurred_at)
    SELECT id, event, '', created_at FROM email_messages, (VALUES ('deferred'), ('delivered')) AS events (event);
"""


def use(client: Client) -> None:
    """Report an event about the newest e-mail to a client."""
    message_id = client.sendgrid.wait_for(client.email)["custom_args"]["message_id"]
    now = datetime.now(UTC)
    event = {"event": "delivered", "timestamp": int(now.timestamp()), "message_id": message_id}
    body = json.dumps([event]).encode()
    client.ask("POST", "/emails/sendgrid-events", content=body, headers=signature_headers(body, now))


def ids(_: Client) -> Mapping[str, Any]:
    return {}


FIXTURES = FeatureFixtures(rows=ROWS, use=use, ids=ids)
