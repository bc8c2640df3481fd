"""Forged and malformed refresh tokens."""

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from functools import partial
from uuid import UUID

import httpx2
import pytest
from pydantic import SecretStr

from audifi.auth.tokens import Keys
from audifi.core.config.settings import Settings
from tests.support import databases
from tests.support.api import SECRETS
from tests.support.app import App
from tests.support.clients import Client, at_once
from tests.support.sendgrid import SendGrid

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def unpacked(token: str) -> bytes:
    return urlsafe_b64decode(token.removeprefix("art1_") + "==")


def packed(raw: bytes) -> str:
    return "art1_" + urlsafe_b64encode(raw).rstrip(b"=").decode()


def column(app: App, client: Client, name: str) -> object:
    """Return a column of the session's row."""
    query = f"SELECT {name} FROM sessions WHERE id = '{client.tokens['session']['id']}'"
    return databases.fetch_value(app.database_url, query)


def assert_refused(answer: httpx2.Response, why: str = "invalid") -> None:
    assert (answer.status_code, answer.json()["code"]) == (401, f"refresh_token.{why}")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == "Bearer"


def with_bit(position: int, raw: bytes) -> bytes:
    return raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :]


@pytest.mark.parametrize(
    "bend",
    [
        pytest.param(lambda token: packed(with_bit(51, unpacked(token))), id="another MAC"),
        pytest.param(lambda token: packed(unpacked(token)[:20] + bytes(32)), id="no MAC"),
        pytest.param(lambda token: packed(unpacked(token)[:20] + secrets.token_bytes(32)), id="a random MAC"),
        pytest.param(lambda token: packed(with_bit(19, unpacked(token))), id="the next generation"),
        pytest.param(lambda token: packed(with_bit(16, unpacked(token))), id="a generation far ahead"),
        pytest.param(
            lambda token: packed(unpacked(token)[:16] + b"\xff" * 4 + unpacked(token)[20:]), id="the last generation"
        ),
        pytest.param(lambda token: packed(with_bit(0, unpacked(token))), id="a session that isn't there"),
        pytest.param(lambda _: packed(bytes(52)), id="nothing but zeros"),
        pytest.param(lambda token: packed(unpacked(token)[:-1]), id="a byte less"),
        pytest.param(lambda token: packed(unpacked(token) + b"\x00"), id="a byte more"),
        pytest.param(lambda token: token[:-1], id="a character less"),
        pytest.param(lambda token: token[:40], id="half of it"),
        pytest.param(lambda token: token + "A", id="a character more"),
        pytest.param(lambda token: token[:-1] + ALPHABET[ALPHABET.index(token[-1]) + 1], id="not canonical"),
        pytest.param(lambda token: token + "==", id="padded"),
        pytest.param(lambda token: token.removeprefix("art1_"), id="no prefix"),
        pytest.param(lambda token: token.replace("art1_", "art2_"), id="another prefix"),
        pytest.param(lambda token: token.replace("art1_", "ART1_"), id="the prefix in upper case"),
        pytest.param(lambda token: "art1_" + token, id="the prefix twice"),
        pytest.param(lambda token: token.swapcase(), id="the other case"),
        pytest.param(lambda _: "art1_" + "+/" * 35, id="the alphabet of plain base64"),
        pytest.param(lambda _: "null", id="null"),
    ],
)
def test_forged_refresh_token_is_refused_and_harmless(client: Client, app: App, bend: Callable[[str], str]) -> None:
    token = client.sign_in().tokens["refresh_token"]
    assert bend(token) != token

    assert_refused(client.ask("POST", "/auth/refresh", {"refresh_token": bend(token)}))
    assert client.ask("POST", "/auth/logout", {"refresh_token": bend(token)}).status_code == 204
    assert column(app, client, "generation") == 0
    assert client.refresh().status_code == 200


@pytest.mark.parametrize("session", [slice(0, 16), slice(0, 20)])
def test_mac_of_another_session_is_refused(client: Client, app: App, sendgrid: SendGrid, session: slice) -> None:
    victim = Client(app.http, sendgrid).sign_in()
    mine, other = unpacked(client.sign_in().tokens["refresh_token"]), unpacked(victim.tokens["refresh_token"])
    mixed = packed(other[session] + mine[session.stop :])

    assert_refused(client.ask("POST", "/auth/refresh", {"refresh_token": mixed}))
    assert client.ask("POST", "/auth/logout", {"refresh_token": mixed}).status_code == 204
    assert victim.refresh().status_code == 200


@pytest.mark.parametrize("value", ["", " ", "a b", "art1_\u0430", "art1_\x00", 1, True, [], {}, ["art1_"]])
def test_malformed_refresh_token_is_refused(client: Client, value: object) -> None:
    answer = client.ask("POST", "/auth/refresh", {"refresh_token": value})

    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/refresh_token"]


@pytest.mark.parametrize(("size", "status"), [(4097, 422), (60_000, 422), (2**20, 413)])
def test_huge_refresh_token_is_refused(client: Client, size: int, status: int) -> None:
    answer = client.ask("POST", "/auth/refresh", {"refresh_token": "art1_" + "A" * size})

    assert answer.status_code == status
    assert "AAAA" not in answer.text


def test_refresh_token_elsewhere_is_ignored(client: Client) -> None:
    token = client.sign_in().tokens["refresh_token"]
    for answer in (
        client.ask("POST", "/auth/refresh", {}),
        client.ask("POST", "/auth/refresh", {"refresh_token": None}),
        client.ask("POST", "/auth/refresh", bearer=token),
        client.ask("POST", "/auth/refresh", bearer=client.tokens["access_token"]),
        client.ask("POST", "/auth/refresh", headers={"Cookie": f"audifi_refresh={token}; refresh_token={token}"}),
    ):
        assert_refused(answer, "missing")
        assert token not in answer.text
    in_query = f"/auth/refresh?refresh_token={token}"
    assert [client.ask(method, in_query).status_code for method in ("POST", "GET", "HEAD", "PUT")] == [
        422,
        405,
        405,
        405,
    ]

    assert client.refresh().status_code == 200


def made_with(app: App, client: Client, *, secret: str, nonce: bytes | None = None) -> str:
    """Make a token with this secret and nonce."""
    settings = Settings.model_construct(
        jwt_secret=SecretStr(secret), magic_link_secret=SecretStr("x" * 32), fly_app_name="audifi-api"
    )
    stored = column(app, client, "refresh_nonce")
    assert isinstance(stored, bytes)
    assert len(stored) == 32
    return Keys(settings).make_refresh_token(
        session_id=UUID(client.tokens["session"]["id"]), nonce=stored if nonce is None else nonce, generation=0
    )


def test_forging_requires_the_database_and_the_secret(client: Client, app: App) -> None:
    client.sign_in()
    secret = SECRETS["JWT_SECRET"]
    for forged in (
        made_with(app, client, secret="y" * 32),
        made_with(app, client, secret=SECRETS["MAGIC_LINK_SECRET"]),
        made_with(app, client, secret=secret, nonce=b""),
        made_with(app, client, secret=secret, nonce=bytes(32)),
    ):
        assert_refused(client.ask("POST", "/auth/refresh", {"refresh_token": forged}))

    assert made_with(app, client, secret=secret) == client.tokens["refresh_token"]


def test_forged_refresh_tokens_do_not_use_up_the_limit(client: Client) -> None:
    """Session ids aren't secret: an attacker with the id must not lock the owner out."""
    raw = unpacked(client.sign_in().tokens["refresh_token"])
    forged = packed(with_bit(51, raw))
    for answer in at_once([partial(client.ask, "POST", "/auth/refresh", {"refresh_token": forged})] * 65):
        assert_refused(answer)

    assert client.refresh().status_code == 200
