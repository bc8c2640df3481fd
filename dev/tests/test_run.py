"""`make run` in a copy of the checkout that shares its .venv."""

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
import psutil
import pytest

from tests.support import patient
from tests.support.api import ROOT, free_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def checkout() -> Iterator[Path]:
    # Not in pytest's folder, which PostgreSQL's user can't read.
    with TemporaryDirectory(prefix="a checkout with spaces ") as folder:
        copy = Path(folder)
        copy_files(copy)
        yield copy


def copy_files(copy: Path) -> None:
    for name in ("Makefile", ".python-version"):
        shutil.copy2(ROOT / name, copy)
    for name in ("server", "dev", "tools/stripe_stand_in"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    (copy / ".venv").symlink_to(ROOT / ".venv")


class MakeRun:
    """A running `make run` and its output."""

    def __init__(self, checkout: Path, **variables: str) -> None:
        environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **variables}
        self.process = subprocess.Popen(
            ["make", "run"],
            cwd=checkout,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.output = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.output += line

    def wait_for(self, pattern: str) -> str:
        """Wait until the output matches; return the pattern's group."""
        deadline = time.monotonic() + 120
        while not (match := re.search(pattern, self.output)):
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)
        return match[1]

    def interrupt(self) -> None:
        """Do what Ctrl-C in a terminal does: signal all processes. make ends by the signal, too."""
        os.killpg(self.process.pid, signal.SIGINT)
        assert self.wait() in {0, -signal.SIGINT}, self.output

    def wait(self) -> int:
        status = self.process.wait(120)
        self._reader.join()
        assert self.process.stdout
        self.process.stdout.close()
        return status


def wait_for_health(port: int) -> httpx2.Response:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            return patient.get(f"http://127.0.0.1:{port}/api/v1/health")
        except httpx2.TransportError:
            time.sleep(0.1)
    raise AssertionError("make run doesn't answer")


def processes_of(checkout: Path) -> list[str]:
    """Return the command lines of all processes of a checkout."""
    lines = []
    for process in psutil.process_iter(["cmdline", "cwd", "status"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(checkout) in line + str(process.info["cwd"]) and process.info["status"] != psutil.STATUS_ZOMBIE:
            lines.append(line)
    return lines


@pytest.fixture
def make_run(checkout: Path) -> Iterator[type[MakeRun]]:
    yield MakeRun
    for process in psutil.process_iter(["cwd"]):
        if str(checkout) in str(process.info["cwd"]):
            process.kill()


@pytest.mark.usefixtures("make_run")
def test_run_serves_and_stops_by_ctrl_c(checkout: Path) -> None:
    for start in ("first", "second"):
        port = free_port()
        run = MakeRun(checkout, PORT=str(port))
        health = wait_for_health(port)
        run.interrupt()

        assert health.json()["dependencies"]["database"] == "connected"
        assert f"Health    http://localhost:{port}/api/v1/health" in run.output
        assert f"Docs      http://localhost:{port}/docs" in run.output
        assert "Database  postgresql://postgres@/postgres?host=" in run.output
        assert "Files     http://127.0.0.1:" in run.output
        assert ("Making a PostgreSQL 16 database" in run.output) == (start == "first")
        assert "Traceback" not in run.output
        assert processes_of(checkout) == []


@pytest.mark.usefixtures("make_run")
@pytest.mark.parametrize("killed", ["all", "dev.run"])
def test_run_starts_after_it_was_killed(checkout: Path, killed: str) -> None:
    port = free_port()
    run = MakeRun(checkout, PORT=str(port))
    wait_for_health(port)
    if killed == "all":
        os.killpg(run.process.pid, signal.SIGKILL)
    else:
        child_of(run, "dev.run").kill()
    run.wait()  # for the server, too, which writes into the same pipe

    again = MakeRun(checkout, PORT=str(port))
    assert wait_for_health(port).status_code == 200
    again.interrupt()
    assert processes_of(checkout) == []


@pytest.mark.usefixtures("make_run")
def test_missing_locale_is_replaced(checkout: Path) -> None:
    port = free_port()
    run = MakeRun(checkout, PORT=str(port), LC_ALL="xx_XX.UTF-8")
    assert wait_for_health(port).status_code == 200
    run.interrupt()

    assert "Traceback" not in run.output


def child_of(run: MakeRun, module: str) -> psutil.Process:
    """Return the child of make that runs a module of Python."""
    [child] = [child for child in psutil.Process(run.process.pid).children() if module in child.cmdline()]
    return child


@pytest.mark.usefixtures("make_run")
def test_end_of_the_database_is_one_sentence(checkout: Path) -> None:
    port = free_port()
    run = MakeRun(checkout, PORT=str(port))
    wait_for_health(port)
    pid = (checkout / ".data" / "postgres" / "postmaster.pid").read_text().splitlines()[0]
    os.kill(int(pid), signal.SIGKILL)

    assert run.wait() != 0
    assert "make run: PostgreSQL has ended, and with it the server. See its log in .data/" in run.output
    assert "Traceback" not in run.output
    assert not [line for line in processes_of(checkout) if "dev." in line]


@pytest.mark.usefixtures("make_run")
def test_limits_are_multiplied_in_development(checkout: Path, database_url: str) -> None:
    port = free_port()
    run = MakeRun(checkout, PORT=str(port), DATABASE_URL=database_url)
    wait_for_health(port)
    headers = patient.get(f"http://[::1]:{port}/").headers
    run.interrupt()

    assert headers["ratelimit-policy"] == '"client";q=60000;w=60'


def is_importing(group: int) -> bool:
    """Return whether `dev.server` in this process group has imported one of its packages."""
    for process in psutil.process_iter(["cmdline"]):
        if "dev.server" in (process.info["cmdline"] or []) and os.getpgid(process.pid) == group:
            return "pydantic_core" in Path(f"/proc/{process.pid}/maps").read_text()
    return False


@pytest.mark.usefixtures("make_run")
@pytest.mark.parametrize(
    "step",
    ["import", "Migrating", "Ctrl-C stops it", "listens on"],
)
def test_ctrl_c_at_any_time_shows_no_traceback(checkout: Path, empty_database_url: str, step: str) -> None:
    run = MakeRun(checkout, PORT=str(free_port()), DATABASE_URL=empty_database_url)
    wait_until(lambda: is_importing(run.process.pid) if step == "import" else step in run.output)
    os.killpg(run.process.pid, signal.SIGINT)
    with suppress(ProcessLookupError):
        os.killpg(run.process.pid, signal.SIGINT)
    run.wait()

    assert "Traceback" not in run.output
    assert processes_of(checkout) == []


@pytest.mark.usefixtures("make_run")
def test_ctrl_c_during_initdb_leaves_no_database(checkout: Path) -> None:
    run = MakeRun(checkout, PORT=str(free_port()))
    wait_until(lambda: any(checkout.glob(".data/postgres*/PG_VERSION")))  # initdb writes it early
    os.killpg(run.process.pid, signal.SIGINT)
    run.wait()
    assert "Traceback" not in run.output

    port = free_port()
    again = MakeRun(checkout, PORT=str(port))
    assert wait_for_health(port).status_code == 200
    again.interrupt()
    names = sorted(path.name for path in checkout.glob(".data/postgres*"))
    assert names == ["postgres", "postgres.lock", "postgres.log"]


@pytest.mark.usefixtures("make_run")
def test_closed_terminal_stops_the_server(checkout: Path) -> None:
    port = free_port()
    run = MakeRun(checkout, PORT=str(port))
    wait_for_health(port)
    child_of(run, "dev.run").send_signal(signal.SIGHUP)
    run.wait()

    assert "Traceback" not in run.output
    assert processes_of(checkout) == []


@pytest.mark.usefixtures("make_run")
def test_password_of_database_url_is_not_shown(checkout: Path, empty_database_url: str) -> None:
    port = free_port()
    run = MakeRun(checkout, PORT=str(port), DATABASE_URL=empty_database_url.replace("postgres@", "postgres:s3cr3t@"))
    assert wait_for_health(port).status_code == 200
    run.interrupt()
    assert "s3cr3t" not in run.output
    assert not (checkout / ".data" / "postgres").exists()


@pytest.mark.usefixtures("make_run")
def test_used_port_is_reported_in_one_sentence(checkout: Path, database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        run = MakeRun(checkout, PORT=str(port), DATABASE_URL=database_url)

        assert run.wait() != 0
    assert f"make run: HOST, PORT: can't listen on 127.0.0.1:{port}: Address already in use." in run.output
    assert "Traceback" not in run.output


@pytest.mark.usefixtures("make_run")
@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("postgres://u:s3cr3t@127.0.0.1:1/d", "FAILED: can't reach 127.0.0.1:1/d: ConnectionRefusedError"),
        ("postgres://u:s3cr3t@audifi.invalid/d", "FAILED: can't reach audifi.invalid:5432/d: gaierror"),
        ("sqlite:///s3cr3t", "make run: DATABASE_URL: must start with postgres:// or postgresql://"),
    ],
)
def test_unreachable_database_is_one_sentence(checkout: Path, url: str, sentence: str) -> None:
    run = MakeRun(checkout, PORT=str(free_port()), DATABASE_URL=url)

    assert run.wait() != 0
    assert sentence in run.output
    lines = [line for line in run.output.splitlines() if line and "Migrating" not in line and "make: ***" not in line]
    assert len(lines) == 1, lines
    assert "s3cr3t" not in run.output
    assert "Traceback" not in run.output


def test_missing_python_is_one_sentence(checkout: Path, tmp_path: Path) -> None:
    (checkout / ".venv").unlink()
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("make", "bash", "env", "awk"):
        program = shutil.which(name)
        assert program
        (tools / name).symlink_to(program)

    done = subprocess.run(
        ["make", "run"], cwd=checkout, env={"PATH": str(tools)}, capture_output=True, text=True, check=False
    )

    assert done.returncode != 0
    assert done.stderr.count("Python 3.13 is needed and wasn't found. Install it") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("python", "sentence"),
    [
        ("a folder/old", "make: PYTHON=a folder/old is Python 3.11; Python 3.13 is needed\n"),
        ("/nowhere/python", "make: PYTHON=/nowhere/python is no Python; Python 3.13 is needed\n"),
    ],
)
def test_wrong_python_is_refused(checkout: Path, python: str, sentence: str) -> None:
    (checkout / ".venv").unlink()
    (checkout / "a folder").mkdir()
    (checkout / "a folder" / "old").write_text("#!/bin/sh\nprintf 3.11\n")
    (checkout / "a folder" / "old").chmod(0o755)

    done = subprocess.run(
        ["make", "run", f"PYTHON={python}"], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert done.stderr.startswith(sentence)
    assert not (checkout / ".venv").exists()


def test_make_lists_the_targets(checkout: Path) -> None:
    listed = subprocess.run(["make"], cwd=checkout, capture_output=True, text=True, check=True).stdout

    for target in ("run", "test", "check", "format", "lock"):
        assert f"  make {target} " in listed


@pytest.mark.usefixtures("make_run")
def test_commands_use_the_running_database(checkout: Path) -> None:
    def make(*arguments: str, port: int) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "PORT": str(port)}
        return subprocess.run(
            ["make", *arguments], cwd=checkout, env=environment, capture_output=True, text=True, check=False
        )

    port = free_port()
    run = MakeRun(checkout, PORT=str(port))
    wait_for_health(port)
    healthy = make("doctor", port=port)
    users = make("audifi", "ARGS=users list", port=port)
    run.interrupt()
    gone = make("doctor", port=port)

    assert healthy.returncode == 0, healthy.stdout + healthy.stderr
    assert "✗" not in healthy.stdout
    assert (users.returncode, users.stdout) == (0, "None.\n"), users.stderr
    assert "`make run` starts one" in gone.stderr


@pytest.mark.usefixtures("make_run")
def test_demo_is_made_before_the_server_listens(checkout: Path) -> None:
    run = MakeRun(checkout, PORT=str(free_port()), DEMO="1")
    run.wait_for(r"(listens on)")
    run.interrupt()

    assert 0 < run.output.index("Made in") < run.output.index("Sign in as one of them") < run.output.index("listens on")
    assert "X-Amz-Signature" not in run.output


@pytest.mark.usefixtures("make_run")
def test_demo_and_doctor_use_the_stand_in_of_stripe(checkout: Path) -> None:
    variables = {"PORT": str(free_port()), "PAYMENTS": "stand_in"}
    run = MakeRun(checkout, DEMO="1", **variables)
    run.wait_for(r"(listens on)")
    environment = {"PATH": os.environ["PATH"], **variables}
    doctor = subprocess.run(
        ["make", "doctor"], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    run.interrupt()

    assert "pro_month_usd" in run.output
    assert "Payments  http://localhost:" in run.output
    assert "3 deposits came by card" in run.output
    assert "✓ payments     Stripe accepts the key" in doctor.stdout
