"""What a client holds to prove something, made and read: access tokens, refresh tokens, links, codes, flow secrets.

Nothing here knows HTTP or the database. No kind passes for another: refresh tokens have a key of their own, derived
from JWT_SECRET (NIST SP 800-57, 5.2), and what is made with MAGIC_LINK_SECRET is an HMAC of its label and itself. A
secret's predecessor still reads what was made with it.
"""

import hmac
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from uuid import UUID, uuid4

import jwt
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from audifi.core.config.settings import Settings

ACCESS_TOKEN_LIFETIME = timedelta(minutes=10)
LEEWAY = timedelta(seconds=5)
"""How far the clocks of two machines may be apart."""

ALGORITHM = "HS256"
TYPE = "at+jwt"  # RFC 9068, 2.1
REFRESH_TOKEN = re.compile(r"art1_([A-Za-z0-9_-]{70})")
ACCESS_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,512}\.[A-Za-z0-9_-]{1,2048}\.[A-Za-z0-9_-]{1,128}")
CODE_DIGITS = 8
VERIFIED_TOKENS = 4096  # 5 MB
LABEL = b"audifi/v1/"


class InvalidTokenError(Exception):
    """It wasn't made by us, or not for this. Says no more, and holds nothing of it."""


class ExpiredTokenError(InvalidTokenError):
    """It was, but its time is over."""


class AccessTokenClaims(BaseModel):
    """The claims of an access token (RFC 9068, 2.2). Read them with `Keys.read_access_token`."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    user_id: UUID = Field(alias="sub", strict=False)
    session_id: UUID = Field(alias="sid", strict=False)
    auth_time: int
    """When the person proved who they are; seconds since 1970. Refreshing doesn't move it."""
    amr: tuple[str, ...] = Field(strict=False)
    """How they did: RFC 8176, with `email` for control of the mailbox."""
    jti: str
    iat: int
    exp: int


@dataclass(frozen=True, kw_only=True)
class RefreshToken:
    """What a refresh token says; its MAC can be checked only with the session's nonce."""

    session_id: UUID
    generation: int
    mac: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Link:
    """What a mail carries."""

    token: str = field(repr=False)
    """32 bytes in base64url."""
    code: str = field(repr=False)
    """8 decimal digits."""


class Keys:
    """Everything that is made with JWT_SECRET and MAGIC_LINK_SECRET. The first of each pair makes; both read."""

    def __init__(self, settings: Settings) -> None:
        jwt_secrets = _present(settings.jwt_secret, settings.jwt_secret_previous)
        link_secrets = _present(settings.magic_link_secret, settings.magic_link_secret_previous)
        self._signing = {_mac(secret, "kid").hex()[:16]: secret for secret in jwt_secrets}
        self._refresh = [_mac(secret, "refresh token") for secret in jwt_secrets]
        self._links = link_secrets
        self._issuer = f"https://{settings.fly_app_name}.fly.dev"
        self._audience = settings.fly_app_name
        # A client sends its token with each request for 10 minutes. What isn't ours isn't kept, so nobody can push
        # those out with it. Times are looked at each time, and so is whether the session was revoked.
        self._verified = lru_cache(VERIFIED_TOKENS)(self._verify)

    def make_access_token(
        self, *, user_id: UUID, session_id: UUID, auth_time: datetime, amr: list[str], now: datetime, until: datetime
    ) -> tuple[str, int]:
        """A signed token and the seconds for which it is good: 10 minutes, or less where the session ends before."""
        lifetime = min(ACCESS_TOKEN_LIFETIME, until - now)
        issued_at = int(now.timestamp())
        seconds = int(lifetime.total_seconds())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": str(user_id),
            "sid": str(session_id),
            "jti": uuid4().hex,
            "iat": issued_at,
            "exp": issued_at + seconds,
            "auth_time": int(auth_time.timestamp()),
            "amr": amr,
        }
        kid, secret = next(iter(self._signing.items()))
        return jwt.encode(claims, secret, algorithm=ALGORITHM, headers={"typ": TYPE, "kid": kid}), seconds

    def read_access_token(self, token: str, *, now: datetime, expired_too: bool = False) -> AccessTokenClaims:
        """What it says, once its signature, type, issuer, audience and times are right.

        Args:
            expired_too: its time may be over, for what an old token can't do harm with: to sign out.

        Raises:
            ExpiredTokenError: all but its time is right.
            InvalidTokenError: anything else.
        """
        access = self._verified(token)
        at = now.timestamp()
        leeway = LEEWAY.total_seconds()
        if access.iat > at + leeway:
            raise InvalidTokenError
        if access.exp <= at - leeway and not expired_too:
            raise ExpiredTokenError
        return access

    def _verify(self, token: str) -> AccessTokenClaims:
        """All of it that doesn't change with time."""
        if not ACCESS_TOKEN.fullmatch(token):
            raise InvalidTokenError
        try:
            header = jwt.get_unverified_header(token)
            # `crit` names extensions that we would have to understand (RFC 7515, 4.1.11), and we know none.
            if header.get("typ") != TYPE or "crit" in header:
                raise InvalidTokenError
            claims = jwt.decode(
                token,
                self._signing[header["kid"]],
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                audience=self._audience,
                options={
                    "require": ["iss", "aud", "sub", "sid", "jti", "iat", "exp", "auth_time", "amr"],
                    "strict_aud": True,
                    "enforce_minimum_key_length": True,
                    # By our clock, below.
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
            access = AccessTokenClaims.model_validate(claims)
        except (jwt.PyJWTError, KeyError, TypeError, ValidationError):
            raise InvalidTokenError from None
        if "nbf" in claims:
            raise InvalidTokenError
        return access

    def make_refresh_token(self, *, session_id: UUID, nonce: bytes, generation: int) -> str:
        """`art1_` and, in base64url, session id (16 bytes), generation (4), HMAC-SHA256 (32).

        The same three make the same token, so that a client that asks twice gets one answer.
        """
        body = session_id.bytes + generation.to_bytes(4)
        return "art1_" + _encode(body + _mac(self._refresh[0], "refresh token", nonce, body))

    def read_refresh_token(self, token: str) -> RefreshToken:
        """
        Raises:
            InvalidTokenError: it isn't one. Whether we made it, `is_genuine` tells.
        """
        match = REFRESH_TOKEN.fullmatch(token)
        if not match:
            raise InvalidTokenError
        raw = _decode(match[1])
        return RefreshToken(session_id=UUID(bytes=raw[:16]), generation=int.from_bytes(raw[16:20]), mac=raw[20:])

    def is_genuine(self, token: RefreshToken, *, nonce: bytes) -> bool:
        body = token.session_id.bytes + token.generation.to_bytes(4)
        expected = [_mac(key, "refresh token", nonce, body) for key in self._refresh]
        return sum(hmac.compare_digest(token.mac, mac) for mac in expected) > 0  # compares with each, whatever it finds

    def links(self, seed: bytes) -> list[Link]:
        """The link that a seed stands for, under the current secret, and the one before.

        The seed waits in the queue with its mail; to make the link of it takes the secret, too. So a link is nowhere in
        the database, neither as it is nor encrypted, and can still be mailed by any machine.
        """
        return [
            Link(
                token=_encode(_mac(secret, "link token", seed)),
                # Each code is as likely as any other: what the remainder of 256 bits favours is nothing.
                code=f"{int.from_bytes(_mac(secret, 'code', seed)) % 10**CODE_DIGITS:0{CODE_DIGITS}}",
            )
            for secret in self._links
        ]

    def digests(self, kind: str, *values: bytes | str) -> list[bytes]:
        """How a link's token, a code or a flow secret is stored: under the current secret, and the one before.

        Args:
            kind: what it is; no digest of one kind is one of another.
            values: what is hidden, with what it belongs to.
        """
        parts = [value.encode() if isinstance(value, str) else value for value in values]
        return [_mac(secret, f"digest of {kind}", *parts) for secret in self._links]


def new_secret() -> str:
    """32 random bytes, as text."""
    return _encode(secrets.token_bytes(32))


def _present(*values: SecretStr | None) -> list[bytes]:
    return [value.get_secret_value().encode() for value in values if value is not None]


def _mac(key: bytes, label: str, *parts: bytes) -> bytes:
    """HMAC-SHA256 over the label and the parts, each with its length, so that no two lists of parts read alike."""
    message = b"".join(len(part).to_bytes(4) + part for part in (LABEL + label.encode(), *parts))
    return hmac.digest(key, message, "sha256")


def _encode(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    """
    Raises:
        InvalidTokenError: it isn't base64url as `_encode` writes it (RFC 4648, 3.5: unused bits are zero).
    """
    raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _encode(raw) != text:
        raise InvalidTokenError
    return raw
