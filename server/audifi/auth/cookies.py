"""Cookies with flow secrets and refresh tokens, and the check of the page that sends them.

The prefix `__Host-` keeps other hosts of the domain, and plain http, from setting them (RFC 6265bis, 4.1.3).
"""

from dataclasses import dataclass
from typing import Literal

from fastapi import Request, Response
from fastapi.security import APIKeyCookie

from audifi.auth import problems
from audifi.auth.models import Delivery
from audifi.core.http.dependencies import services_of
from audifi.core.http.problems import Problem

type CookieName = Literal["audifi_flow", "audifi_refresh"]

FLOW: CookieName = "audifi_flow"
REFRESH: CookieName = "audifi_refresh"
# For the contract only; `read_credential` reads the cookies.
FLOW_SCHEME = APIKeyCookie(
    name=f"__Host-{FLOW}",
    scheme_name="FlowCookie",
    description="Used if `delivery` is `cookie`. Binds a link or code to the browser that requested it.",
    auto_error=False,
)
REFRESH_SCHEME = APIKeyCookie(
    name=f"__Host-{REFRESH}",
    scheme_name="RefreshCookie",
    description="Used if `delivery` is `cookie`. Sign-in and refresh set it; browsers send it automatically.",
    auto_error=False,
)
LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, kw_only=True)
class PresentedCredential:
    """A secret from the request's body or cookie."""

    value: str
    delivery: Delivery


def read_credential(request: Request, name: CookieName, in_body: str | None) -> PresentedCredential | None:
    """Return the secret from the body or the cookie.

    Raises:
        Problem: 400 if there are several; 403 or 415 if the page may not use the cookie.
    """
    cookies = _values(request, _full_name(request, name))
    if not cookies:
        return None if in_body is None else PresentedCredential(value=in_body, delivery="body")
    if in_body is not None or len(cookies) > 1:
        raise problems.token_ambiguous()
    _check_page(request)
    return PresentedCredential(value=cookies[0], delivery="cookie")


def has_cookie(request: Request, name: CookieName) -> bool:
    return bool(_values(request, _full_name(request, name)))


def set_cookie(request: Request, response: Response, name: CookieName, value: str, *, seconds: int) -> None:
    response.set_cookie(
        _full_name(request, name),
        value,
        max_age=seconds,
        path="/",
        secure=not _is_plain_local(request),
        httponly=True,
        samesite="strict",
    )


def clear_cookie(request: Request, response: Response, name: CookieName) -> None:
    set_cookie(request, response, name, "", seconds=0)


def clearing(request: Request, problem: Problem, name: CookieName) -> Problem:
    """Add a header that clears the cookie to the problem, and return it."""
    response = Response()
    clear_cookie(request, response, name)
    problem.headers.append(("Set-Cookie", response.headers["set-cookie"]))
    return problem


def _values(request: Request, name: str) -> list[str]:
    """Return all values of the cookie, comparing names byte for byte (RFC 6265, 4.2.1).

    `request.cookies` would be unsafe: Starlette strips Unicode white space from names and keeps the last value. Another
    host of the site could set a cookie named no-break space + our name, and so choose the session.
    """
    pairs = [pair.strip(" \t") for header in request.headers.getlist("cookie") for pair in header.split(";")]
    return [pair.removeprefix(f"{name}=") for pair in pairs if pair.startswith(f"{name}=")]


def _check_page(request: Request) -> None:
    """Refuse pages outside the allowed origins; SameSite=Strict alone admits every page of the site.

    A form can't send JSON, and JSON from another origin needs a CORS preflight.
    """
    headers = request.headers
    if not _is_allowed(request, headers.get("origin")) or headers.get("sec-fetch-site") == "cross-site":
        raise problems.origin_refused()
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise problems.not_json()


def _is_allowed(request: Request, origin: str | None) -> bool:
    """Return whether the origin is allowed, or is this server's own, where /docs is the only page.

    A page can't choose `Host`, and browsers send the cookies of a host to that host only.
    """
    settings = services_of(request).settings
    own_origin = f"{request.url.scheme}://{request.headers.get('host')}"
    return origin in settings.origins or (settings.docs_enabled and origin == own_origin)


def _full_name(request: Request, name: CookieName) -> str:
    return name if _is_plain_local(request) else f"__Host-{name}"


def _is_plain_local(request: Request) -> bool:
    """Return whether this is a development server over plain http, where browsers reject `__Host-` and Secure."""
    settings = services_of(request).settings
    return (
        settings.environment == "development" and request.url.scheme == "http" and request.url.hostname in LOCAL_HOSTS
    )
