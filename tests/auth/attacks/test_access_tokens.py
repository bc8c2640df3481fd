"""Forged and altered access tokens."""

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx2
import jwt
import pytest

from tests.support.api import SECRETS
from tests.support.app import App
from tests.support.clients import Client
from tests.support.sendgrid import SendGrid

INVALID = 'Bearer error="invalid_token"'
SECRET = SECRETS["JWT_SECRET"]

type Parts = tuple[dict[str, Any], dict[str, Any]]


def encoded(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(header: object, claims: object, *, key: str = SECRET, digest: str = "sha256") -> str:
    """Sign by hand: a library refuses to make invalid tokens."""
    content = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
    return f"{content}.{encoded(hmac.digest(key.encode(), content.encode(), digest))}"


def parts(client: Client) -> Parts:
    """Return the header and claims of the client's valid token."""
    token = client.tokens["access_token"]
    return jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})


def assert_refused(answer: httpx2.Response, code: str = "access_token.invalid", challenge: str = INVALID) -> None:
    assert answer.status_code == 401, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["code"] == code
    assert answer.headers.get_list("www-authenticate") == [challenge]


def assert_no_use(client: Client, token: str) -> None:
    """Check a route that reads the session's row and one that doesn't."""
    for path in ("/auth/me", "/auth/sessions"):
        assert_refused(client.ask("GET", path, bearer=token))


@pytest.fixture(scope="module")
def reader(shared_app: App, shared_sendgrid: SendGrid) -> Client:
    """A client that stays signed in: no test may end its session."""
    return Client(shared_app.http, shared_sendgrid).sign_in()


def test_unchanged_forged_token_is_accepted(reader: Client) -> None:
    header, claims = parts(reader)

    for path in ("/auth/me", "/auth/sessions"):
        assert reader.ask("GET", path, bearer=signed(header, claims)).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"alg": "none"}, id="no algorithm"),
        pytest.param({"alg": "None"}, id="no algorithm, capitalized"),
        pytest.param({"alg": "RS256"}, id="an asymmetric algorithm"),
        pytest.param({"alg": "hs256"}, id="the algorithm in lower case"),
        pytest.param({"alg": ["HS256"]}, id="a list of algorithms"),
        pytest.param({"alg": None}, id="a null algorithm"),
        pytest.param({"typ": "JWT"}, id="another type"),
        pytest.param({"typ": "AT+JWT"}, id="the type in upper case"),
        pytest.param({"typ": "application/at+jwt"}, id="the full media type"),
        pytest.param({"typ": None}, id="a null type"),
        pytest.param({"typ": ["at+jwt"]}, id="a list of types"),
        pytest.param({"kid": "0" * 16}, id="an unknown key id"),
        pytest.param({"kid": ""}, id="an empty key id"),
        pytest.param({"kid": "../../dev/null"}, id="a path as key id"),
        pytest.param({"kid": 1}, id="a number as key id"),
        pytest.param({"kid": None}, id="a null key id"),
        pytest.param({"kid": ["a"]}, id="a list of key ids"),
        pytest.param({"kid": {"a": 1}}, id="an object as key id"),
        pytest.param({"crit": []}, id="an empty list of critical extensions"),
        pytest.param({"crit": ["exp"]}, id="a critical extension"),
        pytest.param({"crit": ["b64"], "b64": True}, id="the critical extension that pyjwt knows"),
        pytest.param({"crit": ["b64"], "b64": False}, id="an unencoded payload, critical"),
        pytest.param({"b64": False}, id="an unencoded payload"),
    ],
)
def test_changed_token_header_is_refused(reader: Client, change: dict[str, Any]) -> None:
    header, claims = parts(reader)

    assert_no_use(reader, signed(header | change, claims))


@pytest.mark.parametrize("name", ["alg", "typ", "kid"])
def test_incomplete_token_header_is_refused(reader: Client, name: str) -> None:
    header, claims = parts(reader)
    del header[name]

    assert_no_use(reader, signed(header, claims))


@pytest.mark.parametrize(("algorithm", "digest"), [("HS512", "sha512"), ("HS384", "sha384")])
def test_other_signature_algorithm_is_refused(reader: Client, algorithm: str, digest: str) -> None:
    header, claims = parts(reader)

    assert_no_use(reader, signed(header | {"alg": algorithm}, claims, digest=digest))


@pytest.mark.parametrize("header", [{"alg": "none", "typ": "at+jwt"}, {"alg": "none"}])
@pytest.mark.parametrize("signature", ["", "AA"])
def test_unsigned_token_is_refused(reader: Client, header: dict[str, str], signature: str) -> None:
    real, claims = parts(reader)
    for head in (header, real | header):
        assert_no_use(reader, signed(head, claims).rpartition(".")[0] + "." + signature)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"aud": "audifi-api-staging"}, id="staging's audience"),
        pytest.param({"aud": ["audifi-api"]}, id="a list of audiences"),
        pytest.param({"aud": ["audifi-api", "another"]}, id="several audiences"),
        pytest.param({"aud": None}, id="a null audience"),
        pytest.param({"aud": ""}, id="an empty audience"),
        pytest.param({"iss": "https://audifi-api-staging.fly.dev"}, id="staging's issuer"),
        pytest.param({"iss": "https://audifi-api.fly.dev/"}, id="our issuer with a slash"),
        pytest.param({"iss": ["https://audifi-api.fly.dev"]}, id="a list of issuers"),
        pytest.param({"iss": None}, id="a null issuer"),
        pytest.param({"sub": "admin"}, id="an invalid subject"),
        pytest.param({"sub": 1}, id="a numeric subject"),
        pytest.param({"sub": None}, id="a null subject"),
        pytest.param({"sid": "1 OR 1=1"}, id="SQL as session id"),
        pytest.param({"sid": 1}, id="a numeric session id"),
        pytest.param({"sid": None}, id="a null session id"),
        pytest.param({"exp": None}, id="a null exp"),
        pytest.param({"exp": "4102444800"}, id="exp as text"),
        pytest.param({"exp": True}, id="a boolean exp"),
        pytest.param({"exp": float("inf")}, id="an infinite exp"),
        pytest.param({"exp": 0}, id="exp 0"),
        pytest.param({"exp": -1}, id="a negative exp"),
        pytest.param({"iat": 4102444800}, id="iat in 2100"),
        pytest.param({"iat": float("nan")}, id="iat not a number"),
        pytest.param({"iat": None}, id="a null iat"),
        pytest.param({"nbf": 4102444800}, id="nbf in 2100"),
        pytest.param({"nbf": 0}, id="nbf 0"),
        pytest.param({"auth_time": "0"}, id="auth_time as text"),
        pytest.param({"auth_time": None}, id="a null auth_time"),
        pytest.param({"jti": 1}, id="a numeric jti"),
        pytest.param({"jti": None}, id="a null jti"),
        pytest.param({"amr": None}, id="a null amr"),
        pytest.param({"amr": "email"}, id="amr as text"),
    ],
)
def test_changed_claim_is_refused(reader: Client, change: dict[str, Any]) -> None:
    header, claims = parts(reader)
    answer = reader.ask("GET", "/auth/sessions", bearer=signed(header, claims | change))

    over = isinstance(change.get("exp"), int) and change["exp"] is not True
    assert_refused(answer, "access_token.expired" if over else "access_token.invalid")
    assert reader.ask("GET", "/auth/me", bearer=signed(header, claims | change)).status_code == 401


@pytest.mark.parametrize("name", ["iss", "aud", "sub", "sid", "jti", "iat", "exp", "auth_time", "amr"])
def test_missing_claim_is_refused(reader: Client, name: str) -> None:
    header, claims = parts(reader)
    del claims[name]

    assert_no_use(reader, signed(header, claims))


@pytest.mark.parametrize("claims", [[], "text", 1, None, {}])
def test_malformed_claims_are_refused(reader: Client, claims: object) -> None:
    header, _ = parts(reader)

    assert_no_use(reader, signed(header, claims))


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("another secret, of 32 characters or more", id="another secret"),
        pytest.param(SECRETS["MAGIC_LINK_SECRET"], id="the secret of links"),
        pytest.param("", id="no secret"),
        pytest.param(SECRET + "\n", id="the secret and a line break"),
    ],
)
def test_signature_of_another_key_is_refused(reader: Client, key: str) -> None:
    header, claims = parts(reader)

    assert_no_use(reader, signed(header, claims, key=key))


def test_claims_with_another_tokens_signature_are_refused(reader: Client, app: App, sendgrid: SendGrid) -> None:
    other = Client(app.http, sendgrid).sign_in()
    header, _, signature = reader.tokens["access_token"].split(".")
    _, claims, _ = other.tokens["access_token"].split(".")

    assert_no_use(reader, f"{header}.{claims}.{signature}")


def test_session_of_another_account_is_refused(reader: Client, app: App, sendgrid: SendGrid) -> None:
    """Even correctly signed: the claims are compared with the session's row."""
    other = Client(app.http, sendgrid).sign_in()
    for client, another in ((other, reader), (reader, other)):
        header, claims = parts(client)
        mixed = signed(header, claims | {"sub": another.tokens["user"]["id"]})
        assert_refused(client.ask("GET", "/auth/me", bearer=mixed))
        assert_refused(client.ask("PATCH", "/auth/me", {"display_name": "Eve"}, bearer=mixed))
        assert_refused(client.ask("DELETE", "/auth/me", bearer=mixed))
        nowhere = signed(header, claims | {"sid": str(uuid4())})
        assert_refused(client.ask("GET", "/auth/me", bearer=nowhere))
    for each in (reader, other):
        assert each.as_signed_in("GET", "/auth/me").json()["display_name"] is None


@pytest.mark.parametrize(
    "bend",
    [
        pytest.param(lambda token: token + "=", id="padded"),
        pytest.param(lambda token: token + "==", id="padded twice"),
        pytest.param(lambda token: token.replace(".", "=.", 1), id="padding inside"),
        pytest.param(lambda token: token + ".", id="an extra part"),
        pytest.param(lambda token: token.rpartition(".")[0], id="a missing part"),
        pytest.param(lambda token: token[:-1], id="truncated"),
        pytest.param(lambda token: token + "A", id="an extra character"),
        pytest.param(lambda token: token[:20] + " " + token[20:], id="a space inside"),
        pytest.param(lambda token: token[:20] + "\t" + token[20:], id="a tab inside"),
        pytest.param(lambda token: token + " " + token, id="two tokens"),
        pytest.param(lambda token: token + ", Bearer " + token, id="two credentials"),
        pytest.param(lambda token: f'"{token}"', id="quoted"),
        pytest.param(lambda token: token.swapcase(), id="swapped case"),
        pytest.param(lambda token: token[::-1], id="reversed"),
        pytest.param(lambda _: "null", id="null"),
        pytest.param(lambda _: "..", id="three empty parts"),
        pytest.param(lambda _: "A" * 2**15, id="32 kilobytes"),
        pytest.param(lambda token: token + "A" * 2**15, id="32 kilobytes of signature"),
        pytest.param(lambda token: "." * 2**15 + token, id="many parts"),
    ],
)
def test_altered_access_token_is_refused(reader: Client, bend: Callable[[str], str]) -> None:
    token = reader.tokens["access_token"]
    assert (
        reader.ask("GET", "/auth/me", bearer=token).status_code == 200
    )  # so that the cache of verified tokens contains it

    assert_no_use(reader, bend(token))


def test_non_ascii_access_token_is_refused(reader: Client) -> None:
    token = reader.tokens["access_token"]
    for more in (b"\xff", b"\xc3\xa9"):
        answer = reader.ask("GET", "/auth/me", headers={"Authorization": b"Bearer " + token.encode() + more})
        assert_refused(answer)
