"""What travels. Every string that a client sends has a bound."""

import re
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
from audifi.core.http.problems import ProblemDetails
from audifi.core.http.schemas import Id, Instant, Page, RequestModel, ResponseModel


def _email(given: str) -> str:
    addresses.parse(given)
    return given


def _local_path(given: str) -> str:
    """A path of the frontend. Whatever a browser would take for another host, or a header for its end, isn't one.

    Two slashes are refused anywhere in the path: a URL parser takes dot segments out, and `/.//host` is then `//host`.
    """
    path = unquote(given.partition("?")[0].partition("#")[0])
    seen = unquote(given)
    if not (path.startswith("/") and given.startswith("/") and given.isascii()):
        raise ValueError("must be a path such as /studio?tab=2")
    if "//" in path or "\\" in seen or not seen.isprintable():
        raise ValueError("must hold neither // nor a backslash nor control characters")
    return given


def _without_blanks(given: object) -> object:
    """As people copy a code from a mail, or read it out."""
    is_short = isinstance(given, str) and len(given) <= MAX_CODE_LENGTH
    return re.sub(r"[ \u00a0-]", "", str(given)) if is_short else given


def _name(given: str) -> str:
    """Two joiners are of use in names: Persian's, and those of emoji. What looks like nothing isn't a name."""
    bare = given.replace("\u200c", "").replace("\u200d", "")
    if not bare.isprintable():
        raise ValueError("must not hold control characters")
    if not any(unicodedata.category(character)[0] in "LNPS" for character in set(bare) - BLANK):  # a mark alone isn't
        raise ValueError("must have a character that can be seen")
    return given


MAX_CODE_LENGTH = 32
# What of it a pattern can say, for the contract; `_local_path` says the rest.
LOCAL_PATH = r"^/([ -.0-\[\]-~][ -\[\]-~]*)?$"
BLANK = set("\u115f\u1160\u2800\u3164\uffa0\U0001d159 ")  # letters and symbols that are drawn as nothing
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
Code = Annotated[
    str, BeforeValidator(_without_blanks), StringConstraints(pattern=r"^[0-9]{8}$"), Field(examples=["12345678"])
]
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
    """Where the mail goes. An account is made at the first sign-in."""
    redirect_to: LocalPath | None = None
    """Where the frontend should go when it is done; kept here meanwhile, and given back by verify."""
    delivery: DeliveryField = "cookie"
    """Where flow secret and refresh token are kept: `cookie` for pages of the same site, `body` for everything else."""


class MagicLinkVerify(RequestModel):
    """`token`, from the link, or `flow_id` and `code`."""

    # Of both at once, which is what tools would show, none is taken.
    model_config = ConfigDict(json_schema_extra={"examples": [{"token": EXAMPLE, "confirm": True}]})

    token: Secret | None = None
    """What is behind `#token=` in the link."""
    confirm: StrictBool = Field(default=False, examples=[True])
    """The person has seen whose link it is, and wants to sign in here."""
    flow_id: Id | None = None
    """What the request answered; for a code."""
    code: Code | None = None
    """8 digits; blanks and hyphens between them don't count."""
    flow_secret: Secret | None = None
    """What the request answered, where `delivery` was `body`."""
    delivery: DeliveryField | None = None
    """Where to keep the refresh token, if not as the request said: for a link that is opened elsewhere. In the browser
    that asked, and has the flow secret in a cookie, it is the cookie."""

    @model_validator(mode="after")
    def _link_or_code(self) -> Self:
        by_code = self.flow_id is not None and self.code is not None and not self.confirm
        by_link = self.flow_id is None and self.code is None
        if not (by_link if self.token is not None else by_code):
            raise ValueError("must hold either token, or flow_id and code")
        return self


class RefreshRequest(RequestModel):
    refresh_token: Secret | None = None
    """Without it, the cookie counts."""


class UserUpdate(RequestModel):
    display_name: DisplayName | None
    """null removes it."""


class FlowStarted(ResponseModel):
    """A mail is on its way."""

    flow_id: Id
    """For the code."""
    expires_in: int = Field(examples=[600])
    """Seconds for which link and code are good."""
    resend_after: int = Field(examples=[60])
    """Seconds until it makes sense to offer another mail."""
    flow_secret: Secret | SkipJsonSchema[None] = Field(exclude_if=lambda value: value is None)
    """Where `delivery` is `body`: keep it until verify."""


class User(ResponseModel):
    """An account."""

    id: Id
    """Its own, for ever."""
    email: str = Field(examples=["ana@example.com"])
    """As it was written at the first sign-in, its domain in lower case and ASCII."""
    display_name: str | None = Field(examples=["Ana"])
    """What others see; null where none was chosen."""
    role: Role = Field(examples=["fan"])
    """What it may do."""
    created_at: Instant
    """When it signed in first."""


class SessionCreated(ResponseModel):
    """A session, as its tokens come with it."""

    id: Id
    """To end it by."""
    auth_time: Instant
    """When the person signed in; refreshing doesn't move it."""
    idle_expires_at: Instant
    """It ends then, unless it is refreshed before."""
    absolute_expires_at: Instant
    """It ends then."""


class Tokens(ResponseModel):
    """RFC 6749, 5.1."""

    access_token: str = Field(
        examples=["eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiIwMTkzMGI1YSJ9.c2lnbmF0dXJl"]
    )
    """Send it as `Authorization: Bearer …`. Keep it in memory alone."""
    token_type: Literal["Bearer"] = Field(examples=["Bearer"])
    """RFC 6750."""
    expires_in: int = Field(examples=[600])
    """Seconds for which the access token is good."""
    refresh_token: Secret | SkipJsonSchema[None] = Field(exclude_if=lambda value: value is None)
    """Where `delivery` is `body`. It is good for one use, and its answer holds the next."""
    session: SessionCreated
    """Whose tokens they are."""


class SignInTokens(Tokens):
    """Tokens, and what else is of use after a sign-in."""

    user: User
    """Who has signed in."""
    created: bool = Field(examples=[False])
    """Whether the account is new."""
    redirect_to: str | None = Field(examples=["/studio"])
    """What the request for the mail had."""


class Session(ResponseModel):
    """Where an account is signed in."""

    id: Id
    """To end it by."""
    current: bool = Field(examples=[True])
    """Whether it is the one that asks."""
    created_at: Instant
    """When the person signed in."""
    last_used_at: Instant
    """When it was refreshed last."""
    expires_at: Instant
    """Unless it is refreshed before."""
    user_agent: UserAgent
    """What the browser called itself when it was refreshed last."""
    ip_prefix: IpPrefix
    """The network from which that was: about where, not who."""


class Event(ResponseModel):
    """Something that happened to an account."""

    id: Id
    """Its own."""
    event: EventName = Field(examples=["session.created"])
    """What happened. There may be others in time."""
    created_at: Instant
    """When."""
    session_id: Id | None
    """Which session it was, if one."""
    detail: str | None = Field(examples=["signed_out"])
    """More, by event: why a session ended, which fields were changed, the new role."""
    user_agent: UserAgent
    """What whoever did it called itself."""
    ip_prefix: IpPrefix
    """The network it came from."""


class SessionPage(Page[Session]):
    """Sessions, the newest first."""


class EventPage(Page[Event]):
    """Events, the newest first."""


class ConfirmationRequired(ProblemDetails):
    """A link that was opened elsewhere than where it was asked for; what to show the person who is to confirm."""

    email: str = Field(examples=["a•••@example.com"])
    """Whose link it is, masked."""
    requested_at: Instant
    """When it was asked for."""
    user_agent: UserAgent
    """What the browser that asked for it called itself: text from a stranger, to be shown as such."""
