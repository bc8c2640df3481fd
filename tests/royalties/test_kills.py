"""A machine dies after any statement of an import; the job, run again, imports the statement once."""

import asyncio
from collections.abc import Mapping
from functools import partial
from uuid import UUID

import pytest

from audifi.core.db.database import Database
from audifi.core.files.download import temporary_file
from audifi.royalties.importing import Importer
from tests.royalties.statements import Label, begin_parsing, distrokid, file_store, new_isrc, sale, unique
from tests.support import databases
from tests.support.app import App
from tests.support.kills import LAST, Fuse, KilledError

pytestmark = pytest.mark.slow


def was_killed(app: App, storage: Mapping[str, str], statement_id: str, *, statements: int) -> bool:
    """Run the job, with a process that dies after so many statements; return whether it did."""

    async def run() -> bool:
        files = file_store(storage)
        connect = partial(Database, databases.settings_for(app.database_url), trace=Fuse(statements))
        async with connect(pool_size=1, read_pool_size=1) as database:
            importer = Importer(
                database=database,
                connect=partial(connect, pool_size=1, read_pool_size=1),
                files=files,
                make_file=temporary_file,
                currencies=("USD",),
                clock=app.clock,
                on_lines=lambda _status, _count: None,
            )
            try:
                await importer.run(UUID(statement_id))
            except KilledError:
                return True
            finally:
                await files.close()
        return False

    return asyncio.run(run())


def test_killed_import_is_whole_or_absent_and_runs_again(app: App, label: Label, storage: Mapping[str, str]) -> None:
    first, second = label.offer(), label.offer()
    for statements in range(LAST):
        store, revenue = f"Store {statements}", [label.revenue(master) for master in (first, second)]
        rows = [sale(isrc, "1", Store=store) for isrc in (label.isrcs[first], label.isrcs[second], new_isrc())]
        statement_id = label.send(unique(distrokid(*rows)))
        begin_parsing(app, statement_id)
        is_dead = was_killed(app, storage, statement_id, statements=statements)

        statement = label.get(statement_id)
        lines, totals = (label.get(statement_id, path)["data"] for path in ("/lines", "/totals"))
        whole = ("imported", 3, 3, 2)
        assert (statement["status"], statement["lines"], len(lines), len(totals)) in {("parsing", 0, 0, 0), whole}
        app.check_invariants()

        assert not was_killed(app, storage, statement_id, statements=LAST)
        assert label.get(statement_id)["status"] == "imported"
        for master, before in zip((first, second), revenue, strict=True):
            assert label.revenue(master) == [*before, 100]
        if not is_dead:
            break
    assert 10 < statements < LAST - 1
