"""The commands `python -m audifi users` and `jobs`."""

import getpass
import os
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from typer.testing import CliRunner, Result

from audifi.auth import cli as commands
from audifi.cli import app as console
from tests.support import databases
from tests.support.app import App
from tests.support.clients import Browser, Client
from tests.support.fixtures import StartApp
from tests.support.sendgrid import SendGrid
from tests.support.waiting import wait_until


def audifi(database_url: str, *arguments: str, **environment: str) -> Result:
    variables = {"DATABASE_URL": database_url, "AUDIFI_OPERATOR": "kim", "FORCE_COLOR": None, **environment}
    return CliRunner().invoke(console, arguments, env=variables)


def output_of(app: App, *arguments: str) -> str:
    result = audifi(app.database_url, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_accounts_are_listed_and_searched(client: Client, app: App) -> None:
    client.sign_in()

    listed = output_of(app, "users", "list", "--search", client.email[:12].upper())
    assert re.search(rf"{client.tokens['user']['id']} +{client.email} +fan +20\d\d-", listed)
    assert output_of(app, "users", "list", "--search", client.email, "--role", "admin") == "None.\n"
    assert output_of(app, "users", "list", "--search", f"%{client.email[1:]}") == "None.\n"


def test_role_change_is_immediate_and_recorded(client: Client, app: App) -> None:
    client.sign_in()

    assert output_of(app, "users", "set-role", client.email.upper(), "artist") == f"{client.email}: fan, now artist.\n"
    assert output_of(app, "users", "set-role", client.email, "artist") == f"{client.email} is artist already.\n"
    assert client.as_signed_in("GET", "/auth/me").json()["role"] == "artist"
    [event, *_] = client.as_signed_in("GET", "/auth/me/activity").json()["data"]
    assert (event["event"], event["detail"]) == ("user.role_changed", "fan to artist")


def test_suspended_account_is_refused_until_restored(client: Client, app: App) -> None:
    client.sign_in()

    assert output_of(app, "users", "suspend", client.email, "--reason", "fraud") == (
        f"{client.email} is suspended; 1 session was ended.\n"
    )
    assert "is suspended already; 0 sessions" in output_of(app, "users", "suspend", client.email, "--reason", "again")
    assert client.as_signed_in("GET", "/auth/me").status_code == 401
    assert client.refresh().json()["code"] == "refresh_token.revoked"
    mail = client.request_mail()
    refused = client.verify(token=mail.token, **client.secret())
    assert (refused.status_code, refused.json()["code"]) == (403, "account.disabled")
    mail = client.request_mail()
    assert client.verify(token=mail.token, **client.secret()).status_code == 403

    assert output_of(app, "users", "restore", client.email) == f"{client.email} may sign in again.\n"
    assert output_of(app, "users", "restore", client.email) == f"{client.email} isn't suspended.\n"
    client.sign_in()
    shown = output_of(app, "users", "show", client.tokens["user"]["id"])
    for pattern in (
        r"user\.restored +kim",
        r"user\.suspended +kim +suspended: fraud",
        r"session\.revoked +kim +suspended",
        r"sign_in\.refused +",
        rf"user\.created +.*{re.escape(client.ip)}",
    ):
        assert re.search(pattern, shown), shown
    assert client.tokens["session"]["id"] in shown


def test_suspension_ends_the_session_of_a_concurrent_sign_in(browser: Browser, app: App) -> None:
    """The sign-in has read the account, and waits for a lock: here, of the session that it replaces."""
    browser.sign_in()
    first = browser.tokens["session"]["id"]
    mail = browser.request_mail()
    with ThreadPoolExecutor(2) as threads:
        with databases.holding(app.database_url, f"SELECT FROM sessions WHERE id = '{first}' FOR UPDATE") as waiting:
            signing_in = threads.submit(browser.verify, token=mail.token)
            wait_until(lambda: waiting() == 1)
            suspending = threads.submit(output_of, app, "users", "suspend", browser.email, "--reason", "fraud")
            wait_until(lambda: waiting() == 2)
        assert signing_in.result().status_code == 200
        assert suspending.result() == f"{browser.email} is suspended; 1 session was ended.\n"

    assert browser.tokens["session"]["id"] != first
    assert browser.refresh().json()["code"] == "refresh_token.revoked"


def test_sign_out_ends_all_sessions_of_an_account(client: Client, app: App) -> None:
    client.sign_in()

    assert output_of(app, "users", "sign-out", client.email) == f"{client.email}: 1 session was ended.\n"
    assert client.as_signed_in("GET", "/auth/me").status_code == 401


def test_sign_out_everyone_ends_all_sessions(
    start_app: StartApp, migrated_database_url: str, sendgrid: SendGrid
) -> None:
    app = start_app(migrated_database_url)
    people = [Client(app.http, sendgrid).sign_in() for _ in range(2)]

    assert output_of(app, "users", "sign-out-everyone", "--reason", "a secret got out") == "2 sessions were ended.\n"
    assert [person.as_signed_in("GET", "/auth/me").status_code for person in people] == [401, 401]
    shown = output_of(app, "users", "show", people[0].email)
    assert re.search(r"session\.revoked +kim +signed_out_by_operator: a secret got out", shown)


def test_sign_out_everyone_commits_in_batches(
    start_app: StartApp, migrated_database_url: str, sendgrid: SendGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Machines poll the revocations of the last minute: a single transaction could take longer."""
    monkeypatch.setattr(commands, "MAX_SESSIONS", 2)
    app = start_app(migrated_database_url)
    people = [Client(app.http, sendgrid).sign_in() for _ in range(5)]
    app.clock.advance(seconds=60)
    late = Client(app.http, sendgrid).sign_in()

    done = audifi(app.database_url, "users", "sign-out-everyone", "--reason", "a secret got out")

    assert (done.stdout, done.stderr) == (
        "5 sessions were ended.\n",
        "2 sessions so far …\n4 sessions so far …\n5 sessions so far …\n",
    )
    assert [person.as_signed_in("GET", "/auth/me").status_code for person in people] == [401] * 5
    assert late.as_signed_in("GET", "/auth/me").status_code == 200, "a later sign-in is kept"
    times = "SELECT count(DISTINCT revoked_at) FROM sessions WHERE revoked_at IS NOT NULL"
    transactions = "SELECT count(DISTINCT xmin::text) FROM sessions WHERE revoked_at IS NOT NULL"
    events = "SELECT count(DISTINCT session_id) FROM auth_events WHERE event = 'session.revoked' AND actor = 'kim'"
    counts = [databases.fetch_value(migrated_database_url, query) for query in (times, transactions, events)]
    assert counts == [3, 3, 5]


@pytest.mark.parametrize(
    ("who", "sentence"),
    [
        ("nobody@example.com", "There is no account nobody@example.com."),
        ("00000000-0000-7000-8000-000000000000", "There is no account 00000000-"),
        ("x", "x is neither an e-mail address nor an id."),
    ],
)
def test_unknown_account_is_one_sentence(app: App, who: str, sentence: str) -> None:
    result = audifi(app.database_url, "users", "set-role", who, "admin")

    assert result.exit_code == 1
    assert sentence in result.stderr


def test_deleted_account_is_shown_only_by_id(client: Client, app: App) -> None:
    client.sign_in()
    client.as_signed_in("DELETE", "/auth/me")
    user_id = client.tokens["user"]["id"]

    assert audifi(app.database_url, "users", "show", client.email).exit_code == 1
    assert audifi(app.database_url, "users", "set-role", user_id, "artist").exit_code == 1
    shown = output_of(app, "users", "show", user_id)
    assert re.search(rf"deleted at *\n{user_id} .*20\d\d-\d\d-\d\d [\d:]{{8}} *\n", shown)
    assert "user.deleted" in shown
    assert client.email not in shown


def test_operators_reasons_are_hidden_from_the_owner(
    start_app: StartApp, migrated_database_url: str, sendgrid: SendGrid
) -> None:
    app = start_app(migrated_database_url)
    client = Client(app.http, sendgrid).sign_in()
    output_of(app, "users", "suspend", client.email, "--reason", "reported: by bob@example.com")
    output_of(app, "users", "restore", client.email)
    client.sign_in()
    output_of(app, "users", "sign-out-everyone", "--reason", "bob has the key: all of them")
    client.sign_in()

    activity = client.as_signed_in("GET", "/auth/me/activity")
    assert "bob" not in activity.text
    assert "kim" not in activity.text
    visible = [(event["event"], event["detail"]) for event in activity.json()["data"]]
    assert ("user.suspended", "suspended") in visible
    assert [detail for name, detail in visible if name == "session.revoked"] == ["signed_out_by_operator", "suspended"]
    assert "reported: by bob@example.com" in output_of(app, "users", "show", client.email)


@pytest.mark.parametrize("option", ["--by", "--reason"])
def test_operator_and_reason_are_required(client: Client, app: App, option: str) -> None:
    command = ["users", "suspend", client.email, "--reason", "fraud"]
    result = audifi(app.database_url, *command, option, " ")

    assert result.exit_code == 2
    assert f"Invalid value for '{option}': must not be empty" in result.stderr
    assert "Missing option '--reason'" in audifi(app.database_url, *command[:3]).stderr


def test_system_user_without_a_name_is_recorded_by_number(
    client: Client, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_name() -> str:
        raise OSError("No username set in the environment")

    client.sign_in()
    monkeypatch.setattr(getpass, "getuser", no_name)
    result = audifi(app.database_url, "users", "set-role", client.email, "artist", AUDIFI_OPERATOR="")

    assert result.exit_code == 0, result.output
    assert f"uid {os.getuid()} at a console" in output_of(app, "users", "show", client.email)


def test_expired_sessions_are_not_ended_again(client: Client, app: App) -> None:
    client.sign_in()
    past = "now() - interval '1 minute'"
    databases.execute(
        app.database_url,
        f"UPDATE sessions SET idle_expires_at = {past} WHERE id = '{client.tokens['session']['id']}'",
    )

    assert output_of(app, "users", "sign-out", client.email) == f"{client.email}: 0 sessions were ended.\n"
    client.sign_in()
    assert client.as_signed_in("DELETE", "/auth/sessions").status_code == 204
    assert "session.revoked" not in output_of(app, "users", "show", client.email)


def test_unknown_role_is_refused(app: App) -> None:
    assert "'fan', 'artist', 'producer' or 'admin'" in audifi(app.database_url, "users", "set-role", "x", "king").output


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "DATABASE_URL: is empty"),
        ("postgres://u:s3cr3t@127.0.0.1:1/d", "127.0.0.1:1/d: ConnectionRefusedError. Run `python -m audifi doctor`"),
    ],
)
def test_configuration_error_is_one_sentence_without_password(url: str, sentence: str) -> None:
    result = audifi(url, "users", "list")

    assert result.exit_code == 1
    assert result.stderr.startswith(sentence)
    assert "s3cr3t" not in result.output
    assert len(result.stderr.splitlines()) == 1


def test_failed_jobs_are_listed_and_retried(migrated_database_url: str) -> None:
    databases.execute(
        migrated_database_url,
        "INSERT INTO pgqueuer (priority, status, entrypoint, attempts) VALUES (0, 'failed', 'sign_in_email', 12)",
    )

    assert re.search(r"1 +sign_in_email +failed +12", audifi(migrated_database_url, "jobs", "list").stdout)
    assert audifi(migrated_database_url, "jobs", "retry", "1").stdout == "Job 1 is queued again.\n"
    again = audifi(migrated_database_url, "jobs", "retry", "1")
    assert (again.exit_code, again.stderr) == (1, "There is no failed job 1.\n")


def test_database_error_is_named(database_url: str) -> None:
    assert (
        "/nowhere: InvalidCatalogNameError. "
        in audifi(re.sub(r"/\w+\?", "/nowhere?", database_url), "users", "list").stderr
    )
