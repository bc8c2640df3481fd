"""The kinds of request that are measured. To add one, add an entry here and a route to each peer."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

APP_URL = "https://app.example.com"
NUMBER = "000number000"
"""In a header or a body it becomes a number of 12 digits that no other request has; for wrk, wrk.lua replaces it."""

# What an account's session and account must be for a request to be allowed.
FIND_USER = """
    SELECT users.id, users.email, users.email_key, users.display_name, users.role, users.created_at,
           sessions.id AS session_id, sessions.auth_time
    FROM users JOIN sessions ON sessions.user_id = users.id
    WHERE sessions.id = :session_id AND users.id = :user_id
      AND sessions.revoked_at IS NULL AND sessions.idle_expires_at > :now
      AND users.disabled_at IS NULL AND users.deleted_at IS NULL
"""
LIST_EVENTS = """
    SELECT id, event, created_at, session_id, split_part(detail, ': ', 1) AS detail, user_agent,
           text(network(set_masklen(ip, CASE family(ip) WHEN 4 THEN 24 ELSE 64 END))) AS ip_prefix
    FROM auth_events
    WHERE user_id = :user_id AND id < :before
    ORDER BY id DESC LIMIT :limit
"""
RENAME_USER = """
    UPDATE users SET display_name = :display_name
    WHERE id = :user_id AND deleted_at IS NULL AND disabled_at IS NULL RETURNING id
"""
INSERT_EVENT = """
    INSERT INTO auth_events (id, event, user_id, session_id, detail, ip, user_agent, created_at)
    VALUES (:id, 'user.updated', :user_id, NULL, 'display_name', CAST(:ip AS inet), :user_agent, :now)
"""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One kind of request, and the SQL by which the peers answer it."""

    name: str
    title: str
    method: str
    path: str
    body: Mapping[str, object] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    signed_in: bool = True
    status: int = 200
    sql: Mapping[str, str] = field(default_factory=dict)
    """Statements by name, with parameters as `:name`."""

    def body_bytes(self, number: str = NUMBER) -> bytes | None:
        return None if self.body is None else json.dumps(self.body).replace(NUMBER, number).encode()

    def all_headers(self, token: str, number: str = NUMBER) -> dict[str, str]:
        """Return the headers of a request from a browser: CORS applies to it."""
        headers = {"Origin": APP_URL, "User-Agent": "bench", **self.headers}
        if self.signed_in:
            headers["Authorization"] = f"Bearer {token}"
        if self.body is not None:
            headers["Content-Type"] = "application/json"
        return {name: value.replace(NUMBER, number) for name, value in headers.items()}

    def raw_request(self, token: str) -> bytes:
        """Return the request as HTTP/1.1 sends it."""
        body = self.body_bytes()
        headers = {"Host": "127.0.0.1", **self.all_headers(token)}
        if body is not None:
            headers["Content-Length"] = str(len(body))
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


WORKLOADS = [
    Workload(name="health", title="health", method="GET", path="/api/v1/health", signed_in=False),
    Workload(name="401", title="401", method="GET", path="/api/v1/auth/me", signed_in=False, status=401),
    Workload(
        name="list",
        title="read of a list",
        method="GET",
        path="/api/v1/auth/me/activity?limit=20",
        sql={"list_events": LIST_EVENTS},
    ),
    Workload(name="read", title="read of one row", method="GET", path="/api/v1/auth/me", sql={"find_user": FIND_USER}),
    Workload(
        name="write",
        title="write",
        method="PATCH",
        path="/api/v1/auth/me",
        body={"display_name": f"Ana {NUMBER}"},
        sql={"find_user": FIND_USER, "rename_user": RENAME_USER, "insert_event": INSERT_EVENT},
    ),
]
TITLES = {workload.name: workload.title for workload in WORKLOADS}


def statements() -> dict[str, str]:
    """Return all statements of the peers by name."""
    return {name: sql for workload in WORKLOADS for name, sql in workload.sql.items()}
