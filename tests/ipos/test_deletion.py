"""The offerings of an account that is being deleted."""

import httpx2
import pytest

from tests.ipos.offerings import Offering, code, post
from tests.support import databases
from tests.support.waiting import wait_until


def count(offering: Offering, table: str) -> object:
    column = "id" if table == "masters" else "master_id"
    query = f"SELECT count(*) FROM {table} WHERE {column} = $1::text::uuid"
    return databases.fetch_value(offering.app.database_url, query, offering.master_id)


def archive(offering: Offering) -> None:
    archived = offering.artist.as_signed_in("POST", f"/masters/{offering.master_id}/archive")
    assert archived.status_code == 200, archived.text


def delete(offering: Offering) -> httpx2.Response:
    return offering.artist.as_signed_in("DELETE", "/auth/me")


def test_draft_goes_with_its_account(offering: Offering) -> None:
    assert offering.draft().status_code == 201
    entries = {"entries": [{"user_id": offering.artist.tokens["user"]["id"]}]}
    assert offering.artist.as_signed_in("PUT", f"{offering.path}/allowlist", entries).status_code == 204
    assert code(delete(offering)) == "409 account.not_empty"  # the master is approved
    archive(offering)

    assert delete(offering).status_code == 204
    assert (count(offering, "ipos"), count(offering, "masters")) == (0, 0)


@pytest.mark.parametrize("end", ["cancel", "unlaunch"])
def test_ended_offering_stays_without_its_account(offering: Offering, end: str) -> None:
    assert offering.draft().status_code == 201
    assert offering.launch().status_code == 200
    assert post(offering.artist, f"{offering.path}/{end}").is_success
    query = "SELECT status FROM masters WHERE id = $1::text::uuid"
    wait_until(lambda: databases.fetch_value(offering.app.database_url, query, offering.master_id) == "approved")
    archive(offering)

    assert delete(offering).status_code == 204
    assert (count(offering, "ipos"), count(offering, "masters")) == (1, 1)


@pytest.mark.parametrize("is_deleted_first", [True, False])
def test_draft_of_a_deleted_account_is_never_left(offering: Offering, *, is_deleted_first: bool) -> None:
    archive(offering)
    user = f"SELECT FROM users WHERE id = '{offering.artist.tokens['user']['id']}' FOR UPDATE"
    calls = (
        [lambda: delete(offering), offering.draft] if is_deleted_first else [offering.draft, lambda: delete(offering)]
    )

    responses = databases.in_order(offering.app.database_url, user, *calls)

    assert [response.status_code for response in responses] == ([204, 401] if is_deleted_first else [201, 204])
    assert (count(offering, "ipos"), count(offering, "masters")) == (0, 0)
