#!/usr/bin/env python3
"""Asks a deployed API which commit it serves, and judges a deploy by the answer. For Python 3.12 and nothing else.

    await_release.py now URL             print `version=…`, what answers now, for $GITHUB_OUTPUT
    await_release.py await URL COMMIT    wait until URL serves COMMIT; exit 1 when it doesn't

`await` writes what went where to standard output and, in GitHub Actions, to the job's summary.
"""

import argparse
import http.client
import json
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

HEALTH_PATH = "/api/v1/health"
REQUEST_TIMEOUT_SECONDS = 10
MAX_ANSWER_BYTES = 65536
# flyctl does the work of a deploy itself: when it has ended with a failure, little will change any more.
TIMEOUT_AFTER_FAILURE_SECONDS = 30
SHORTEST_COMMIT = 7
UNFINISHED = {
    "skipped": "Nothing was deployed: a step before the deploy failed.",
    "cancelled": "The deploy was cancelled half-way.",
}


@dataclass(frozen=True)
class Answer:
    """What the health endpoint said."""

    status: int | None  # None: nothing answered
    version: str  # empty: it isn't the API that answered
    seen: str  # for a person

    def names(self, commit: str) -> bool:
        """Whether the version's build metadata is the commit's beginning: `0.1.0+1a2b3c4` (semver.org, 10)."""
        build = self.version.partition("+")[2]
        return len(build) >= SHORTEST_COMMIT and commit.startswith(build)

    def serves(self, commit: str) -> bool:
        return self.status == http.client.OK and self.names(commit)


def ask(url: str, timeout: float = REQUEST_TIMEOUT_SECONDS) -> Answer:
    """One request on a connection of its own, so that the next may meet another machine. Follows no redirect."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=timeout)
    try:
        connection.request("GET", HEALTH_PATH, headers={"User-Agent": "audifi-deploy"})
        response = connection.getresponse()
        body = response.read(MAX_ANSWER_BYTES)
    except (OSError, UnicodeError, http.client.HTTPException) as error:  # UnicodeError: no such name can be
        return Answer(None, "", f"no answer ({type(error).__name__}: {error})")
    finally:
        connection.close()
    version = read_version(body)
    if not version:
        return Answer(response.status, "", f"status {response.status} without a version: {body[:200]!r}")
    return Answer(response.status, version, f"status {response.status}, version {version}")


def read_version(body: bytes) -> str:
    """The health answer's version; empty when there is none that is safe to pass on."""
    try:
        version = json.loads(body)["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return version if isinstance(version, str) and re.fullmatch(r"[0-9][0-9A-Za-z.+-]{0,99}", version) else ""


def await_commit(url: str, commit: str, *, timeout: int, interval: int, answers: int) -> tuple[bool, Answer]:
    """Ask until `answers` answers in a row serve the commit, or `timeout` seconds have passed.

    In a row, because old machines and new ones may answer in turns.
    """
    started = time.monotonic()
    in_a_row = 0
    last = ""
    while True:
        left = timeout - (time.monotonic() - started)
        answer = ask(url, timeout=min(max(left, 1), REQUEST_TIMEOUT_SECONDS))
        passed = time.monotonic() - started
        if answer.seen != last:
            print(f"{passed:5.1f} s  {answer.seen}", flush=True)
            last = answer.seen
        in_a_row = in_a_row + 1 if answer.serves(commit) else 0
        if in_a_row >= max(answers, 1):
            return True, answer
        if passed + interval >= timeout:
            return False, answer
        time.sleep(interval)


def verdict(flyctl: str, before: str, commit: str, *, served: bool) -> tuple[bool, str]:
    """Whether the deploy is good, and why."""
    if flyctl in UNFINISHED:
        return False, UNFINISHED[flyctl]
    if flyctl == "success":
        return served, "Deployed." if served else "flyctl succeeded, but the app doesn't serve the commit."
    if not served:
        return False, "flyctl failed, and the app doesn't serve the commit."
    if not before or Answer(None, before, "").names(commit):
        return False, "flyctl failed. The app serves the commit, but for all we know it did so before."
    return True, "Deployed, although flyctl failed: its output and the app's status want a look."


def report(options: argparse.Namespace, answer: Answer, sentence: str, level: str) -> None:
    """Tell the person who reads the run."""
    app = urlsplit(options.url).netloc.removesuffix(".fly.dev")
    print(f"::{level}::{app}: {sentence} Last seen: {answer.seen}", flush=True)
    if file := os.environ.get("GITHUB_STEP_SUMMARY"):
        rows = {
            "App": f"`{app}`",
            "Commit": f"`{options.commit}`",
            "URL": options.url,
            "Served before": f"`{options.before or 'unknown'}`",
            "Serves now": f"`{answer.version or 'unknown'}`",
            "flyctl": options.flyctl,
        }
        lines = [f"### {app}: {sentence}", "", "| | |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in rows.items()]
        with Path(file).open("a", encoding="utf-8") as summary:
            summary.write("\n".join(lines) + "\n")


def base_url(text: str) -> str:
    if not re.fullmatch(r"https?://[0-9A-Za-z.-]+(:[0-9]{1,5})?/?", text):
        raise argparse.ArgumentTypeError(f"{text!r} isn't an address such as https://audifi-api.fly.dev")
    return text.rstrip("/")


def full_commit(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{40}", text):
        raise argparse.ArgumentTypeError(f"{text!r} isn't a commit's full hash of 40 hexadecimal digits")
    return text


def natural(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise argparse.ArgumentTypeError(f"{text!r} isn't a whole number")
    return int(text)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    now = commands.add_parser("now", help="print what answers now")
    wait = commands.add_parser("await", help="wait until a commit is served")
    for command in (now, wait):
        command.add_argument("url", type=base_url, help="where the app is, without a path")
    wait.add_argument("commit", type=full_commit, help="the commit that was deployed")
    wait.add_argument("--timeout", type=natural, default=300, metavar="SECONDS", help="give up after (%(default)s)")
    wait.add_argument("--interval", type=natural, default=1, metavar="SECONDS", help="between questions (%(default)s)")
    wait.add_argument("--answers", type=natural, default=10, metavar="N", help="as many in a row (%(default)s)")
    wait.add_argument("--before", default="", metavar="VERSION", help="what `now` said before the deploy")
    wait.add_argument(
        "--flyctl", default="success", choices=["success", "failure", "cancelled", "skipped"], help="how flyctl ended"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    if options.command == "now":
        answer = ask(options.url)
        print(f"version={answer.version}")
        print(f"Before the deploy: {answer.seen}", file=sys.stderr)
        return 0
    patience = {"success": options.timeout, "failure": min(options.timeout, TIMEOUT_AFTER_FAILURE_SECONDS)}
    served, answer = await_commit(
        options.url,
        options.commit,
        timeout=patience.get(options.flyctl, 0),
        interval=options.interval,
        answers=options.answers,
    )
    good, sentence = verdict(options.flyctl, options.before, options.commit, served=served)
    level = "error" if not good else "notice" if options.flyctl == "success" else "warning"
    report(options, answer, sentence, level)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
