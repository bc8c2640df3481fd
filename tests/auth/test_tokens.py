"""Making and verifying tokens, without HTTP and database."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from audifi.auth import tokens
from audifi.auth.tokens import ExpiredTokenError, InvalidTokenError, Keys, new_secret
from audifi.core.config.settings import Settings

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
USER, SESSION = UUID(int=1), UUID(int=2)
EMAIL = "ana@example.com"
OLD, NEW, OTHER = ("a" * 32, "b" * 32, "c" * 32)


def keys(current: str = NEW, previous: str | None = None, app: str = "audifi-api") -> Keys:
    secrets: dict[str, Any] = {
        "jwt_secret": SecretStr(current),
        "magic_link_secret": SecretStr(current + "m"),
        "jwt_secret_previous": previous and SecretStr(previous),
        "magic_link_secret_previous": previous and SecretStr(previous + "m"),
    }
    return Keys(Settings.model_construct(fly_app_name=app, **secrets))


def access(made_by: Keys, until: datetime = NOW + timedelta(days=1)) -> str:
    token, _ = made_by.make_access_token(
        user_id=USER, session_id=SESSION, auth_time=NOW - timedelta(hours=1), amr=["email"], now=NOW, until=until
    )
    return token


def test_access_token_round_trips() -> None:
    token = keys().read_access_token(access(keys()), now=NOW)

    assert (token.user_id, token.session_id, token.amr) == (USER, SESSION, ("email",))
    assert token.auth_time == (NOW - timedelta(hours=1)).timestamp()
    assert (token.iat, token.exp) == (NOW.timestamp(), NOW.timestamp() + 600)


def test_cache_of_verified_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "VERIFIED_TOKENS", 2)
    reader, kept = keys(), [access(keys()) for _ in range(3)]
    for token in (*kept, kept[2], kept[0]):
        reader.read_access_token(token, now=NOW)

    assert reader._verified.cache_info() == (1, 4, 2, 2)  # noqa: SLF001 - hits, misses, maximum size, size


@pytest.mark.parametrize(
    ("seconds", "good"), [(-6, False), (-5, True), (0, True), (604, True), (604.9, True), (605, False), (9999, False)]
)
def test_access_token_lifetime_includes_clock_leeway(seconds: float, *, good: bool) -> None:
    token, at = access(keys()), NOW + timedelta(seconds=seconds)
    if good:
        assert keys().read_access_token(token, now=at).session_id == SESSION
    else:
        with pytest.raises(ExpiredTokenError if seconds > 0 else InvalidTokenError):
            keys().read_access_token(token, now=at)


def test_expired_access_token_is_read_if_allowed() -> None:
    at = NOW + timedelta(days=1)

    assert keys().read_access_token(access(keys()), now=at, expired_too=True).session_id == SESSION


def test_access_token_expires_with_its_session() -> None:
    token, seconds = keys().make_access_token(
        user_id=USER, session_id=SESSION, auth_time=NOW, amr=[], now=NOW, until=NOW + timedelta(seconds=90)
    )

    assert seconds == 90
    assert keys().read_access_token(token, now=NOW).exp == NOW.timestamp() + 90


def test_access_tokens_are_unique() -> None:
    assert access(keys()) != access(keys())


def test_previous_secret_verifies_until_it_is_removed() -> None:
    token, refresh = access(keys(OLD)), refresh_token(keys(OLD))
    [link] = keys(OLD).links(b"seed", email=EMAIL)
    rotated = keys(NEW, OLD)

    assert rotated.read_access_token(token, now=NOW).session_id == SESSION
    assert rotated.is_genuine(rotated.read_refresh_token(refresh), nonce=b"nonce")
    assert link in rotated.links(b"seed", email=EMAIL)
    assert keys(OLD).digests("link token", link.token)[0] in rotated.digests("link token", link.token)
    for stranger in (keys(NEW), keys(NEW, OTHER)):
        with pytest.raises(InvalidTokenError):
            stranger.read_access_token(token, now=NOW)
        assert not stranger.is_genuine(stranger.read_refresh_token(refresh), nonce=b"nonce")
        assert link not in stranger.links(b"seed", email=EMAIL)


def test_only_the_current_secret_signs() -> None:
    rotated = keys(NEW, OLD)

    assert keys(NEW).read_access_token(access(rotated), now=NOW).session_id == SESSION
    assert refresh_token(rotated) == refresh_token(keys(NEW))
    assert rotated.links(b"seed", email=EMAIL)[0] == keys(NEW).links(b"seed", email=EMAIL)[0]
    assert rotated.digests("code", "1")[0] == keys(NEW).digests("code", "1")[0]


def test_production_refuses_tokens_of_staging() -> None:
    with pytest.raises(InvalidTokenError):
        keys().read_access_token(access(keys(app="audifi-api-staging")), now=NOW)


def refresh_token(made_by: Keys, session_id: UUID = SESSION, nonce: bytes = b"nonce", generation: int = 7) -> str:
    return made_by.make_refresh_token(session_id=session_id, nonce=nonce, generation=generation)


@given(session_id=st.uuids(), generation=st.integers(0, 2**31 - 1), nonce=st.binary(min_size=32, max_size=32))
def test_refresh_token_round_trips(session_id: UUID, generation: int, nonce: bytes) -> None:
    text = refresh_token(keys(), session_id, nonce, generation)
    token = keys().read_refresh_token(text)

    assert (token.session_id, token.generation) == (session_id, generation)
    assert keys().is_genuine(token, nonce=nonce)
    assert text == refresh_token(keys(), session_id, nonce, generation)
    assert not keys().is_genuine(token, nonce=nonce[::-1] + b"x")
    assert "mac" not in repr(token)


@given(position=st.integers(0, 51), bit=st.integers(0, 7))
def test_refresh_token_with_a_changed_bit_is_not_genuine(position: int, bit: int) -> None:
    raw = bytearray(urlsafe_b64decode(refresh_token(keys()).removeprefix("art1_") + "=="))
    raw[position] ^= 1 << bit
    changed = keys().read_refresh_token("art1_" + urlsafe_b64encode(raw).rstrip(b"=").decode())

    assert not keys().is_genuine(changed, nonce=b"nonce")


@given(st.text(max_size=100))
def test_malformed_token_is_invalid(text: str) -> None:
    with pytest.raises(InvalidTokenError):
        keys().read_refresh_token(text)
    with pytest.raises(InvalidTokenError):
        keys().read_access_token(text, now=NOW)


def test_refresh_token_encoding_is_canonical() -> None:
    """The last character has four unused bits, which must be zero (RFC 4648, 3.5)."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    by_end = {text[-1]: text for text in (refresh_token(keys(), generation=number) for number in range(100))}
    assert set(by_end) == set("AQgw")
    for end, text in by_end.items():
        first = alphabet.index(end)
        for other in alphabet[first + 1 : first + 16]:
            with pytest.raises(InvalidTokenError):
                keys().read_refresh_token(text[:-1] + other)


def test_codes_have_eight_digits() -> None:
    codes = {keys().links(str(number).encode(), email=EMAIL)[0].code for number in range(2000)}

    assert {len(code) for code in codes} == {8}
    assert any(code.startswith("0") for code in codes)
    assert len(codes) > 1990
    assert all(code.isdecimal() for code in codes)
    assert max(codes) > "99"  # all 10 ** 8 codes are equally likely


def test_digests_differ_by_kind_and_flow() -> None:
    made = [
        keys().digests("code", b"flow", "12345678"),
        keys().digests("code", b"flo", "w12345678"),
        keys().digests("code", b"other", "12345678"),
        keys().digests("link token", b"flow", "12345678"),
    ]

    assert len({digest for digests in made for digest in digests}) == 4
    assert {len(digest) for digests in made for digest in digests} == {32}


def test_tokens_of_earlier_releases_are_read() -> None:
    """Signing and verifying could change together unnoticed, and sign everyone out at the next deploy."""
    [link] = keys().links(b"seed", email=EMAIL)

    assert refresh_token(keys()) == "art1_AAAAAAAAAAAAAAAAAAAAAgAAAAfaz5Zw5KKhcmbQsZgIvXKDb0M3a7GAh5a3m4e9TJf_wg"
    assert (link.token, link.code) == ("lWQrE_3do_rnO1yG5mi4Ke8uVSlZ0nYvV3UgjKMPp4w", "90159021")
    assert keys().digests("code", b"flow", "12345678") == [
        bytes.fromhex("7d78e3509406a1831b6607603fffc45e2c8e0877012bdf748a2943ac6ec6e4ad")
    ]
    assert jwt.get_unverified_header(access(keys()))["kid"] == "c449f40ab1861e63"


def test_secrets_are_unique_and_have_256_bits() -> None:
    made = {new_secret() for _ in range(100)}

    assert len(made) == 100
    assert {len(urlsafe_b64decode(secret + "=")) for secret in made} == {32}


def test_repr_contains_no_secret() -> None:
    [link] = keys().links(b"seed", email=EMAIL)

    assert link.token not in repr(link)
    assert link.code not in repr(link)


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ({"typ": "JWT"}, {}),
        ({"typ": "zz"}, {}),
        ({"typ": None}, {}),
        ({"crit": ["exp"]}, {}),
        ({}, {"auth_time": "1767268800"}),
        ({}, {"exp": 1767269400.5}),
        ({}, {"exp": "1767269400"}),
        ({}, {"sub": "ana"}),
        ({}, {"sid": 7}),
        ({}, {"nbf": 0}),
        ({}, {"aud": ["audifi-api"]}),
        ({}, {"iss": "https://audifi-api-staging.fly.dev"}),
    ],
)
def test_signed_but_invalid_claims_are_refused(header: dict[str, Any], claims: dict[str, Any]) -> None:
    """Another service with the same secret could sign them."""
    token = access(keys())
    made_header = jwt.get_unverified_header(token)
    made_claims = jwt.decode(token, options={"verify_signature": False})

    def signed(header: dict[str, Any], claims: dict[str, Any]) -> str:
        return jwt.encode(made_claims | claims, NEW, algorithm="HS256", headers=made_header | header)

    assert keys().read_access_token(signed({}, {}), now=NOW).session_id == SESSION
    with pytest.raises(InvalidTokenError):
        keys().read_access_token(signed(header, claims), now=NOW)


def test_too_short_key_is_refused() -> None:
    """The second line of defence after the settings."""

    with pytest.warns(jwt.InsecureKeyLengthWarning):
        token = access(keys("short"))
    with pytest.raises(InvalidTokenError):
        keys("short").read_access_token(token, now=NOW)
