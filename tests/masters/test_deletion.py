"""The masters of an account that is being deleted."""

import httpx2
import pytest

from tests.masters.requests import confirm, create, register
from tests.support import databases
from tests.support.app import App
from tests.support.clients import Client


def masters_of(app: App, client: Client) -> object:
    return databases.fetch_value(
        app.database_url,
        "SELECT count(*) FROM masters WHERE artist_id = $1::text::uuid",
        client.tokens["user"]["id"],
    )


def test_drafts_go_with_their_account(artist: Client, app: App) -> None:
    confirm(artist, register(artist))

    assert artist.as_signed_in("DELETE", "/auth/me").status_code == 204
    assert masters_of(app, artist) == 0


@pytest.mark.parametrize("is_deleted_first", [True, False])
def test_master_of_a_deleted_account_is_never_left(artist: Client, app: App, *, is_deleted_first: bool) -> None:
    def delete() -> httpx2.Response:
        return artist.as_signed_in("DELETE", "/auth/me")

    user = f"SELECT FROM users WHERE id = '{artist.tokens['user']['id']}' FOR UPDATE"
    calls = [delete, lambda: create(artist)] if is_deleted_first else [lambda: create(artist), delete]

    responses = databases.in_order(app.database_url, user, *calls)

    assert [response.status_code for response in responses] == ([204, 401] if is_deleted_first else [201, 204])
    assert masters_of(app, artist) == 0
