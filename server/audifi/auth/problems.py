"""Problems of sign-in and sessions. Their codes are part of the contract."""

from datetime import datetime
from typing import Any

from audifi.auth import addresses
from audifi.auth.schemas import ConfirmationRequired
from audifi.core.http.problems import Problem

BEARER = "Bearer"


def unauthenticated(code: str, title: str, detail: str | None = None, *, challenge: str = BEARER) -> Problem:
    """Return a 401 with the required challenge (RFC 9110, 15.5.2)."""
    return Problem(401, code, title, detail, headers=[("WWW-Authenticate", challenge)])


def access_token_missing() -> Problem:
    return unauthenticated("access_token.missing", "Missing access token", "Send it as `Authorization: Bearer …`.")


def access_token_invalid(*, expired: bool = False) -> Problem:
    """RFC 6750, 3.1."""
    return unauthenticated(
        "access_token.expired" if expired else "access_token.invalid",
        "Expired access token" if expired else "Invalid access token",
        "Refresh the session, then try again.",
        challenge=f'{BEARER} error="invalid_token"',
    )


def recent_sign_in_required(max_age_seconds: int) -> Problem:
    """RFC 9470, 3."""
    return unauthenticated(
        "insufficient_user_authentication",
        "Recent sign-in required",
        f"Sign in again: this needs a sign-in of the last {max_age_seconds // 60} minutes.",
        challenge=f'{BEARER} error="insufficient_user_authentication", max_age={max_age_seconds}',
    )


def insufficient_role(roles: tuple[str, ...]) -> Problem:
    return Problem(403, "role.insufficient", "Insufficient role", f"This needs one of the roles: {', '.join(roles)}.")


def account_disabled() -> Problem:
    return Problem(403, "account.disabled", "Account suspended")


def account_not_empty(detail: str) -> Problem:
    """Return the 409 of a feature's deletion guard; `detail` says what the account still has."""
    return Problem(409, "account.not_empty", "Account not empty", detail)


def link_invalid() -> Problem:
    return unauthenticated("magic_link.invalid", "Invalid link", "Request a new one.")


def link_expired() -> Problem:
    return unauthenticated("magic_link.expired", "Expired link", "A link is valid for 10 minutes; request a new one.")


def link_used() -> Problem:
    return unauthenticated("magic_link.used", "Link already used", "A link works once; request a new one.")


def confirmation_required(*, email: str, requested_at: datetime, user_agent: str | None) -> Problem:
    """Return the problem of a link that was opened in another browser than the one that requested it.

    A person must agree; a mail scanner doesn't.
    """
    extensions: dict[str, Any] = {
        "email": addresses.mask(email),
        "requested_at": requested_at.isoformat().replace("+00:00", "Z"),
        "user_agent": user_agent,
    }
    return Problem(
        409,
        "magic_link.confirmation_required",
        "Confirmation required",
        "The link was requested in another browser. Show the person `email` and `requested_at`. If they confirm, send "
        "the request again with `confirm: true`.",
        model=ConfirmationRequired,
        **extensions,
    )


def code_invalid() -> Problem:
    return unauthenticated("code.invalid", "Invalid code", "Check it, or request a new one: a code takes 5 attempts.")


def flow_secret_missing() -> Problem:
    """Return the problem of a code without cookie and secret. It depends on the request alone, not on the flow."""
    return unauthenticated(
        "flow_secret.missing",
        "Missing flow secret",
        "The request has no flow cookie and no `flow_secret`. Browsers send the cookie only with credentials, to the "
        "host that set it, from a page of the same site: localhost and 127.0.0.1 are different sites.",
    )


def refresh_token_missing() -> Problem:
    return unauthenticated("refresh_token.missing", "Missing refresh token", "Send it as a cookie or in the body.")


def refresh_token(why: str) -> Problem:
    """Return the 401; `why` is invalid, expired, revoked or reused."""
    return unauthenticated(f"refresh_token.{why}", f"{why.capitalize()} refresh token", "Sign in again.")


class SessionReplaced(Problem):
    """The session was replaced by a sign-in in the same browser, whose cookie must not be cleared."""


def session_replaced() -> SessionReplaced:
    """Return a problem that clients can't tell from any other revoked session."""
    revoked = refresh_token("revoked")
    return SessionReplaced(revoked.status, revoked.code, revoked.title, revoked.detail, headers=revoked.headers)


def not_found() -> Problem:
    return Problem(404, "session.not_found", "Session not found", "List the sessions again.")


def token_ambiguous() -> Problem:
    return Problem(400, "token.ambiguous", "Ambiguous token", "Send one token, as a cookie or in the body.")


def origin_refused() -> Problem:
    return Problem(
        403,
        "origin.refused",
        "Origin not allowed",
        "A request with a cookie must come from a page of an origin in APP_URL or ALLOWED_ORIGINS.",
    )


def not_json() -> Problem:
    return Problem(
        415, "request.unsupported_media_type", "Unsupported media type", "Send `Content-Type: application/json`."
    )
