"""Imports that are cut off, and files that change on the way."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from hashlib import sha256
from uuid import UUID, uuid4

import pytest

from audifi.core.files.download import temporary_file
from audifi.core.files.store import FileStore
from audifi.masters.uploads import incoming
from audifi.royalties import importing, jobs
from audifi.royalties.importing import Importer
from tests.masters.sending import storage_request
from tests.royalties.statements import Label, begin_parsing, distrokid, new_isrc, sale, unique
from tests.support import databases
from tests.support.app import App
from tests.support.waiting import wait_until

WAITING = "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


def count_lines(app: App, statement_id: str) -> object:
    query = f"SELECT count(*) FROM royalty_lines WHERE statement_id = '{statement_id}'"
    return databases.fetch_value(app.database_url, query)


def run_import(
    app: App, files: FileStore, statement_id: str, on_lines: Callable[[str, int], None] | None = None
) -> None:
    """Run the job, as a worker does."""

    async def run() -> None:
        async with databases.connect_pools(app.database_url) as database:
            importer = Importer(
                database=database,
                connect=partial(jobs.import_database, app.services.settings),
                files=files,
                make_file=temporary_file,
                currencies=("USD",),
                clock=app.clock,
                on_lines=on_lines or (lambda _status, _count: None),
            )
            await importer.run(UUID(statement_id))
        await files.close()

    asyncio.run(run())


@pytest.mark.slow
@pytest.mark.parametrize(
    "lock",
    [
        "LOCK TABLE royalty_lines IN EXCLUSIVE MODE",
        "SELECT FROM royalty_carries WHERE master_id = '{master_id}' FOR UPDATE",
        "LOCK TABLE revenue_events IN EXCLUSIVE MODE",
        "LOCK TABLE royalty_totals IN EXCLUSIVE MODE",
    ],
)
def test_import_that_is_cut_off_leaves_nothing_and_runs_again(app: App, label: Label, lock: str) -> None:
    master_id = label.offer()
    isrc = label.isrcs[master_id]
    label.upload(distrokid(sale(isrc, "1.001")))
    statement_id = label.send(distrokid(*[sale(isrc, "0.5", Store="Deezer")] * 7000))

    with databases.holding(app.database_url, lock.format(master_id=master_id)) as waiting:
        label.complete(statement_id)
        wait_until(lambda: waiting() >= 1)
        databases.execute(app.database_url, f"SELECT pg_terminate_backend(pid) {WAITING}")
        assert (count_lines(app, statement_id), label.revenue(master_id)) == (0, [100])
        assert label.get(statement_id)["status"] == "parsing"

    label.wait(statement_id)
    assert (count_lines(app, statement_id), label.revenue(master_id)) == (7000, [100, 350_000])


def test_import_runs_once(app: App, label: Label, files: FileStore) -> None:
    master_id = label.offer()
    statement = label.upload(distrokid(sale(label.isrcs[master_id], "1")))

    run_import(app, files, statement["id"])
    run_import(app, files, str(uuid4()))

    assert label.revenue(master_id) == [100]


def test_imported_file_is_deleted(label: Label, files: FileStore) -> None:
    label.offer()
    statement = label.upload(unique(distrokid(sale(new_isrc()))))

    url = files.sign_download(incoming(UUID(statement["id"])), lifetime=timedelta(minutes=1))
    wait_until(lambda: storage_request("GET", url).status_code == 404)  # after the commit


def test_progress_is_reported(app: App, label: Label, files: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    label.offer()
    content = distrokid(*[sale(new_isrc())] * 6000)
    statement_id = label.send(content)
    begin_parsing(app, statement_id)
    monkeypatch.setattr(importing, "PROGRESS_BATCHES", 1)
    reported: dict[str, int] = {}

    run_import(app, files, statement_id, on_lines=reported.__setitem__)

    assert reported == {"matched": 0, "unmatched": 6000}
    assert label.get(statement_id)["bytes_read"] == len(content)


@pytest.mark.parametrize(
    ("change", "failure"),
    [
        (lambda content: content + b"\n", "statement.too_large"),
        (lambda content: content[:-2] + b"2\n", "statement.hash_mismatch"),
    ],
)
def test_file_that_was_replaced_is_refused(
    label: Label, files: FileStore, change: Callable[[bytes], bytes], failure: str
) -> None:
    master_id = label.offer()
    content = distrokid(sale(label.isrcs[master_id], "1.1"))
    statement_id = label.send(content)
    other = change(content)
    target = files.sign_upload(
        incoming(UUID(statement_id)),
        size=len(other),
        sha256=sha256(other).digest(),
        content_type="text/csv",
        lifetime=timedelta(minutes=1),
    )
    assert storage_request("PUT", target.url, content=other, headers=dict(target.headers)).status_code == 200

    label.complete(statement_id)
    label.wait(statement_id)

    statement = label.get(statement_id)
    assert (statement["failure"]["code"], label.revenue(master_id)) == (failure, [])


def test_statement_discarded_meanwhile_is_not_imported(app: App, label: Label) -> None:
    master_id = label.offer()
    isrc = label.isrcs[master_id]
    statement_id = label.send(distrokid(sale(isrc, "1")))

    discard = f"UPDATE royalty_statements SET status = 'discarded' WHERE id = '{statement_id}'"
    with databases.holding(app.database_url, "LOCK TABLE royalty_lines IN EXCLUSIVE MODE") as waiting:
        label.complete(statement_id)
        wait_until(lambda: waiting() >= 1)
        databases.execute(app.database_url, discard)

    wait_until(lambda: databases.fetch_value(app.database_url, "SELECT count(*) FROM pgqueuer") == 0)
    assert (count_lines(app, statement_id), label.revenue(master_id)) == (0, [])
    assert label.get(statement_id)["status"] == "discarded"


def test_revenue_of_a_canceled_offering_is_carried(app: App, label: Label) -> None:
    master_id = label.offer()
    isrc = label.isrcs[master_id]
    statement_id = label.send(distrokid(sale(isrc, "1.5")))

    # The offering ends between the look-up of the master and the recording.
    with databases.holding(app.database_url, "LOCK TABLE royalty_carries IN ACCESS EXCLUSIVE MODE") as waiting:
        label.complete(statement_id)
        wait_until(lambda: waiting() >= 1)
        assert label.cancel_offering(master_id).is_success

    label.wait(statement_id)
    [total] = label.totals({"id": statement_id})
    assert (total["recorded"], total["carried_out"], label.revenue(master_id)) == (0, "1.500000000000", [])


def test_lines_are_counted_in_metrics(app: App, label: Label) -> None:
    def counted(status: str) -> float:
        return app.services.metrics.registry.get_sample_value("statement_lines_total", {"status": status}) or 0

    master_id = label.offer()
    before = counted("matched"), counted("unmatched")
    label.upload(distrokid(*[sale(label.isrcs[master_id])] * 2, sale(new_isrc())))

    wait_until(lambda: counted("unmatched") > before[1])
    assert (counted("matched"), counted("unmatched")) == (before[0] + 2, before[1] + 1)
