"""Reports unexpected errors to Sentry, where SENTRY_DSN is set.

Each field of a report is chosen here. Sentry's integrations would add headers, bodies, variables and messages, which
may hold personal data.
"""

import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from audifi.core.config.settings import Settings
from audifi.core.telemetry.redaction import describe_error, iter_causes, redact

if TYPE_CHECKING:
    from sentry_sdk import Client
    from sentry_sdk.types import Event

FLUSH_SECONDS = 1
OUR_CODE = "/audifi/"
LOCAL = "localhost"
"""Sent in place of the machine's id outside of Fly."""


class ErrorReporter:
    """Sends reports from a background thread. Without a DSN it does nothing, and Sentry's SDK isn't imported."""

    def __init__(self, settings: Settings) -> None:
        self._client: Client | None = None
        if settings.sentry_dsn and (dsn := settings.sentry_dsn.get_secret_value()):
            import sentry_sdk  # noqa: PLC0415 - slow to import, and not always used

            self._client = sentry_sdk.Client(
                dsn,
                release=f"audifi-api@{settings.version}",
                environment=settings.deployment,
                server_name=settings.fly_machine_id or LOCAL,
                default_integrations=False,
                include_local_variables=False,
                send_client_reports=False,
                auto_session_tracking=False,
                shutdown_timeout=FLUSH_SECONDS,
            )

    def __call__(self, error: BaseException, where: str, tags: Mapping[str, str]) -> None:
        """Queue a report. When the queue is full, it is dropped.

        Args:
            error: reported with its causes.
            where: `POST /api/v1/auth/refresh`, `job sign_in_email`.
            tags: what reports can be searched by.
        """
        if self._client is not None:
            self._client.capture_event(make_event(error, where, tags))

    def close(self) -> None:
        """Send what is queued, for at most FLUSH_SECONDS."""
        if self._client is not None:
            self._client.close(timeout=FLUSH_SECONDS)


def make_event(error: BaseException, where: str, tags: Mapping[str, str]) -> "Event":
    """Return Sentry's event: https://develop.sentry.dev/sdk/data-model/event-payloads/."""
    return {
        "level": "error",
        "platform": "python",
        "transaction": where,
        "tags": dict(tags),
        "exception": {"values": [_exception(cause) for cause in reversed(list(iter_causes(error)))]},
    }


def _exception(error: BaseException) -> dict[str, Any]:
    kind = type(error)
    frames = [
        {
            "filename": _relative(frame.filename),
            "function": frame.name,
            "lineno": frame.lineno,
            "context_line": frame.line,
            "in_app": OUR_CODE in frame.filename,
        }
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    return {
        "type": kind.__qualname__,
        "module": kind.__module__,
        "value": redact(describe_error(error)),
        "stacktrace": {"frames": frames},
    }


def _relative(filename: str) -> str:
    return filename[filename.rfind(OUR_CODE) + 1 :] if OUR_CODE in filename else filename
