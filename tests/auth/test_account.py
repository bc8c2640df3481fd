"""The account: its name, sessions, activity and deletion."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx2
import pytest

from tests.support import databases
from tests.support.app import App
from tests.support.clients import REFRESH_COOKIE, Browser, Client
from tests.support.sendgrid import SendGrid
from tests.support.waiting import wait_until


def another(client: Client) -> Client:
    """Return the same person's client on another device."""
    return Client(client.http, client.sendgrid, email=client.email, mails=client.mails)


def test_display_name_is_set_trimmed_and_removed(client: Client) -> None:
    client.sign_in()

    answer = client.as_signed_in("PATCH", "/auth/me", {"display_name": "  Ana Ruiz \u266b "})
    assert answer.status_code == 200
    assert answer.json()["display_name"] == "Ana Ruiz \u266b"
    assert client.as_signed_in("GET", "/auth/me").json() == answer.json()
    assert client.as_signed_in("PATCH", "/auth/me", {"display_name": None}).json()["display_name"] is None
    assert client.as_signed_in("GET", "/auth/me").json()["display_name"] is None


@pytest.mark.parametrize(
    "change", [{"display_name": ""}, {"display_name": "  "}, {"display_name": "a" * 81}, {"display_name": "a\x1b[2J"}]
)
def test_invalid_display_name_is_refused(client: Client, change: dict[str, object]) -> None:
    client.sign_in()

    answer = client.as_signed_in("PATCH", "/auth/me", change)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/display_name"


UNSEEN = [
    "\u3164",
    "\u2800 \u115f",
    "\u200d",
    "\ufe0f",
    "\u034f \u180b",
    "\U000e0100",
    "\u17b4",
    "\u0301",
    "\U0001d159",
]


@pytest.mark.parametrize("name", [*UNSEEN, "\u202eevil", "\u200fAna"])
def test_invisible_or_bidirectional_name_is_refused(client: Client, name: str) -> None:
    client.sign_in()

    assert client.as_signed_in("PATCH", "/auth/me", {"display_name": name}).status_code == 422


@pytest.mark.parametrize(
    "name",
    [
        "e\u0301",
        "7",
        "\u266b\ufe0f",
        "\U0001f469\u200d\U0001f3a4 Ana",
        "\u0641\u0627\u0637\u0645\u0647\u200c\u0647\u0627",
    ],
)
def test_display_name_may_contain_joiners(client: Client, name: str) -> None:
    client.sign_in()

    assert client.as_signed_in("PATCH", "/auth/me", {"display_name": name}).json()["display_name"] == name


@pytest.mark.parametrize("change", [{"role": "admin", "display_name": "A"}, {"email": "b@example.com"}, {}])
def test_owner_can_change_only_the_display_name(client: Client, change: dict[str, object]) -> None:
    client.sign_in()

    assert client.as_signed_in("PATCH", "/auth/me", change).status_code == 422
    assert client.as_signed_in("GET", "/auth/me").json() == client.tokens["user"]


def test_sessions_are_listed_newest_first(client: Client) -> None:
    first = client.sign_in()
    second = another(client)
    second.headers = {"User-Agent": "Studio/2\tx"}
    second.ip = "2001:db8:1:2:3:4:5:6"
    second.sign_in()

    page = first.as_signed_in("GET", "/auth/sessions").json()
    assert page["next_cursor"] is None
    newest, oldest = page["data"]
    assert (newest["id"], oldest["id"]) == (second.tokens["session"]["id"], first.tokens["session"]["id"])
    assert (newest["current"], oldest["current"]) == (False, True)
    seen_by_second = second.as_signed_in("GET", "/auth/sessions").json()["data"]
    assert [session["current"] for session in seen_by_second] == [True, False]
    assert newest.keys() == {
        "id", "current", "created_at", "last_used_at", "expires_at", "user_agent", "ip_prefix"
    }  # fmt: skip
    assert newest["ip_prefix"] == "2001:db8:1:2::/64"
    assert oldest["ip_prefix"] == ".".join(first.ip.split(".")[:3]) + ".0/24"
    assert newest["user_agent"] == "Studio/2x"
    assert "\t" not in newest["user_agent"]


def test_session_has_the_time_of_its_last_refresh(client: Client, app: App) -> None:
    client.sign_in()
    app.clock.advance(hours=1)
    client.refresh()

    [session] = client.as_signed_in("GET", "/auth/sessions").json()["data"]
    assert session["last_used_at"] > session["created_at"]


def test_session_has_the_network_of_its_last_refresh(client: Client) -> None:
    client.sign_in()
    client.ip, client.headers = "2001:db8:1:2:3:4:5:6", {"User-Agent": "Studio/3"}
    client.refresh()

    [session] = client.as_signed_in("GET", "/auth/sessions").json()["data"]
    assert (session["ip_prefix"], session["user_agent"]) == ("2001:db8:1:2::/64", "Studio/3")


def test_pages_contain_each_item_once(client: Client) -> None:
    client.sign_in()
    for _ in range(3):
        another(client).sign_in()
        client.mails += 1

    for path, total in (("/auth/sessions", 4), ("/auth/me/activity", 5)):
        for limit in range(1, total + 1):
            pages: list[list[str]] = []
            cursor = None
            while not pages or cursor:
                query = f"limit={limit}" + (f"&cursor={cursor}" if cursor else "")
                page = client.as_signed_in("GET", f"{path}?{query}").json()
                pages.append([row["id"] for row in page["data"]])
                cursor = page["next_cursor"]
            assert [len(page) for page in pages] == [min(limit, total - first) for first in range(0, total, limit)]
            seen = [id_ for page in pages for id_ in page]
            assert seen == sorted(set(seen), reverse=True)


@pytest.mark.parametrize("query", ["limit=0", "limit=101"])
def test_invalid_page_limit_is_refused(client: Client, query: str) -> None:
    client.sign_in()

    assert client.as_signed_in("GET", f"/auth/sessions?{query}").status_code == 422
    assert client.as_signed_in("GET", f"/auth/me/activity?{query}").status_code == 422


def test_session_can_be_ended_from_another(client: Client) -> None:
    client.sign_in()
    lost = another(client).sign_in()

    assert client.as_signed_in("DELETE", f"/auth/sessions/{lost.tokens['session']['id']}").status_code == 204
    assert lost.as_signed_in("GET", "/auth/sessions").status_code == 401
    assert lost.refresh().json()["code"] == "refresh_token.revoked"
    assert client.as_signed_in("GET", "/auth/sessions").status_code == 200
    assert client.as_signed_in("DELETE", f"/auth/sessions/{lost.tokens['session']['id']}").status_code == 404


def test_all_other_sessions_are_ended(client: Client, app: App, sendgrid: SendGrid) -> None:
    client.sign_in()
    others = [another(client).sign_in()]
    client.mails += 1
    others.append(another(client).sign_in())
    stranger = Client(app.http, sendgrid).sign_in()

    assert client.as_signed_in("DELETE", "/auth/sessions").status_code == 204
    assert [other.as_signed_in("GET", "/auth/me").status_code for other in others] == [401, 401]
    assert client.as_signed_in("GET", "/auth/me").status_code == 200
    assert stranger.as_signed_in("GET", "/auth/me").status_code == 200


def test_unknown_session_is_not_found(client: Client) -> None:
    client.sign_in()

    answer = client.as_signed_in("DELETE", f"/auth/sessions/{uuid4()}")
    assert (answer.status_code, answer.json()["code"]) == (404, "session.not_found")


def test_expired_session_is_not_found(client: Client, app: App) -> None:
    client.sign_in()
    session_id = another(client).sign_in().tokens["session"]["id"]
    databases.execute(app.database_url, f"UPDATE sessions SET idle_expires_at = now() WHERE id = '{session_id}'")

    assert client.as_signed_in("DELETE", f"/auth/sessions/{session_id}").status_code == 404


def test_end_of_a_session_is_recorded_once(client: Client) -> None:
    client.sign_in()
    other = another(client).sign_in()
    for _ in range(2):
        assert other.as_signed_in("POST", "/auth/logout").status_code == 204
        assert client.as_signed_in("DELETE", "/auth/sessions").status_code == 204

    events = client.as_signed_in("GET", "/auth/me/activity").json()["data"]
    assert [event["event"] for event in events].count("session.revoked") == 1


@pytest.mark.parametrize("by", ["bearer", "body"])
def test_sign_out_ends_the_session_and_can_be_repeated(client: Client, by: str) -> None:
    client.sign_in()
    for _ in range(2):
        if by == "bearer":
            assert client.as_signed_in("POST", "/auth/logout").status_code == 204
        else:
            answer = client.ask("POST", "/auth/logout", {"refresh_token": client.tokens["refresh_token"]})
            assert answer.status_code == 204

    assert client.as_signed_in("GET", "/auth/me").status_code == 401
    assert client.refresh().json()["code"] == "refresh_token.revoked"


def test_browser_signs_out_with_its_cookie(browser: Browser) -> None:
    browser.sign_in()
    token = browser.cookies[REFRESH_COOKIE]

    assert browser.ask("POST", "/auth/logout", {}).status_code == 204
    assert browser.cookies == {}
    assert browser.refresh(token).json()["code"] == "refresh_token.revoked"


def test_expired_access_token_signs_out(client: Client, app: App) -> None:
    client.sign_in()
    app.clock.advance(hours=1)
    assert client.as_signed_in("POST", "/auth/logout").status_code == 204

    assert client.refresh().json()["code"] == "refresh_token.revoked"


@pytest.mark.parametrize("token", [None, "x", "art1_" + "A" * 70])
def test_sign_out_without_a_session_succeeds(client: Client, token: str | None) -> None:
    assert client.ask("POST", "/auth/logout", bearer=token).status_code == 204
    assert client.ask("POST", "/auth/logout", {"refresh_token": token}).status_code == 204


def test_activity_lists_events(client: Client) -> None:
    client.sign_in()
    client.as_signed_in("PATCH", "/auth/me", {"display_name": "Ana"})
    client.as_signed_in("POST", "/auth/logout")
    client.sign_in()

    events = client.as_signed_in("GET", "/auth/me/activity").json()["data"]
    assert [event["event"] for event in events] == [
        "session.created",
        "session.revoked",
        "user.updated",
        "session.created",
        "user.created",
    ]
    assert [event["detail"] for event in events] == [None, "signed_out", "display_name", None, None]
    assert {event["ip_prefix"] for event in events} == {".".join(client.ip.split(".")[:3]) + ".0/24"}
    assert events[0]["session_id"] == client.tokens["session"]["id"]


GIVEN_UP = "SELECT count(*) FROM pgqueuer WHERE status = 'failed' AND entrypoint = 'code_exhausted'"


def test_exhausted_code_is_recorded_once(client: Client, app: App) -> None:
    client.sign_in()
    mail = client.request_mail()
    wrong = f"{(int(mail.code) + 1) % 10**8:08}"
    for _ in range(7):
        client.verify(flow_id=client.flow["flow_id"], code=wrong, **client.secret())

    def events() -> list[dict[str, str]]:
        data: list[dict[str, str]] = client.as_signed_in("GET", "/auth/me/activity").json()["data"]
        return data

    wait_until(lambda: len(events()) > 2)
    assert [event["event"] for event in events()] == ["code.exhausted", "session.created", "user.created"]
    assert events()[0]["ip_prefix"] == events()[1]["ip_prefix"]
    assert databases.fetch_value(app.database_url, GIVEN_UP) == 0


def test_deletion_ends_sessions_and_frees_the_address(client: Client, app: App) -> None:
    client.sign_in()
    client.as_signed_in("PATCH", "/auth/me", {"display_name": "Ana"})
    other = another(client).sign_in()
    client.mails += 1
    open_link = client.request_mail()
    user_id = client.tokens["user"]["id"]
    databases.execute(app.database_url, f"UPDATE users SET role = 'artist' WHERE id = '{user_id}'")

    assert client.as_signed_in("DELETE", "/auth/me").status_code == 204
    assert client.as_signed_in("GET", "/auth/me").status_code == 401
    assert other.as_signed_in("GET", "/auth/me").status_code == 401
    assert other.refresh().json()["code"] == "refresh_token.revoked"
    assert client.verify(token=open_link.token, confirm=True).json()["code"] == "magic_link.used"
    left = databases.fetch_value(
        app.database_url,
        f"SELECT concat_ws('|', email, email_key, display_name, role) FROM users WHERE id = '{user_id}'",
    )
    assert left == f"deleted:{user_id}|deleted:{user_id}|fan"
    recorded = f"SELECT count(*) FROM auth_events WHERE user_id = '{user_id}' AND event = 'user.deleted'"
    assert databases.fetch_value(app.database_url, recorded) == 1
    client.sign_in()
    assert client.tokens["created"] is True
    assert client.tokens["user"]["id"] != user_id


@pytest.mark.parametrize("second", [("PATCH", {"display_name": "Ana"}), ("DELETE", None)])
def test_change_during_deletion_is_refused(client: Client, app: App, second: tuple[str, dict[str, str] | None]) -> None:
    """Both requests have read the account before the first commits."""
    client.sign_in()
    method, body = second
    user = client.tokens["user"]["id"]
    with ThreadPoolExecutor(2) as threads:
        with databases.holding(app.database_url, f"SELECT FROM users WHERE id = '{user}' FOR UPDATE") as waiting:
            deleting = threads.submit(client.as_signed_in, "DELETE", "/auth/me")
            wait_until(lambda: waiting() == 1)
            changing = threads.submit(client.as_signed_in, method, "/auth/me", body)
            wait_until(lambda: waiting() == 2)
        answers = [deleting.result().status_code, changing.result().status_code]

    assert answers == [204, 401]
    assert databases.fetch_value(app.database_url, "SELECT display_name FROM users WHERE id = $1", user) is None
    ends = f"SELECT count(*) FROM auth_events WHERE user_id = '{user}' AND event = 'user.deleted'"
    assert databases.fetch_value(app.database_url, ends) == 1


@pytest.mark.parametrize("change", [("PATCH", {"display_name": "Ana"}), ("DELETE", None)])
def test_change_during_suspension_is_refused(
    client: Client, app: App, change: tuple[str, dict[str, str] | None]
) -> None:
    client.sign_in()
    method, body = change
    user = client.tokens["user"]["id"]
    suspend = "UPDATE users SET disabled_at = now() WHERE id = $1"
    with ThreadPoolExecutor(2) as threads:
        with databases.holding(app.database_url, f"SELECT FROM users WHERE id = '{user}' FOR UPDATE") as waiting:
            suspending = threads.submit(databases.fetch_value, app.database_url, suspend, user)
            wait_until(lambda: waiting() == 1)
            changing = threads.submit(client.as_signed_in, method, "/auth/me", body)
            wait_until(lambda: waiting() == 2)
        suspending.result()
        assert changing.result().status_code == 401

    unchanged = "SELECT display_name IS NULL AND deleted_at IS NULL FROM users WHERE id = $1"
    assert databases.fetch_value(app.database_url, unchanged, user) is True


def test_deletion_requires_a_recent_sign_in(client: Client, app: App) -> None:
    client.sign_in()
    app.clock.advance(minutes=5, seconds=1)
    client.refresh()
    answer = client.as_signed_in("DELETE", "/auth/me")

    assert (answer.status_code, answer.json()["code"]) == (401, "insufficient_user_authentication")
    assert "max_age=300" in answer.headers["www-authenticate"]
    app.clock.stop()
    client.sign_in()
    app.clock.advance(minutes=5)
    assert client.as_signed_in("DELETE", "/auth/me").status_code == 204


def test_session_deleted_during_refresh_is_refused(client: Client, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    client.sign_in()

    async def delete_meanwhile(*_: object, **__: object) -> None:
        delete = f"DELETE FROM sessions WHERE id = '{client.tokens['session']['id']}'"
        await asyncio.to_thread(databases.execute, app.database_url, delete)

    monkeypatch.setattr(app.services.rate_limiter, "hit", delete_meanwhile)
    answer = client.refresh()

    assert (answer.status_code, answer.json()["code"]) == (401, "refresh_token.invalid")


def reuse(client: Client) -> httpx2.Response:
    first = client.tokens["refresh_token"]
    client.refresh()
    client.refresh()
    return client.refresh(first)


ACTIONS: dict[str, Callable[[Client], httpx2.Response]] = {
    "signs out by the access token": lambda client: client.as_signed_in("POST", "/auth/logout"),
    "signs out by the refresh token": lambda client: client.ask(
        "POST", "/auth/logout", {"refresh_token": client.tokens["refresh_token"]}
    ),
    "ends its own session": lambda client: client.as_signed_in(
        "DELETE", f"/auth/sessions/{client.tokens['session']['id']}"
    ),
    "ends its other sessions": lambda client: client.as_signed_in("DELETE", "/auth/sessions"),
    "uses an old refresh token": reuse,
    "changes its name": lambda client: client.as_signed_in("PATCH", "/auth/me", {"display_name": "Somebody"}),
    "deletes its account": lambda client: client.as_signed_in("DELETE", "/auth/me"),
}


@pytest.mark.parametrize("action", ACTIONS)
def test_actions_do_not_affect_neighbouring_accounts(app: App, sendgrid: SendGrid, action: str) -> None:
    """Ids sort by time, so a condition that is too wide would first match the accounts before and after."""
    before, acting, after = (Client(app.http, sendgrid).sign_in() for _ in range(3))
    assert ACTIONS[action](acting).status_code in {200, 204, 401}

    for other in (before, after):
        assert other.as_signed_in("GET", "/auth/me").json() == other.tokens["user"]
        assert len(other.as_signed_in("GET", "/auth/me/activity").json()["data"]) == 2
        assert len(other.as_signed_in("GET", "/auth/sessions").json()["data"]) == 1
        assert other.refresh().status_code == 200


@pytest.mark.parametrize("whose", ["before", "after"])
def test_session_of_a_neighbouring_account_is_not_found(app: App, sendgrid: SendGrid, whose: str) -> None:
    before, acting, after = (Client(app.http, sendgrid).sign_in() for _ in range(3))
    other = {"before": before, "after": after}[whose]

    answer = acting.as_signed_in("DELETE", f"/auth/sessions/{other.tokens['session']['id']}")
    assert answer.status_code == 404
    assert other.as_signed_in("GET", "/auth/me").status_code == 200
