"""What is deleted of statements, and when."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from audifi.core.db.retention import delete_expired
from audifi.core.files.store import FileStore
from audifi.masters.uploads import incoming
from audifi.royalties import jobs
from tests.masters.sending import storage_request
from tests.royalties.statements import Label, code, distrokid, new_isrc, sale, unique
from tests.support import databases
from tests.support.app import App


def clean_up(app: App, files: FileStore, *, days_later: float = 0) -> None:
    """Run retention, as it is done after these days."""

    def later() -> datetime:
        return app.clock() + timedelta(days=days_later)

    async def run() -> None:
        async with databases.connect_pools(app.database_url) as database:
            await jobs.clean_up(replace(app.services, files=files, background_database=database, clock=later))
            await delete_expired(database, jobs.retention(app.clock() + timedelta(days=days_later)))
        await files.close()

    asyncio.run(run())


def count(app: App, table: str, statement_id: str) -> object:
    column = "id" if table == "royalty_statements" else "statement_id"
    return databases.fetch_value(app.database_url, f"SELECT count(*) FROM {table} WHERE {column} = '{statement_id}'")


def test_abandoned_upload_is_deleted_after_a_day(app: App, label: Label, files: FileStore) -> None:
    label.offer()
    statement_id = label.send(unique(distrokid(sale(new_isrc()))))
    url = files.sign_download(incoming(UUID(statement_id)), lifetime=timedelta(minutes=1))

    clean_up(app, files, days_later=0.9)
    assert (count(app, "royalty_statements", statement_id), storage_request("GET", url).status_code) == (1, 200)
    clean_up(app, files, days_later=1.1)
    assert (count(app, "royalty_statements", statement_id), storage_request("GET", url).status_code) == (0, 404)


def test_lines_are_deleted_after_400_days_and_totals_stay(
    app: App, label: Label, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "MAX_BATCHES", 1000)  # for the statements of other tests
    master_id = label.offer()
    statement = label.upload(distrokid(sale(label.isrcs[master_id], "1"), sale(new_isrc())))

    clean_up(app, files, days_later=399)
    assert len(label.lines(statement)) == 2
    clean_up(app, files, days_later=401)
    assert (label.lines(statement), len(label.totals(statement))) == ([], 1)
    assert label.get(statement["id"])["lines"] == 2


def test_lines_are_deleted_in_batches(
    app: App, label: Label, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    label.offer()
    statement = label.upload(distrokid(*[sale(new_isrc())] * 6))
    monkeypatch.setattr(jobs, "BATCH_LINES", 2)
    monkeypatch.setattr(jobs, "MAX_BATCHES", 2)
    databases.execute(
        app.database_url,
        "UPDATE royalty_statements SET status = 'discarded', imported_at = NULL, lines_expire_at = created_at"
        f" WHERE id = '{statement['id']}'",
    )

    left = []
    for _ in range(3):
        clean_up(app, files)
        left.append(len(label.lines(statement)))
    assert left == [3, 0, 0]


def test_failed_and_discarded_statements_are_deleted_later(app: App, label: Label, files: FileStore) -> None:
    master_id = label.offer()
    isrc = label.isrcs[master_id]
    kept = label.upload(distrokid(sale(isrc, "1")))
    again = label.upload(distrokid(sale(isrc, "1"), sale(new_isrc())))
    label.confirm(again, "discard")
    failed = label.upload(b"\0" + unique(b""))
    assert failed["status"] == "failed"

    clean_up(app, files, days_later=29)
    assert [count(app, "royalty_statements", each["id"]) for each in (kept, again, failed)] == [1, 1, 1]
    assert label.lines(again) == []
    clean_up(app, files, days_later=31)
    assert [count(app, "royalty_statements", each["id"]) for each in (kept, again, failed)] == [1, 0, 0]
    assert code(label.client.as_signed_in("GET", f"/dividends/statements/{failed['id']}")) == "404 not_found"


def test_clean_up_waits_for_the_storage(app: App, label: Label, caplog: pytest.LogCaptureFixture) -> None:
    label.offer()
    statement_id = label.begin(unique(distrokid())).json()["id"]
    away = FileStore(endpoint="http://127.0.0.1:1", bucket="audifi", key_id="a", secret="b")

    clean_up(app, away, days_later=2)

    assert count(app, "royalty_statements", statement_id) == 1
    assert "statements are kept until the next run: error=the storage can't be reached" in caplog.text
