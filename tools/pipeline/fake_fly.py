"""A fake health endpoint, and a fake flyctl on PATH whose deploys change its answers. Tests configure both."""

import json
import os
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.support import web
from tests.support.api import ROOT

SCRIPT = ROOT / ".github" / "scripts" / "deploy.py"
COMMIT = "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d"
BEFORE = "0ddba110ddba110ddba110ddba110ddba110ddba"
NEW, OLD = "0.1.0+1a2b3c4", "0.1.0+0ddba11"
IMAGE = f"registry.fly.io/an-app:{COMMIT}"
IMAGE_BEFORE = f"registry.fly.io/an-app:{BEFORE}"

PROGRAM = """#!{python} -IS
import json, os, pathlib, signal, sys, time

folder = pathlib.Path(__file__).parent
name, calls = sys.argv[1], folder / "calls"
if name == "machine":
    name += " " + sys.argv[2]
earlier = [json.loads(line)["arguments"] for line in calls.read_text().splitlines()]
call = {{"arguments": sys.argv[1:], "folder": os.getcwd(), "token": os.environ.get("FLY_API_TOKEN")}}
with calls.open("a") as file:
    file.write(json.dumps(call) + "\\n")
steps = json.loads((folder / "plan").read_text()).get(name, [{{}}])
step = steps[min(len([each for each in earlier if " ".join(each).startswith(name)]), len(steps) - 1)]


def interrupted(*_):
    (folder / "interrupted").touch()
    os._exit(130)


signal.signal(signal.SIGINT, interrupted)
print(step.get("says") or "flyctl " + name, flush=True)
if step.get("replies"):
    (folder / "replies.new").write_text(json.dumps(step["replies"]))
    (folder / "replies.new").rename(folder / "replies")
time.sleep(step.get("seconds", 0))
sys.exit(step.get("status", 0))
"""
GIT = """#!{python} -IS
# The history is a file with one commit per line; each line is the child of the line before.
import pathlib, sys

history = (pathlib.Path(__file__).parent / "history").read_text().split()
numbers = [[i for i, each in enumerate(history) if each.startswith(name.partition("^")[0])] for name in sys.argv[3:]]
if not all(numbers):
    sys.exit(128)
sys.exit(0 if sys.argv[1] == "cat-file" or numbers[0] <= numbers[1] else 1)
"""


@dataclass(frozen=True)
class Reply:
    body: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def health(version: str, status: int = 200) -> Reply:
    return Reply(json.dumps({"status": "ok" if status == 200 else "degraded", "version": version}), status)


def degraded(version: str) -> Reply:
    body = {"status": "degraded", "version": version, "dependencies": {"database": "read_only"}}
    return Reply(json.dumps(body))


AWAY = Reply("<h1>502 Bad Gateway</h1>", 502)


def release(version: int, image: str, status: str = "complete") -> dict[str, Any]:
    """Return a release as in `flyctl releases --json` (fly-go, types.go, Release)."""
    return {"ID": f"id{version}", "Version": version, "Status": status, "ImageRef": image, "Reason": ""}


def machine(
    name: str,
    image: str = IMAGE_BEFORE,
    *,
    state: str = "started",
    cordoned: bool = False,
    tag: str = "",
    pin: str = "",
) -> dict[str, Any]:
    """Return a machine as in `flyctl machine list --json` (fly-go, machine_types.go, Machine)."""
    registry, _, path = image.partition("/")
    repository, _, label = path.partition(":")
    return {
        "id": name,
        "state": state,
        "image_ref": {"registry": registry, "repository": repository, "tag": label},
        "config": {
            "env": {"PORT": "8080"} | ({"ROLL_BACK_PIN": pin} if pin else {}),
            "metadata": {"fly_process_group": "app"} | ({"fly_bluegreen_deployment_tag": tag} if tag else {}),
        },
        "cordoned": cordoned,
    }


@dataclass(frozen=True, kw_only=True)
class Step:
    """The behaviour of one call of a flyctl command."""

    status: int = 0
    says: str = ""
    replies: Sequence[Reply] = ()
    """Health's answers from now on, in turns; unchanged if empty."""
    seconds: float = 0
    """How long the process runs after that."""


class Server(web.Server):
    """Sends the replies in turn, then repeats the last one, or all of them."""

    def __init__(self, replies: Sequence[Reply], *, repeat_all: bool = False) -> None:
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


class ServerOfAFile(Server):
    """Sends the replies that the file contains at the moment, in turn."""

    def __init__(self, file: Path) -> None:
        super().__init__([])
        self._file = file

    def next_reply(self, path: str) -> Reply:
        self.paths.append(path)
        replies = json.loads(self._file.read_text())
        return Reply(**replies[len(self.paths) % len(replies)])


class Handler(web.Handler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        reply = self.server.next_reply(self.path)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body.encode())


@contextmanager
def serving(*replies: Reply, repeat_all: bool = False, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(replies, repeat_all=repeat_all)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    with web.running(server):
        yield server


@dataclass(frozen=True)
class Done:
    status: int
    out: str

    @property
    def last(self) -> str:
        """The last line, which is the run's annotation."""
        return self.out.splitlines()[-1]


class FakeFly:
    """The app `an-app`. Tests set its attributes before they run the script."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.releases: list[dict[str, Any]] | None = [release(1, "registry.fly.io/an-app:x"), release(2, IMAGE_BEFORE)]
        """Output of `flyctl releases`; None: the command fails."""
        self.newer_releases: list[dict[str, Any]] = []
        """Added to it once the deploy has begun."""
        self.deploys = [Step(replies=[health(NEW)])]
        """One per call; the last one is repeated."""
        self.status = Step(says="2 machines\n")
        self.machines: list[list[dict[str, Any]] | None] = [[machine("m1"), machine("m2")]]
        """Outputs of `machine list`, one per call; None: the command fails."""
        self.destroy = Step(says="destroyed")
        self.last_failure = Step(status=1, says="No such command")
        """Output of `machine exec`."""
        self.history = [BEFORE, COMMIT]
        """The commits that git knows, each the child of the one before."""
        self.serve(health(OLD))
        for name, text in (("flyctl", PROGRAM), ("git", GIT)):
            program = folder / name
            program.write_text(text.format(python=sys.executable))
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
        (folder / "calls").touch()

    def serve(self, *replies: Reply) -> None:
        """Set the replies that health sends in turn."""
        (self.folder / "replies").write_text(json.dumps([asdict(each) for each in replies]))

    def start(self, command: str, release: str, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        listed = Step(status=1, says="no such app") if self.releases is None else Step(says=json.dumps(self.releases))
        plan = {
            "deploy": self.deploys,
            "releases": [listed, listed, *self._releases_since_the_deploy()],
            "status": [self.status],
            "machine list": [Step(status=each is None, says=json.dumps(each)) for each in self.machines],
            "machine destroy": [self.destroy],
            "machine exec": [self.last_failure],
        }
        (self.folder / "history").write_text("\n".join(self.history))
        (self.folder / "plan").write_text(
            json.dumps({name: [asdict(s) for s in steps] for name, steps in plan.items()})
        )
        options = ["--url", self.url, "--patience", "1", "--interval", "0", "--answers", "3"]
        options += [*(["--bake", "0"] if command == "deploy" else []), *arguments]
        return subprocess.Popen(
            [sys.executable, "-EsW", "error", SCRIPT, command, "an-app", release, *options],
            env={
                "PATH": f"{self.folder}:{os.environ['PATH']}",
                "FLY_API_TOKEN": "fo1_s3cr3t",
                "GITHUB_STEP_SUMMARY": str(self.folder / "summary"),
                **variables,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _releases_since_the_deploy(self) -> list[Step]:
        return [Step(says=json.dumps([*(self.releases or []), *self.newer_releases]))] if self.newer_releases else []

    def run(self, command: str, release: str, *arguments: str, **variables: str) -> Done:
        process = self.start(command, release, *arguments, **variables)
        out, error = process.communicate(timeout=50)
        assert error == ""
        assert "fo1_s3cr3t" not in out
        return Done(process.returncode, out)

    def deploy(self, *arguments: str, **variables: str) -> Done:
        return self.run("deploy", COMMIT, *arguments, **variables)

    @property
    def summary(self) -> str:
        return (self.folder / "summary").read_text()

    @property
    def calls(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]

    def commands(self, name: str) -> list[str]:
        lines = [" ".join(call["arguments"]) for call in self.calls]
        return [line for line in lines if f"{line} ".startswith(f"{name} ")]


@contextmanager
def fake_fly(folder: Path) -> Iterator[FakeFly]:
    with web.running(ServerOfAFile(folder / "replies")) as server:
        yield FakeFly(folder, server.url)
