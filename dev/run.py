"""`make run`: serves the API on this machine, with an embedded PostgreSQL 16 unless DATABASE_URL is set.

This process starts the others, ends them together, and says which one has ended by itself. The server is one of them
(`dev.server`): it imports its packages while PostgreSQL starts.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from dev.defaults import DATA, ROOT, secret, set_defaults

if TYPE_CHECKING:
    from dev.postgres import Postgres


def stop(*_: object) -> None:
    """Exit at the first Ctrl-C; ignore the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(130)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # which children inherit: this process ends them
    set_defaults()
    server = subprocess.Popen([sys.executable, "-m", "dev.server"], stdin=subprocess.PIPE, bufsize=0)
    signal.signal(signal.SIGINT, stop)
    for number in (signal.SIGTERM, signal.SIGHUP):  # the terminal was closed
        signal.signal(number, lambda *_: sys.exit(0))
    with ExitStack() as stack:
        stack.callback(end, server)
        variables, names = start_services(stack)
        stack.callback(end, server)  # before its services
        assert server.stdin  # noqa: S101
        with suppress(BrokenPipeError):  # it has ended
            server.stdin.write(json.dumps(variables).encode() + b"\n")
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        if ended and (name := names.get(ended.si_pid)):
            sys.exit(f"make run: {name} has ended, and with it the server. See its log in .data/, and start again.")
    sys.exit(server.returncode)


def start_services(stack: ExitStack) -> tuple[dict[str, str], dict[int, str]]:
    """Start what the server needs.

    Returns:
        The variables that tell the server of it, and the names of the processes, by their ids.
    """
    from dev import files, postgres  # noqa: PLC0415 - while the server imports, too

    variables: dict[str, str] = {}
    names: dict[int, str] = {}
    try:
        if not os.environ.get("DATABASE_URL"):
            database = start_database(stack)
            variables["DATABASE_URL"] = database.url()
            names[database.pid] = "PostgreSQL"
        if not os.environ.get("FILES_ENDPOINT"):
            # Nothing waits for it: only uploads need it.
            storage = stack.enter_context(files.running(DATA / "files", key_id="audifi", secret=secret("FILES_SECRET")))
            variables |= storage.variables
            names[storage.process.pid] = "SeaweedFS"
        if os.environ.get("PAYMENTS") == "stand_in":
            from dev import stripe  # noqa: PLC0415 - while the server imports, too

            port = os.environ.get("PORT", "8080")
            process, settings = stack.enter_context(stripe.running(ROOT, DATA, server_port=port))
            variables |= settings
            names[process.pid] = "the stand-in of Stripe"
    except (postgres.PostgresError, files.FilesError) as error:
        sys.exit(f"make run: {error}")
    return variables, names


def start_database(stack: ExitStack) -> "Postgres":
    from dev import postgres  # noqa: PLC0415 - while the server imports, too

    folder = DATA / "postgres"
    if not (folder / "PG_VERSION").exists():
        print("Making a PostgreSQL 16 database in .data/postgres …", flush=True)
    return stack.enter_context(postgres.running(folder))


def end(server: "subprocess.Popen[bytes]") -> None:
    """End the server. Again each second: an import may swallow the exception of a signal."""
    while server.poll() is None:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(1)


if __name__ == "__main__":
    main()
