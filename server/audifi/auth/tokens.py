"""Make and verify access tokens, refresh tokens, links, codes and flow secrets.

Independent of HTTP and the database. No kind is accepted as another: refresh tokens have their own key, derived from
JWT_SECRET (NIST SP 800-57, 5.2), and each HMAC with MAGIC_LINK_SECRET includes a label. The previous secrets still
verify.
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
"""The tolerated clock difference between two machines."""

ALGORITHM = "HS256"
TYPE = "at+jwt"  # RFC 9068, 2.1
REFRESH_TOKEN = re.compile(r"art1_([A-Za-z0-9_-]{70})")
ACCESS_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,512}\.[A-Za-z0-9_-]{1,2048}\.[A-Za-z0-9_-]{1,128}")
CODE_DIGITS = 8
TEST_DOMAIN = "@example.com"  # RFC 2606: nobody has a mailbox there
VERIFIED_TOKENS = 4096  # 5 MB
LABEL = b"audifi/v1/"


class InvalidTokenError(Exception):
    """The token is malformed, forged or meant for something else. The message contains no part of it."""


class ExpiredTokenError(InvalidTokenError):
    """The token is genuine but expired."""


class AccessTokenClaims(BaseModel):
    """The claims of an access token (RFC 9068, 2.2). Read them with `Keys.read_access_token`."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    user_id: UUID = Field(alias="sub", strict=False)
    session_id: UUID = Field(alias="sid", strict=False)
    auth_time: int
    """Time of the sign-in, in seconds since 1970. A refresh doesn't change it."""
    amr: tuple[str, ...] = Field(strict=False)
    """The authentication methods (RFC 8176), with `email` for control of the mailbox."""
    jti: str
    iat: int
    exp: int


@dataclass(frozen=True, kw_only=True)
class RefreshToken:
    """The parts of a refresh token; verifying its MAC needs the session's nonce."""

    session_id: UUID
    generation: int
    mac: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Link:
    """The link token and code of an e-mail."""

    token: str = field(repr=False)
    """32 bytes in base64url."""
    code: str = field(repr=False)
    """8 decimal digits."""


class Keys:
    """All operations with JWT_SECRET and MAGIC_LINK_SECRET. Current secrets sign; current and previous ones verify."""

    def __init__(self, settings: Settings) -> None:
        jwt_secrets = _present(settings.jwt_secret, settings.jwt_secret_previous)
        link_secrets = _present(settings.magic_link_secret, settings.magic_link_secret_previous)
        self._signing = {_mac(secret, "kid").hex()[:16]: secret for secret in jwt_secrets}
        self._refresh = [_mac(secret, "refresh token") for secret in jwt_secrets]
        self._links = link_secrets
        self._test_code = settings.test_code
        self._issuer = f"https://{settings.fly_app_name}.fly.dev"
        self._audience = settings.fly_app_name
        # A client sends its token with each request for 10 minutes. Only genuine tokens are cached, so forged ones
        # can't evict them. Expiry and revocation are checked each time.
        self._verified = lru_cache(VERIFIED_TOKENS)(self._verify)

    def make_access_token(
        self, *, user_id: UUID, session_id: UUID, auth_time: datetime, amr: list[str], now: datetime, until: datetime
    ) -> tuple[str, int]:
        """Return a signed token and its lifetime in seconds: 10 minutes, or less if the session ends before."""
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
        """Verify signature, type, issuer, audience and times, and return the claims.

        Args:
            expired_too: accept an expired token, where it is harmless: at sign-out.

        Raises:
            ExpiredTokenError: it is genuine but expired.
            InvalidTokenError: it is invalid otherwise.
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
        """Verify everything except the times."""
        if not ACCESS_TOKEN.fullmatch(token):
            raise InvalidTokenError
        try:
            header = jwt.get_unverified_header(token)
            # `crit` names extensions that must be understood (RFC 7515, 4.1.11); we support none.
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
                    # `read_access_token` checks the times, by the injected clock.
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
        """Return `art1_` and, in base64url, session id (16 bytes), generation (4), HMAC-SHA256 (32).

        The token is deterministic, so a client that repeats a refresh gets the same one.
        """
        body = session_id.bytes + generation.to_bytes(4)
        return "art1_" + _encode(body + _mac(self._refresh[0], "refresh token", nonce, body))

    def read_refresh_token(self, token: str) -> RefreshToken:
        """Parse a refresh token; `is_genuine` verifies it.

        Raises:
            InvalidTokenError: it is malformed.
        """
        match = REFRESH_TOKEN.fullmatch(token)
        if not match:
            raise InvalidTokenError
        raw = _decode(match[1])
        return RefreshToken(session_id=UUID(bytes=raw[:16]), generation=int.from_bytes(raw[16:20]), mac=raw[20:])

    def is_genuine(self, token: RefreshToken, *, nonce: bytes) -> bool:
        body = token.session_id.bytes + token.generation.to_bytes(4)
        expected = [_mac(key, "refresh token", nonce, body) for key in self._refresh]
        return sum(hmac.compare_digest(token.mac, mac) for mac in expected) > 0  # no early exit

    def links(self, seed: bytes, *, email: str) -> list[Link]:
        """Return the links to an address, derived from a seed with the current and the previous secret.

        The queued job contains only the seed, so the database contains no link, not even encrypted, and any machine
        with the secret can send the e-mail.
        """
        return [
            Link(
                token=_encode(_mac(secret, "link token", seed)),
                code=self._code(secret, seed, email),
            )
            for secret in self._links
        ]

    def _code(self, secret: bytes, seed: bytes, email: str) -> str:
        if self._test_code and email.endswith(TEST_DOMAIN):
            return self._test_code
        # The modulo bias of 256 bits is negligible.
        return f"{int.from_bytes(_mac(secret, 'code', seed)) % 10**CODE_DIGITS:0{CODE_DIGITS}}"

    def digests(self, kind: str, *values: bytes | str) -> list[bytes]:
        """Return the stored digest of a link token, code or flow secret, with the current and the previous secret.

        Args:
            kind: separates the digests of different kinds.
            values: the secret, and what it is bound to.
        """
        parts = [value.encode() if isinstance(value, str) else value for value in values]
        return [_mac(secret, f"digest of {kind}", *parts) for secret in self._links]


def new_secret() -> str:
    """Return 32 random bytes in base64url."""
    return _encode(secrets.token_bytes(32))


def _present(*values: SecretStr | None) -> list[bytes]:
    return [value.get_secret_value().encode() for value in values if value is not None]


def _mac(key: bytes, label: str, *parts: bytes) -> bytes:
    """Return HMAC-SHA256 over the label and the parts, each prefixed with its length to prevent ambiguity."""
    message = b"".join(len(part).to_bytes(4) + part for part in (LABEL + label.encode(), *parts))
    return hmac.digest(key, message, "sha256")


def _encode(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    """Decode canonical base64url.

    Raises:
        InvalidTokenError: it differs from what `_encode` returns (RFC 4648, 3.5: unused bits are zero).
    """
    raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _encode(raw) != text:
        raise InvalidTokenError
    return raw
