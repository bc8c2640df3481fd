"""What travels. Requests refuse fields that they don't know; every string has a bound."""

import re
from datetime import datetime
from typing import Annotated, Literal, Self
from urllib.parse import unquote
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    model_validator,
)

from audifi.auth import addresses
from audifi.auth.models import Delivery, EventName, Role


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
    if not set(bare) - BLANK:
        raise ValueError("must have a character that can be seen")
    return given


MAX_CODE_LENGTH = 32
BLANK = set("\u115f\u1160\u2800\u3164\uffa0 ")  # letters and symbols that are drawn as nothing
Email = Annotated[str, Field(max_length=320, examples=["ana@example.com"]), AfterValidator(_email)]
LocalPath = Annotated[str, Field(max_length=2048, examples=["/studio"]), AfterValidator(_local_path)]
Secret = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[!-~]*$")]
Code = Annotated[
    str, BeforeValidator(_without_blanks), StringConstraints(pattern=r"^[0-9]{8}$"), Field(examples=["12345678"])
]
DisplayName = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=80),
    AfterValidator(_name),
    Field(examples=["Ana"]),
]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class MagicLinkRequest(Body):
    email: Email
    redirect_to: LocalPath | None = None
    """Where the frontend should go when it is done; kept here meanwhile, and given back by verify."""
    delivery: Delivery = "cookie"
    """Where flow secret and refresh token are kept: `cookie` for pages of the same site, `body` for everything else."""


class MagicLinkVerify(Body):
    """`token`, from the link, or `flow_id` and `code`."""

    token: Secret | None = None
    confirm: StrictBool = False
    """The person has seen whose link it is, and wants to sign in here."""
    flow_id: UUID | None = None
    code: Code | None = None
    """8 digits; blanks and hyphens between them don't count."""
    flow_secret: Secret | None = None
    """What the request answered, where `delivery` was `body`."""
    delivery: Delivery | None = None
    """Where to keep the refresh token, if not as the request said: for a link that is opened elsewhere."""

    @model_validator(mode="after")
    def _link_or_code(self) -> Self:
        by_code = self.flow_id is not None and self.code is not None and not self.confirm
        by_link = self.flow_id is None and self.code is None
        if not (by_link if self.token is not None else by_code):
            raise ValueError("must hold either token, or flow_id and code")
        return self


class RefreshRequest(Body):
    refresh_token: Secret | None = None
    """Without it, the cookie counts."""


class UserUpdate(Body):
    display_name: DisplayName | None
    """null removes it."""


class FlowStarted(BaseModel):
    flow_id: UUID
    expires_in: int
    """Seconds for which link and code are good."""
    resend_after: int
    """Seconds until it makes sense to offer another mail."""
    flow_secret: str | None = Field(exclude_if=lambda value: value is None)
    """Where `delivery` is `body`: keep it until verify."""


class User(BaseModel):
    id: UUID
    email: str
    display_name: str | None
    role: Role
    created_at: datetime


class SessionCreated(BaseModel):
    id: UUID
    auth_time: datetime
    """When the person signed in; refreshing doesn't move it."""
    idle_expires_at: datetime
    """It ends then, unless it is refreshed before."""
    absolute_expires_at: datetime
    """It ends then."""


class Tokens(BaseModel):
    """RFC 6749, 5.1."""

    access_token: str
    """Send it as `Authorization: Bearer …`. Keep it in memory alone."""
    token_type: Literal["Bearer"]
    expires_in: int
    """Seconds."""
    refresh_token: str | None = Field(exclude_if=lambda value: value is None)
    """Where `delivery` is `body`. It is good for one use, and its answer holds the next."""
    session: SessionCreated


class SignInTokens(Tokens):
    user: User
    created: bool
    """Whether the account is new."""
    redirect_to: str | None


class Session(BaseModel):
    id: UUID
    current: bool
    """Whether it is the one that asks."""
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    """Unless it is used before."""
    user_agent: str | None
    ip_prefix: str | None
    """The network from which it was last used: about where, not who."""


class Event(BaseModel):
    id: UUID
    event: EventName
    created_at: datetime
    session_id: UUID | None
    detail: str | None
    user_agent: str | None
    ip_prefix: str | None


class Page[Item](BaseModel):
    data: list[Item]
    next_cursor: str | None
    """Give it as `cursor` to get what follows; null at the end."""
