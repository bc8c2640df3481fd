"""What can be wrong with a sign-in. Each code is a promise to clients, and is made here."""

from datetime import datetime
from typing import Any

from audifi.auth import addresses
from audifi.auth.schemas import ConfirmationRequired
from audifi.core.http.problems import Problem

BEARER = "Bearer"


def unauthenticated(code: str, title: str, detail: str | None = None, *, challenge: str = BEARER) -> Problem:
    """401, which must carry a challenge (RFC 9110, 15.5.2)."""
    return Problem(401, code, title, detail, headers=[("WWW-Authenticate", challenge)])


def access_token_missing() -> Problem:
    return unauthenticated(
        "access_token.missing", "Sign in", "This needs an access token: `Authorization: Bearer …`, and nowhere else."
    )


def access_token_invalid(*, expired: bool = False) -> Problem:
    """RFC 6750, 3.1."""
    return unauthenticated(
        "access_token.expired" if expired else "access_token.invalid",
        "The access token is no longer good" if expired else "The access token isn't good",
        "Refresh the session, then try again.",
        challenge=f'{BEARER} error="invalid_token"',
    )


def fresh_sign_in_required(max_age_seconds: int) -> Problem:
    """RFC 9470, 3."""
    return unauthenticated(
        "insufficient_user_authentication",
        "Sign in again",
        f"This needs a sign-in of the last {max_age_seconds // 60} minutes; refreshing is none.",
        challenge=f'{BEARER} error="insufficient_user_authentication", max_age={max_age_seconds}',
    )


def role_required(roles: tuple[str, ...]) -> Problem:
    return Problem(403, "account.role_required", "Not for this account", f"This is for: {', '.join(roles)}.")


def account_disabled() -> Problem:
    return Problem(403, "account.disabled", "This account is suspended")


def link_invalid() -> Problem:
    return unauthenticated("magic_link.invalid", "This link isn't good", "Ask for a new one.")


def link_expired() -> Problem:
    return unauthenticated(
        "magic_link.expired", "This link has expired", "It is good for 10 minutes; ask for a new one."
    )


def link_used() -> Problem:
    return unauthenticated("magic_link.used", "This link was used already", "It is good for once; ask for a new one.")


def confirmation_required(*, email: str, requested_at: datetime, user_agent: str | None) -> Problem:
    """A link that was opened elsewhere than where it was asked for. A person must say yes; a scanner doesn't."""
    extensions: dict[str, Any] = {
        "email": addresses.mask(email),
        "requested_at": requested_at.isoformat().replace("+00:00", "Z"),
        "user_agent": user_agent,
    }
    return Problem(
        409,
        "magic_link.confirmation_required",
        "Is it you who wants to sign in?",
        "The link was asked for in another browser. Show whose it is and when it was asked for; if the person agrees, "
        "send it again with `confirm`.",
        model=ConfirmationRequired,
        **extensions,
    )


def code_invalid() -> Problem:
    return unauthenticated(
        "code.invalid", "This code isn't good", "Check it, or ask for a new one: it takes 5 attempts."
    )


def refresh_token_missing() -> Problem:
    return unauthenticated(
        "refresh_token.missing", "Sign in", "This needs a refresh token, as a cookie or in the body."
    )


def refresh_token(why: str) -> Problem:
    """Args: why: invalid, expired, revoked or reused."""
    return unauthenticated(f"refresh_token.{why}", "The session has ended", "Sign in again.")


class SessionReplaced(Problem):
    """A sign-in in the same browser has ended the session, so the cookie that is there by now may be the new one's."""


def session_replaced() -> SessionReplaced:
    """To a client the same as any session that was ended."""
    revoked = refresh_token("revoked")
    return SessionReplaced(revoked.status, revoked.code, revoked.title, revoked.detail, headers=revoked.headers)


def not_found() -> Problem:
    return Problem(404, "session.not_found", "There is no such session")


def token_ambiguous() -> Problem:
    return Problem(400, "token.ambiguous", "Two tokens", "Send it as a cookie or in the body, not both.")


def origin_refused() -> Problem:
    return Problem(
        403,
        "origin.refused",
        "Not from this page",
        "A request with a cookie must come from a page of an origin that ALLOWED_ORIGINS or APP_URL names.",
    )


def not_json() -> Problem:
    return Problem(415, "request.unsupported_media_type", "Not JSON", "Send it as `Content-Type: application/json`.")
