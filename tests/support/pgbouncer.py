"""A real PgBouncer in transaction mode, in front of a real PostgreSQL."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from dev.postgres import Postgres
from tests.support.api import free_port, listens
from tests.support.waiting import wait_until

# Debian installs it outside an ordinary user's PATH.
PROGRAM = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")


@contextmanager
def running(server: Postgres, **settings: str) -> Iterator[int]:
    """Yield its port on 127.0.0.1. Its few server connections are shared by all clients."""
    folder = Path(mkdtemp(prefix="audifi-pgbouncer-"))
    port = free_port()
    (folder / "pgbouncer.ini").write_text(f"""
[databases]
* = host={server.socket_folder} port={server.port} user=postgres

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
{"".join(f"{name} = {value}\n" for name, value in ({"default_pool_size": "2"} | settings).items())}""")
    user = "pgserver" if os.geteuid() == 0 else None  # PgBouncer, like PostgreSQL, doesn't run as root
    if user:
        shutil.chown(folder, user)
        (folder / "pgbouncer.ini").chmod(0o644)
    with (folder.parent / f"{folder.name}.log").open("wb") as log:
        process = subprocess.Popen([str(PROGRAM), folder / "pgbouncer.ini"], user=user, stdout=log, stderr=log)
    try:
        wait_until(lambda: process.poll() is not None or listens(port))
        assert process.poll() is None, (folder.parent / f"{folder.name}.log").read_text()
        yield port
    finally:
        process.kill()  # since 1.23 SIGTERM waits for clients
        process.wait(10)
        shutil.rmtree(folder)
        (folder.parent / f"{folder.name}.log").unlink()
