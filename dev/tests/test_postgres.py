"""`dev.postgres`: the embedded server."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from dev import postgres
from dev.postgres import Postgres
from tests.support import databases


def test_leftover_pid_of_another_server_is_not_signalled(own_postgres: Postgres) -> None:
    with TemporaryDirectory(prefix="audifi-tests-") as name:
        folder = Path(name) / "postgres"
        with postgres.running(folder):
            pid_file = folder / "postmaster.pid"
            lines = pid_file.read_text().splitlines()
        owner = folder.stat()
        pid_file.write_text("\n".join([str(own_postgres.pid), *lines[1:]]) + "\n")
        os.chown(pid_file, owner.st_uid, owner.st_gid)

        with postgres.running(folder) as server:
            assert databases.fetch_value(server.url(), "SELECT 1") == 1

    assert databases.fetch_value(own_postgres.url(), "SELECT 1") == 1
