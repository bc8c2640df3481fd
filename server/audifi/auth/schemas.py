"""Request and response schemas. Every string from a client has a maximum length."""

import unicodedata
from typing import Annotated, Literal, Self
from urllib.parse import unquote

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from audifi.auth import addresses
from audifi.auth.models import Delivery, EventName, Role
from audifi.auth.pasted_text import normalize_code
from audifi.core.http.problems import ProblemDetails
from audifi.core.http.schemas import Id, Instant, Page, RequestModel, ResponseModel


def _email(value: str) -> str:
    addresses.parse(value)
    return value


def _local_path(value: str) -> str:
    """Accept a path of the frontend; reject what a browser could read as another host, or what could end a header.

    Two slashes are rejected anywhere in the path: a URL parser removes dot segments and turns `/.//host` into `//host`.
    """
    path = unquote(value.partition("?")[0].partition("#")[0])
    decoded = unquote(value)
    if not (path.startswith("/") and value.startswith("/") and value.isascii()):
        raise ValueError("must be a path such as /studio?tab=2")
    if "//" in path or "\\" in decoded or not decoded.isprintable():
        raise ValueError("must not contain //, backslashes or control characters")
    return value


def _digits(value: object) -> object:
    """Remove what people type or copy with a code."""
    return normalize_code(value) if isinstance(value, str) and len(value) <= MAX_CODE_LENGTH else value


def _name(value: str) -> str:
    """Reject invisible names. Zero-width joiners are allowed: Persian names and emoji need them."""
    bare = value.replace("\u200c", "").replace("\u200d", "")
    if not bare.isprintable():
        raise ValueError("must not contain control characters")
    # A combining mark alone is invisible.
    if not any(unicodedata.category(character)[0] in "LNPS" for character in set(bare) - BLANK):
        raise ValueError("must contain a visible character")
    return value


MAX_CODE_LENGTH = 32
# The part of `_local_path` that a pattern can express, for the contract.
LOCAL_PATH = r"^/([ -.0-\[\]-~][ -\[\]-~]*)?$"
BLANK = set("\u115f\u1160\u2800\u3164\uffa0\U0001d159 ")  # letters and symbols without a visible glyph
Email = Annotated[
    str,
    Field(max_length=320, examples=["ana@example.com"], json_schema_extra={"format": "email"}),
    AfterValidator(_email),
]
LocalPath = Annotated[
    str,
    Field(max_length=2048, examples=["/studio"], json_schema_extra={"pattern": LOCAL_PATH}),
    AfterValidator(_local_path),
]
EXAMPLE = "TyJ12MljJlvea_VP5JEIw600fQNBIxWAj8WgMOspt2E"
Secret = Annotated[
    str,
    StringConstraints(min_length=1, max_length=4096, pattern=r"^[!-~]*$"),
    Field(examples=[EXAMPLE]),
]
Code = Annotated[str, BeforeValidator(_digits), StringConstraints(pattern=r"^[0-9]{8}$"), Field(examples=["12345678"])]
DisplayName = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=80),
    AfterValidator(_name),
    Field(examples=["Ana"]),
]
DeliveryField = Annotated[Delivery, Field(examples=["cookie"])]
UserAgent = Annotated[str | None, Field(examples=["Mozilla/5.0 (X11; Linux x86_64) Firefox/145.0"])]
IpPrefix = Annotated[str | None, Field(examples=["203.0.113.0/24"])]


class MagicLinkRequest(RequestModel):
    email: Email
    """The recipient; white space around the address is ignored. The first sign-in creates the account."""
    redirect_to: LocalPath | None = None
    """The page of the frontend to open after sign-in; verify returns it."""
    delivery: DeliveryField = "cookie"
    """Where the client keeps the flow secret and the refresh token: `cookie` for pages of the same site, `body` for all
    other clients."""


class MagicLinkVerify(RequestModel):
    """`token`, from the link, or `flow_id` and `code`."""

    # Tools would generate an example with both, which is invalid. /docs shows the first.
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"flow_id": "01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17", "code": "12345678"},
                {"token": EXAMPLE, "confirm": True},
            ]
        }
    )

    token: Secret | None = None
    """The value of `#token=` in the link."""
    confirm: StrictBool = Field(default=False, examples=[True])
    """`true` if the person has seen the link's address and confirms the sign-in in this browser."""
    flow_id: Id | None = None
    """`flow_id` from the response to the request. Required with `code`."""
    code: Code | None = None
    """8 digits, of any script; white space, hyphens and invisible characters are ignored."""
    flow_secret: Secret | None = None
    """`flow_secret` from the response to the request, if its `delivery` was `body`."""
    delivery: DeliveryField | None = None
    """Overrides the request's `delivery`, for a link that is opened on another device. Ignored if the flow secret is in
    a cookie: the refresh token is then set as a cookie, too."""

    @model_validator(mode="after")
    def _link_or_code(self) -> Self:
        by_code = self.flow_id is not None and self.code is not None and not self.confirm
        by_link = self.flow_id is None and self.code is None
        if not (by_link if self.token is not None else by_code):
            raise ValueError("must contain either token, or flow_id and code")
        return self


class RefreshRequest(RequestModel):
    # /docs shows the first, which is right in browsers: a token beside the cookie would be refused.
    model_config = ConfigDict(json_schema_extra={"examples": [{}, {"refresh_token": EXAMPLE}]})

    refresh_token: Secret | None = None
    """If absent, the cookie is used."""


class UserUpdate(RequestModel):
    display_name: DisplayName | None
    """null removes it."""


class FlowStarted(ResponseModel):
    """A started sign-in: the e-mail is queued."""

    flow_id: Id
    """Send it to verify together with the code."""
    expires_in: int = Field(examples=[600])
    """Seconds until the link and the code expire."""
    resend_after: int = Field(examples=[60])
    """Seconds to wait before offering another e-mail."""
    flow_secret: Secret | SkipJsonSchema[None] = Field(exclude_if=lambda value: value is None)
    """Present if `delivery` is `body`. Keep it for verify."""


class User(ResponseModel):
    """An account."""

    id: Id
    """Permanent id."""
    email: str = Field(examples=["ana@example.com"])
    """As written at the first sign-in, with the domain in lower case and ASCII."""
    display_name: str | None = Field(examples=["Ana"])
    """The name that other users see; null if none is set."""
    role: Role = Field(examples=["fan"])
    """Whether it is an administrator's. All other accounts may do the same: fans, too, register masters."""
    created_at: Instant
    """Time of the first sign-in."""


class SessionCreated(ResponseModel):
    """The session of the tokens."""

    id: Id
    """Permanent id; use it to end the session."""
    auth_time: Instant
    """Time of the sign-in. A refresh doesn't change it."""
    idle_expires_at: Instant
    """Time at which the session ends unless it is refreshed."""
    absolute_expires_at: Instant
    """Time at which the session ends in any case."""


class Tokens(ResponseModel):
    """An access token response (RFC 6749, 5.1)."""

    access_token: str = Field(
        examples=["eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiIwMTkzMGI1YSJ9.c2lnbmF0dXJl"]
    )
    """Send it as `Authorization: Bearer …`. Keep it in memory only."""
    token_type: Literal["Bearer"] = Field(examples=["Bearer"])
    """Always `Bearer` (RFC 6750)."""
    expires_in: int = Field(examples=[600])
    """Seconds until the access token expires."""
    refresh_token: Secret | SkipJsonSchema[None] = Field(exclude_if=lambda value: value is None)
    """Present if `delivery` is `body`. It works once; the response to a refresh contains the next one."""
    session: SessionCreated
    """The session that the tokens belong to."""


class SignInTokens(Tokens):
    """The result of a sign-in."""

    user: User
    """The account that signed in."""
    created: bool = Field(examples=[False])
    """Whether this sign-in created the account."""
    redirect_to: str | None = Field(examples=["/studio"])
    """`redirect_to` from the request for the e-mail."""


class Session(ResponseModel):
    """A session of an account, on one device."""

    id: Id
    """Permanent id; use it to end the session."""
    current: bool = Field(examples=[True])
    """Whether this request belongs to it."""
    created_at: Instant
    """Time of the sign-in."""
    last_used_at: Instant
    """Time of the last refresh."""
    expires_at: Instant
    """Time at which the session ends unless it is refreshed."""
    user_agent: UserAgent
    """The `User-Agent` of the last refresh."""
    ip_prefix: IpPrefix
    """The client's network at the last refresh: its address, shortened."""


class Event(ResponseModel):
    """An entry of the account's audit log."""

    id: Id
    """Permanent id."""
    event: EventName = Field(examples=["session.created"])
    """The kind of event. More kinds may be added."""
    created_at: Instant
    """Time of the event."""
    session_id: Id | None
    """The session concerned, if any."""
    detail: str | None = Field(examples=["signed_out"])
    """Depends on the event: why a session ended, the changed fields, the new role."""
    user_agent: UserAgent
    """The `User-Agent` of the request."""
    ip_prefix: IpPrefix
    """The client's network: its address, shortened."""


class SessionPage(Page[Session]):
    """Sessions, newest first."""


class ActivityPage(Page[Event]):
    """Events, newest first."""


class ConfirmationRequired(ProblemDetails):
    """The link was opened in another browser than the one that requested it. Show these members to the person."""

    email: str = Field(examples=["a•••@example.com"])
    """The link's address, masked."""
    requested_at: Instant
    """Time of the request."""
    user_agent: UserAgent
    """The `User-Agent` of the request: untrusted text."""
