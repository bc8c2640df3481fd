"""Errors that call for a programmer, to Sentry, where SENTRY_DSN is set.

What is sent is made here, field by field. Sentry's integrations send whatever they find: headers, bodies, variables,
messages; and what has to be taken out again can be forgotten.
"""

import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from audifi.core.config.settings import Settings
from audifi.core.http.middleware.errors import chain, describe
from audifi.core.telemetry.logging import SECRET

if TYPE_CHECKING:
    from sentry_sdk import Client
    from sentry_sdk.types import Event

FLUSH_SECONDS = 1
OURS = "/audifi/"
LOCAL = "localhost"
"""In place of a machine's id, away from Fly."""


class Reporter:
    """Without a DSN it does nothing, and imports nothing."""

    def __init__(self, settings: Settings) -> None:
        self._client: Client | None = None
        if settings.sentry_dsn and (dsn := settings.sentry_dsn.get_secret_value()):
            import sentry_sdk  # noqa: PLC0415 - takes a while

            self._client = sentry_sdk.Client(
                dsn,
                release=f"audifi-api@{settings.version}",
                environment=settings.deployment,
                server_name=settings.fly_machine_id or LOCAL,
                default_integrations=False,  # and with them all that is found by itself
                include_local_variables=False,
                send_client_reports=False,
                auto_session_tracking=False,
                shutdown_timeout=FLUSH_SECONDS,
            )

    def __call__(self, error: BaseException, where: str, tags: Mapping[str, str]) -> None:
        """Send it, in a thread of Sentry's; when many wait there, newer ones are lost.

        Args:
            error: with its causes, as `failures.trace` tells them.
            where: `POST /api/v1/auth/refresh`, `job sign_in_mail`.
            tags: what it can be looked for by.
        """
        if self._client is not None:
            self._client.capture_event(event(error, where, tags))

    def close(self) -> None:
        """Wait for what is under way, for FLUSH_SECONDS."""
        if self._client is not None:
            self._client.close(timeout=FLUSH_SECONDS)


def event(error: BaseException, where: str, tags: Mapping[str, str]) -> "Event":
    """https://develop.sentry.dev/sdk/data-model/event-payloads/"""
    return {
        "level": "error",
        "platform": "python",
        "transaction": where,
        "tags": dict(tags),
        "exception": {"values": [_exception(cause) for cause in reversed(list(chain(error)))]},
    }


def _exception(error: BaseException) -> dict[str, Any]:
    kind = type(error)
    frames = [
        {
            "filename": frame.filename[frame.filename.rfind(OURS) + 1 :] if OURS in frame.filename else frame.filename,
            "function": frame.name,
            "lineno": frame.lineno,
            "context_line": frame.line,
            "in_app": OURS in frame.filename,
        }
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    return {
        "type": kind.__qualname__,
        "module": kind.__module__,
        "value": SECRET.sub("REDACTED", describe(error)),
        "stacktrace": {"frames": frames},
    }
