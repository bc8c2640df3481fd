"""The dependencies that authenticate a request, in routes of features."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Annotated

import httpx2
import pytest
from fastapi import Depends

from audifi.auth.dependencies import AccessTokenDep, CurrentUser, RecentlyAuthenticatedUser, account_key, require_role
from audifi.auth.session_checks import CheckedUser
from audifi.core.http.rate_limits import rate_limited
from audifi.core.rate_limiting.limits import Limit
from tests.support import app as apps
from tests.support import databases
from tests.support.app import App
from tests.support.clients import Client
from tests.support.sendgrid import SendGrid

WRITES = Limit("test-writes", 2, per=timedelta(hours=1))


@pytest.fixture(scope="module")
def app_of_features(database_url: str, shared_sendgrid: SendGrid) -> Iterator[App]:
    with apps.running(database_url, sendgrid_url=shared_sendgrid.url) as app:

        @app.asgi.get("/test/signed-in")
        async def signed_in(claims: AccessTokenDep) -> str:
            return str(claims.user_id)

        @app.asgi.get("/test/checked")
        async def checked(user: CurrentUser) -> str:
            return user.email

        @app.asgi.get("/test/fresh")
        async def fresh(user: RecentlyAuthenticatedUser) -> str:
            return user.email

        @app.asgi.get("/test/artist")
        async def artist(user: Annotated[CheckedUser, Depends(require_role("artist", "admin"))]) -> str:
            return user.role

        @app.asgi.post("/test/limited", dependencies=[Depends(rate_limited(WRITES, key=account_key))])
        async def limited() -> None: ...

        yield app


@pytest.fixture
def member(app_of_features: App, sendgrid: SendGrid) -> Iterator[Client]:
    yield Client(app_of_features.http, sendgrid).sign_in()
    app_of_features.clock.reset()


def get(member: Client, path: str) -> httpx2.Response:
    return member.http.get(path, headers={"Authorization": f"Bearer {member.tokens['access_token']}"})


def set_user(app: App, member: Client, values: str) -> None:
    user_id = member.tokens["user"]["id"]
    databases.execute(app.database_url, f"UPDATE users SET {values} WHERE id = '{user_id}'")


def test_access_token_identifies_the_account(app_of_features: App, member: Client) -> None:
    assert get(member, "/test/signed-in").json() == member.tokens["user"]["id"]
    assert app_of_features.http.get("/test/signed-in").status_code == 401


def test_rate_limit_of_a_feature_counts_per_account(app_of_features: App, member: Client, sendgrid: SendGrid) -> None:
    other = Client(app_of_features.http, sendgrid).sign_in()

    def post(client: Client) -> int:
        headers = {"Authorization": f"Bearer {client.tokens['access_token']}"}
        return client.http.post("/test/limited", headers=headers).status_code

    assert [post(member) for _ in range(3)] == [200, 200, 429]
    assert post(other) == 200
    assert app_of_features.http.post("/test/limited").status_code == 401


def test_role_counts_from_the_next_request(app_of_features: App, member: Client) -> None:
    refused = get(member, "/test/artist")
    assert (refused.status_code, refused.json()["code"]) == (403, "role.insufficient")
    for role in ("artist", "admin"):
        set_user(app_of_features, member, f"role = '{role}'")
        assert get(member, "/test/artist").json() == role
    set_user(app_of_features, member, "role = 'producer'")
    assert get(member, "/test/artist").status_code == 403


@pytest.mark.parametrize("state", ["disabled_at = now()", "deleted_at = now()"])
def test_suspended_or_deleted_user_is_refused(app_of_features: App, member: Client, state: str) -> None:
    assert get(member, "/test/checked").status_code == 200
    set_user(app_of_features, member, state)

    assert get(member, "/test/checked").status_code == 401
    set_user(app_of_features, member, "deleted_at = NULL")  # a deleted user with a session violates an invariant


@pytest.mark.parametrize("ended", ["revoked_at = now(), revoked_reason = 'signed_out'", "idle_expires_at = now()"])
def test_session_that_ended_elsewhere_is_refused(app_of_features: App, member: Client, ended: str) -> None:
    session_id = member.tokens["session"]["id"]
    replace(member, mails=1).sign_in()  # a newer session of the account
    databases.execute(app_of_features.database_url, f"UPDATE sessions SET {ended} WHERE id = '{session_id}'")

    assert get(member, "/test/checked").status_code == 401
    assert get(member, "/test/fresh").status_code == 401
    assert get(member, "/test/artist").status_code == 401


def test_recent_sign_in_is_at_most_five_minutes_old(app_of_features: App, member: Client) -> None:
    app_of_features.clock.stop()
    member.sign_in()
    app_of_features.clock.advance(minutes=5)
    assert get(member, "/test/fresh").status_code == 200
    app_of_features.clock.advance(seconds=1)

    answer = get(member, "/test/fresh")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer error="insufficient_user_authentication", max_age=300'
