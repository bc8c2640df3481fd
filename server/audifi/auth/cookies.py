"""Flow secrets and refresh tokens in a browser's cookies, and which pages may use them.

RFC 6265bis, 4.1.3: the prefix `__Host-` keeps other hosts of the domain, and plain http, from setting them.
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
# For the contract; `read_credential` reads the cookies itself.
FLOW_SCHEME = APIKeyCookie(
    name=f"__Host-{FLOW}",
    scheme_name="FlowCookie",
    description="Where `delivery` is `cookie`: ties a link or code to the browser that asked for it.",
    auto_error=False,
)
REFRESH_SCHEME = APIKeyCookie(
    name=f"__Host-{REFRESH}",
    scheme_name="RefreshCookie",
    description="Where `delivery` is `cookie`: set by sign-in and refresh, and sent by browsers themselves.",
    auto_error=False,
)
LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, kw_only=True)
class PresentedCredential:
    """A secret that a request carries, in the body or in a cookie."""

    value: str
    delivery: Delivery


def read_credential(request: Request, name: CookieName, in_body: str | None) -> PresentedCredential | None:
    """Return the secret from the body or the cookie.

    Raises:
        Problem: 400 if it is in both, or twice; 403 or 415 if the cookie comes from a page that may not use it.
    """
    cookies = _values(request, _full_name(request, name))
    if not cookies:
        return None if in_body is None else PresentedCredential(value=in_body, delivery="body")
    if in_body is not None or len(cookies) > 1:
        raise problems.token_ambiguous()
    _check_page(request)
    return PresentedCredential(value=cookies[0], delivery="cookie")


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
    """The problem, with an answer that clears the cookie."""
    response = Response()
    clear_cookie(request, response, name)
    problem.headers.append(("Set-Cookie", response.headers["set-cookie"]))
    return problem


def _values(request: Request, name: str) -> list[str]:
    """All that the Cookie headers have by this name, byte for byte (RFC 6265, 4.2.1).

    Not `request.cookies`: Starlette strips what Python takes for a blank, and lets the last one win. Another host of
    the site can set a cookie whose name is a no-break space and then ours, and would choose whose session it is.
    """
    pairs = [pair.strip(" \t") for header in request.headers.getlist("cookie") for pair in header.split(";")]
    return [pair.removeprefix(f"{name}=") for pair in pairs if pair.startswith(f"{name}=")]


def _check_page(request: Request) -> None:
    """SameSite=Strict lets pages of the same site send cookies; this, only those of origins that are named.

    A form can't send JSON, and a page of another origin that sends it asks first (CORS).
    """
    settings = services_of(request).settings
    headers = request.headers
    if headers.get("origin") not in settings.origins or headers.get("sec-fetch-site") == "cross-site":
        raise problems.origin_refused()
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise problems.not_json()


def _full_name(request: Request, name: CookieName) -> str:
    return name if _is_plain_local(request) else f"__Host-{name}"


def _is_plain_local(request: Request) -> bool:
    """Browsers take neither the prefix nor Secure over plain http; a developer's server has nothing else."""
    settings = services_of(request).settings
    return (
        settings.environment == "development" and request.url.scheme == "http" and request.url.hostname in LOCAL_HOSTS
    )
