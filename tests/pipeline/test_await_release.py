"""The script that judges a deploy, as the workflow runs it, against a server that answers what each test says."""

import ast
import http.server
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from tests.support.api import ROOT, free_port

SCRIPT = ROOT / ".github" / "scripts" / "await_release.py"
COMMIT = "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d"
NEW = "0.1.0+1a2b3c4"
OLD = "0.1.0+0ddba11"


@dataclass(frozen=True)
class Reply:
    body: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def health(version: str, status: int = 200) -> Reply:
    return Reply(json.dumps({"status": "ok" if status == 200 else "degraded", "version": version}), status)


class Server(http.server.ThreadingHTTPServer):
    """Gives the replies one after another, and the last one, or all over again, for ever."""

    def __init__(self, replies: list[Reply], *, repeat_all: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.paths: list[str] = []
        self._replies = replies
        self._repeat_all = repeat_all

    def next_reply(self, path: str) -> Reply:
        number = len(self.paths)
        self.paths.append(path)
        last = len(self._replies) - 1
        return self._replies[number % len(self._replies) if self._repeat_all else min(number, last)]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        reply = self.server.next_reply(self.path)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body.encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(*replies: Reply, repeat_all: bool = False, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    with Server(list(replies), repeat_all=repeat_all) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def run(*arguments: str, summary: Path | None = None) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": os.environ["PATH"]} | ({"GITHUB_STEP_SUMMARY": str(summary)} if summary else {})
    return subprocess.run(
        [sys.executable, "-I", "-W", "error", SCRIPT, *arguments],
        env=variables,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def wait(url: str, *more: str, summary: Path | None = None) -> subprocess.CompletedProcess[str]:
    options = ["--timeout", "1", "--interval", "0", "--answers", "3", *more]
    return run("await", url, COMMIT, *options, summary=summary)


def ask_once(url: str) -> subprocess.CompletedProcess[str]:
    return wait(url, "--timeout", "0", "--answers", "1")


def test_it_ends_as_soon_as_the_commit_has_answered_several_times_in_a_row() -> None:
    with serving(health(NEW)) as server:
        done = wait(server.url)

    assert done.returncode == 0, done.stdout
    assert server.paths == ["/api/v1/health"] * 3
    assert f"version {NEW}" in done.stdout


def test_it_waits_while_the_old_commit_answers() -> None:
    with serving(*[health(OLD)] * 5, health(NEW)) as server:
        done = wait(server.url, "--timeout", "20")

    assert done.returncode == 0, done.stdout
    assert len(server.paths) == 8
    assert done.stdout.index(OLD) < done.stdout.index(NEW)


def test_old_and_new_machines_that_answer_in_turns_are_no_finished_deploy() -> None:
    with serving(health(NEW), health(NEW), health(OLD), repeat_all=True) as server:
        done = wait(server.url)

    assert done.returncode == 1


def test_it_gives_up_in_time_and_says_what_it_saw_last() -> None:
    with serving(health(OLD)) as server:
        started = time.monotonic()
        done = wait(server.url)

    assert done.returncode == 1
    assert time.monotonic() - started < 4
    assert f"Last seen: status 200, version {OLD}" in done.stdout


def test_the_commit_is_not_served_while_its_health_is_red() -> None:
    with serving(health(NEW, status=503)) as server:
        done = wait(server.url)

    assert done.returncode == 1
    assert f"Last seen: status 503, version {NEW}" in done.stdout


def test_health_that_turns_green_ends_the_wait() -> None:
    with serving(health(NEW, status=503), health(NEW)) as server:
        assert wait(server.url, "--timeout", "20").returncode == 0


@pytest.mark.parametrize(
    "body",
    [
        "<h1>502 Bad Gateway</h1>",
        "",
        "[]",
        "null",
        '{"version": 1}',
        "{}",
        '{"version": "--x"}',
        f'{{"version": "{NEW}\\nversion=x"}}',
    ],
)
def test_an_answer_without_a_version_is_none(body: str) -> None:
    with serving(Reply(body)) as server:
        done = ask_once(server.url)
        now = run("now", server.url)

    assert done.returncode == 1
    assert "without a version" in done.stdout
    assert (now.returncode, now.stdout) == (0, "version=\n")


def test_what_answers_cannot_give_commands_to_the_runner() -> None:
    with serving(Reply("\n::add-mask::x\n::error::forged")) as server:
        done = ask_once(server.url)

    assert [line for line in done.stdout.splitlines() if line.startswith("::")] == [done.stdout.splitlines()[-1]]


def test_a_refused_connection_is_waited_for() -> None:
    started = time.monotonic()
    done = wait(f"http://127.0.0.1:{free_port()}")

    assert done.returncode == 1
    assert time.monotonic() - started < 4
    assert "Last seen: no answer (ConnectionRefusedError" in done.stdout


def test_a_server_that_accepts_and_is_silent_does_not_hold_it_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = time.monotonic()
        done = wait(f"http://127.0.0.1:{listener.getsockname()[1]}")

    assert done.returncode == 1
    assert time.monotonic() - started < 5
    assert "no answer (TimeoutError" in done.stdout


@pytest.mark.parametrize("version", ["0.1.0+1a2b3c4", "0.1.0+1a2b3c4d5e", f"0.1.0+{COMMIT}", "2.0.0-rc.1+1a2b3c4"])
def test_seven_or_more_digits_of_the_commit_are_the_commit(version: str) -> None:
    with serving(health(version)) as server:
        assert ask_once(server.url).returncode == 0


@pytest.mark.parametrize(
    "version",
    [
        "0.1.0",
        "0.1.0+",
        "0.1.0+1a2b3c",  # too short to tell commits apart
        "0.1.0+1a2b3c5",
        "0.1.0+a2b3c4d",  # from its middle
        f"0.1.0+{COMMIT}0",
        "0.1.0+1A2B3C4",
        "0.1.0+1a2b3c4.dirty",
        "0.1.0-1a2b3c4",
        "1a2b3c4",
    ],
)
def test_another_version_is_not_the_commit(version: str) -> None:
    with serving(health(version)) as server:
        assert ask_once(server.url).returncode == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with (
        serving(health(NEW)) as target,
        serving(Reply("", status, {"Location": target.url + "/api/v1/health"})) as server,
    ):
        done = ask_once(server.url)

    assert done.returncode == 1
    assert target.paths == []


def test_a_certificate_that_is_not_trusted_is_no_answer() -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    with serving(health(NEW), tls=tls) as server:
        done = ask_once(server.url.replace("http:", "https:"))

    assert done.returncode == 1
    assert "SSLCertVerificationError" in done.stdout


def test_what_served_before_is_noted_whatever_its_health() -> None:
    with serving(health(OLD, status=503)) as server:
        done = run("now", server.url)

    assert (done.returncode, done.stdout) == (0, f"version={OLD}\n")


def test_an_app_that_does_not_answer_yet_served_nothing_before() -> None:
    done = run("now", f"http://127.0.0.1:{free_port()}")

    assert (done.returncode, done.stdout) == (0, "version=\n")


@pytest.mark.parametrize(
    ("flyctl", "before", "serves", "status", "sentence"),
    [
        ("success", OLD, NEW, 0, "Deployed."),
        ("success", "", NEW, 0, "Deployed."),
        ("success", NEW, NEW, 0, "Deployed."),  # the same commit again
        ("success", OLD, OLD, 1, "flyctl succeeded, but the app doesn't serve the commit."),
        ("failure", OLD, OLD, 1, "flyctl failed, and the app doesn't serve the commit."),
        # The release command has succeeded, or no machine would have been replaced: the API was slow.
        ("failure", OLD, NEW, 0, "Deployed, although flyctl failed"),
        ("failure", "0.1.0", NEW, 0, "Deployed, although flyctl failed"),
        # Nothing shows that it did: a release command that failed must not pass.
        ("failure", NEW, NEW, 1, "for all we know it did so before"),
        ("failure", "", NEW, 1, "for all we know it did so before"),
        ("skipped", OLD, OLD, 1, "Nothing was deployed"),
        ("skipped", NEW, NEW, 1, "Nothing was deployed"),
        ("cancelled", OLD, NEW, 1, "cancelled half-way"),
    ],
)
def test_the_commit_served_and_how_flyctl_ended_decide_together(
    flyctl: str, before: str, serves: str, status: int, sentence: str
) -> None:
    with serving(health(serves)) as server:
        done = wait(server.url, "--flyctl", flyctl, "--before", before)

    assert done.returncode == status, done.stdout
    assert sentence in done.stdout.splitlines()[-1]


def test_a_deploy_that_passes_in_spite_of_flyctl_leaves_a_warning_on_the_run() -> None:
    with serving(health(NEW)) as server:
        done = wait(server.url, "--flyctl", "failure", "--before", OLD)

    assert done.stdout.splitlines()[-1].startswith("::warning::")


@pytest.mark.parametrize("flyctl", ["skipped", "cancelled"])
def test_where_nothing_was_deployed_nothing_is_waited_for(flyctl: str) -> None:
    with serving(health(OLD)) as server:
        wait(server.url, "--timeout", "300", "--flyctl", flyctl)

        assert len(server.paths) == 1


@pytest.mark.parametrize(("serves", "mark"), [(NEW, "Deployed."), (OLD, "doesn't serve the commit")])
def test_the_summary_says_what_went_where_on_success_and_on_failure(tmp_path: Path, serves: str, mark: str) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("what an earlier step wrote\n")
    with serving(health(serves)) as server:
        wait(server.url, "--before", OLD, summary=summary)

    text = summary.read_text()
    assert text.startswith("what an earlier step wrote\n### 127.0.0.1:")
    assert mark in text
    for row in (f"| Commit | `{COMMIT}` |", f"| URL | {server.url} |", f"| Serves now | `{serves}` |"):
        assert row in text
    assert f"| Served before | `{OLD}` |" in text
    assert "| flyctl | success |" in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "the following arguments are required"),
        (["await", "http://127.0.0.1"], "the following arguments are required: commit"),
        (["await", "http://127.0.0.1", "1a2b3c4"], "'1a2b3c4' isn't a commit's full hash"),
        (["await", "http://127.0.0.1", COMMIT.upper()], "isn't a commit's full hash"),
        (["await", "127.0.0.1", COMMIT], "'127.0.0.1' isn't an address such as"),
        (["now", "ftp://127.0.0.1"], "isn't an address such as"),
        (["now", "https://"], "isn't an address such as"),
        (["now", "http://127.0.0.1/api"], "isn't an address such as"),
        (["await", "http://127.0.0.1", COMMIT, "--timeout", "nan"], "'nan' isn't a whole number"),
        (["await", "http://127.0.0.1", COMMIT, "--flyctl", "fine"], "invalid choice: 'fine'"),
    ],
)
def test_a_wrong_argument_is_named_in_a_sentence(arguments: list[str], sentence: str) -> None:
    done = run(*arguments)

    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_it_is_written_for_the_runners_own_python() -> None:
    """ubuntu-latest has 3.12, and none of our packages; the deploy jobs install nothing."""
    tree = ast.parse(SCRIPT.read_text(), feature_version=(3, 12))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names
