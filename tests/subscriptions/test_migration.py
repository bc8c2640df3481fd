"""What the migration that makes plans does with masters that are there."""

import importlib.util
from types import ModuleType

from audifi.core.db.database import Database
from tests.ipos.offerings import insert_funded_users, insert_master
from tests.subscriptions.accounts import run, use, used
from tests.support import databases
from tests.support.api import ROOT


def migration() -> ModuleType:
    [path] = (ROOT / "server/alembic/versions").glob("*_plans.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_masters_from_before_plans_are_counted(migrated_database_url: str) -> None:
    single, several, none = insert_funded_users(migrated_database_url, 3, 1)
    for artist in (single, several, several, several, none):
        insert_master(migrated_database_url, artist)
    databases.execute(
        migrated_database_url,
        f"UPDATE masters SET status = 'archived' WHERE artist_id = '{none}'",
        *migration().COUNT_MASTERS,
    )

    async def act(database: Database) -> tuple[list[list[int]], list[bool]]:
        counts = [await used(database, user) for user in (single, several, none)]
        return counts, [bool(await use(database, user)) for user in (single, several, none)]

    counts, are_refused = run(migrated_database_url, act)

    assert counts == [[1], [3], []]
    assert are_refused == [True, True, False]
