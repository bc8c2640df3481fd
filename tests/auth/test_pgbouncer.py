"""Sign-in, its queue and its limits behind a PgBouncer in transaction mode."""

import pytest

from dev.postgres import Postgres
from tests.support import pgbouncer
from tests.support.clients import Client, at_once
from tests.support.fixtures import StartApp
from tests.support.sendgrid import SendGrid

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(pgbouncer.PROGRAM is None, reason="PgBouncer isn't here: apt-get install pgbouncer"),
]


def test_ten_people_sign_in_over_two_server_connections(
    start_app: StartApp, postgres_server: Postgres, migrated_database_url: str, sendgrid: SendGrid
) -> None:
    database = migrated_database_url.split("/")[3].split("?", maxsplit=1)[0]
    with pgbouncer.running(postgres_server) as port:
        app = start_app(f"postgres://postgres@127.0.0.1:{port}/{database}")
        people = [Client(app.http, sendgrid) for _ in range(10)]
        at_once([person.sign_in for person in people])
        answers = at_once([person.refresh for person in people])
        reads = [
            lambda person=person, path=path: person.as_signed_in("GET", path)
            for person in people
            for path in ("/auth/me", "/auth/sessions", "/auth/me/activity")
        ]
        read = at_once(reads * 3)
        for person in people:
            person.as_signed_in("POST", "/auth/logout")

        assert {answer.status_code for answer in answers + read} == {200}
        assert [answer.json()["email"] for answer in read if "email" in answer.json()] == [p.email for p in people] * 3
        assert {person.as_signed_in("GET", "/auth/sessions").status_code for person in people} == {401}
