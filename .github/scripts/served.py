"""Asks a deployed API which commit it serves. Python 3.12 to 3.14, standard library only."""

import base64
import http.client
import json
import re
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from time_limits import REQUEST_SECONDS

HEALTH_PATH = "/api/v1/health"
MAX_ANSWER_BYTES = 65536
SHORTEST_COMMIT = 7
WORD = r"[a-z_]{1,20}"
# While health is watched: a lost packet or a slow answer doesn't mean that the version is broken.
TOLERATED_ANSWERS = 2


@dataclass(frozen=True)
class Answer:
    """An answer of the health endpoint."""

    status: int | None = None  # None: no response
    version: str = ""  # empty: the response isn't the API's
    health: str = ""  # "ok", or "degraded": the database is read-only or full, so not all requests succeed
    seen: str = ""  # description for the log; empty: not requested yet

    @property
    def build(self) -> str:
        """The version's build metadata, the first digits of the commit: `0.1.0+1a2b3c4` (semver.org, 10)."""
        return self.version.partition("+")[2]

    @property
    def healthy(self) -> bool:
        """Whether Fly routes requests to the machine. It is so for "degraded", too."""
        return self.status == http.client.OK and self.version != ""

    def names(self, commit: str) -> bool:
        return len(self.build) >= SHORTEST_COMMIT and commit.startswith(self.build)

    def serves(self, commit: str) -> bool:
        return self.healthy and self.names(commit)

    def fully_serves(self, commit: str) -> bool:
        """Return whether the commit was deployed well."""
        return self.serves(commit) and self.health == "ok"


@dataclass(frozen=True)
class Api:
    """A deployed API and how to ask it."""

    url: str
    interval: int
    """Seconds between two requests."""
    in_a_row: int
    """Number of answers that must agree: old and new machines may answer alternately."""

    def wait_until(
        self, expected: Callable[[Answer], bool], timeout: float, in_a_row: int | None = None
    ) -> tuple[bool, Answer]:
        """Poll until enough answers in a row are as expected; return whether they were, and the last answer.

        After `timeout` seconds the first unexpected answer ends the wait; a row that began before may be completed.
        """
        started = time.monotonic()
        agreed = 0
        last = ""
        while True:
            left = timeout - (time.monotonic() - started)
            answer = ask(self.url, timeout=min(max(left, 3), REQUEST_SECONDS))
            passed = time.monotonic() - started
            if answer.seen != last:
                print(f"{passed:5.1f} s  {answer.seen}", flush=True)
                last = answer.seen
            agreed = agreed + 1 if expected(answer) else 0
            if agreed >= max(in_a_row or self.in_a_row, 1):
                return True, answer
            if agreed == 0 and passed + self.interval >= timeout:
                return False, answer
            time.sleep(self.interval)

    def stays(self, expected: Callable[[Answer], bool], seconds: float) -> tuple[bool, Answer]:
        """Poll for `seconds`; return whether at most TOLERATED_ANSWERS were unexpected, and the last answer.

        The unexpected answer that exceeds the tolerance ends the wait.
        """
        started = time.monotonic()
        unexpected = 0
        last = ""
        while True:
            answer = ask(self.url, timeout=REQUEST_SECONDS)
            passed = time.monotonic() - started
            if answer.seen != last:
                print(f"{passed:5.1f} s  {answer.seen}", flush=True)
                last = answer.seen
            unexpected += not expected(answer)
            if unexpected > TOLERATED_ANSWERS:
                return False, answer
            if passed >= seconds:
                return True, answer
            time.sleep(self.interval)


def ask(url: str, timeout: float) -> Answer:
    """Send one request on a new connection, so that the next may reach another machine. Doesn't follow redirects."""
    try:
        with closing(connect(urlsplit(url), timeout)) as connection:
            connection.request("GET", HEALTH_PATH, headers={"User-Agent": "audifi-deploy"})
            response = connection.getresponse()
            body = response.read(MAX_ANSWER_BYTES)
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: invalid host name or proxy
        return Answer(seen=f"no answer ({type(error).__name__}: {' '.join(str(error).split())})")
    version, health, database = read_health(body)
    if not version:
        return Answer(response.status, seen=f"status {response.status} without a version: {body[:200]!r}")
    state = [] if health == "ok" else [health or "no health", f"database {database or 'unknown'}"]
    seen = ", ".join([f"status {response.status}", *state, f"version {version}"])
    return Answer(response.status, version, health, seen)


def connect(url: SplitResult, timeout: float) -> http.client.HTTPConnection:
    """Return a connection: through HTTPS_PROXY, if it is set and NO_PROXY doesn't name the host."""
    if url.scheme != "https":
        return http.client.HTTPConnection(url.netloc, timeout=timeout)
    proxy = urllib.request.getproxies().get("https")
    if not proxy or urllib.request.proxy_bypass(url.netloc):
        return http.client.HTTPSConnection(url.netloc, timeout=timeout)
    via = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    connection = http.client.HTTPSConnection(via.hostname or "", via.port or 80, timeout=timeout)
    headers = {}
    if via.username:
        user = f"{unquote(via.username)}:{unquote(via.password or '')}"
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    connection.set_tunnel(url.netloc, headers=headers)
    return connection


def read_health(body: bytes) -> tuple[str, str, str]:
    """Return version, status and the database's state of a health response; empty if missing or unsafe to print."""
    try:
        answer = json.loads(body)
        version, health = answer["version"], answer.get("status")
        database = (answer.get("dependencies") or {}).get("database")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "", "", ""
    return match(r"[0-9][0-9A-Za-z.+-]{0,99}", version), match(WORD, health), match(WORD, database)


def match(pattern: str, value: object) -> str:
    return value if isinstance(value, str) and re.fullmatch(pattern, value) else ""
