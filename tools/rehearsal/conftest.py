"""Fixtures of the rehearsal: its cases share one platform and one stream of traffic; a report is written at the end."""

import shutil
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support import databases, sendgrid
from tests.support.api import ROOT, free_port
from tests.support.clients import Client, asking
from tests.support.sendgrid import SendGrid
from tools.image import containers
from tools.rehearsal import rehearsal as rehearsals
from tools.rehearsal import report, traffic
from tools.rehearsal.rehearsal import PRODUCTION, Rehearsal
from tools.rehearsal.report import Case, Figures
from tools.rehearsal.writes import Write, lost_writes, read_lines, writes_in

FOLDER = ROOT / ".data" / "rehearsal"
# High only where the case tests traffic: the simulated machines and the runner share two cores.
STEADY_REQUESTS_A_SECOND, HEAVY_REQUESTS_A_SECOND = 40, 200
HEAVY_OUTSTANDING = 50  # the heavy traffic is as much as a busy machine can serve
ACCOUNTS = 16  # each sends one write at a time
PROGRAMS = "haproxy docker-registry skopeo".split()
ADVICE = "apt-get install --no-install-recommends buildah debootstrap haproxy docker-registry skopeo"


@dataclass
class Cases:
    """The results for the report."""

    cases: list[Case] = field(default_factory=list)
    passed: dict[str, bool] = field(default_factory=dict)


CASES = pytest.StashKey[Cases]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[CASES] = Cases()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    result = yield
    if result.when == "call" or result.failed:
        item.config.stash[CASES].passed[item.name] = result.passed
    return result


@pytest.fixture(scope="session")
def sendgrid_stand_in() -> Iterator[SendGrid]:
    with sendgrid.running() as running:
        yield running


@pytest.fixture(scope="session")
def rehearsal(request: pytest.FixtureRequest, sendgrid_stand_in: SendGrid) -> Iterator[Rehearsal]:
    engine = containers.engine()
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if engine is None or missing:
        pytest.fail(f"a rehearsal needs docker, podman or buildah, and {', '.join(PROGRAMS)}: {ADVICE}", pytrace=False)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    with (
        databases.own_server(free_port()) as postgres,
        rehearsals.running(FOLDER, engine, postgres, sendgrid_stand_in.url) as running,
    ):
        yield running
        lost: list[Write] = []
        files = sorted(FOLDER.glob("requests*.jsonl"))
        if files:
            lost = lost_writes(running.database(PRODUCTION), writes_in(*files))
        if running.fly.events_file.exists():
            shutil.copy(running.fly.events_file, FOLDER / "events.jsonl")
        report.write_report(FOLDER, request.config.stash[CASES].cases, lost)
        print(f"\n  {(FOLDER / 'report.md').relative_to(ROOT)} and the pictures beside it have the results.\n")


@dataclass
class CaseLog:
    """Prints and collects the evidence of a case."""

    name: str
    started: float
    evidence: list[str] = field(default_factory=list)

    def __call__(self, sentence: str) -> None:
        self.evidence.append(sentence)
        rehearsals.progress(f"    {sentence}")


@pytest.fixture
def log(request: pytest.FixtureRequest) -> Iterator[CaseLog]:
    """Record evidence for the report, and the case's result at the end."""
    marker = request.node.get_closest_marker("case")
    assert marker, "name the case: @pytest.mark.case('…')"
    case_log = CaseLog(name=marker.args[0], started=time.time())
    rehearsals.progress(f"\n  {case_log.name}")
    yield case_log
    stash = request.config.stash[CASES]
    passed = stash.passed.get(request.node.name, False)
    rehearsals.progress(f"    {'passed' if passed else 'FAILED'} in {time.time() - case_log.started:.0f} s")
    stash.cases.append(Case(case_log.name, case_log.started, time.time(), passed, "; ".join(case_log.evidence)))


class Traffic:
    """All traffic to production since its first deploy."""

    def figures(self, since: float) -> Figures:
        """Return the figures of the requests due since then."""
        streams = {file.stem: read_lines(file) for file in FOLDER.glob("requests*.jsonl")}
        return report.figures(streams, since, time.time())


@pytest.fixture(scope="session")
def production(rehearsal: Rehearsal) -> str:
    """Deploy the rehearsed version to production; its commit."""
    run = rehearsal.push("main", rehearsal.checkout.good)
    assert run.succeeded, run.log
    return rehearsal.checkout.good


def sign_in(rehearsal: Rehearsal, sendgrid_stand_in: SendGrid, count: int) -> list[Client]:
    """Return clients that are signed in to production."""
    machine, *_ = rehearsal.fly.apps[PRODUCTION].serving()
    with asking(f"http://127.0.0.1:{machine.port}") as http:
        return [Client(http, sendgrid_stand_in).sign_in() for _ in range(count)]


@pytest.fixture
def client(rehearsal: Rehearsal, production: str, sendgrid_stand_in: SendGrid) -> Client:  # noqa: ARG001
    """A client that is signed in to production."""
    (client,) = sign_in(rehearsal, sendgrid_stand_in, 1)
    return client


@pytest.fixture(scope="session")
def steady_traffic(rehearsal: Rehearsal, production: str, sendgrid_stand_in: SendGrid) -> Iterator[Traffic]:  # noqa: ARG001
    with sending(rehearsal, sendgrid_stand_in, STEADY_REQUESTS_A_SECOND, FOLDER / "requests.jsonl") as steady:
        yield steady


@pytest.fixture
def heavy_traffic(
    rehearsal: Rehearsal,
    steady_traffic: Traffic,  # noqa: ARG001 - must start first
    sendgrid_stand_in: SendGrid,
) -> Callable[[], AbstractContextManager[Traffic]]:
    """Return a context manager that sends more traffic, in addition to the steady one.

    Use it for the deploy only: the build of an image would compete with the machines for CPU, as it doesn't on GitHub.
    """
    more = HEAVY_REQUESTS_A_SECOND - STEADY_REQUESTS_A_SECOND
    file = FOLDER / f"requests-more-{len(list(FOLDER.glob('requests-*'))) + 1}.jsonl"
    return lambda: sending(rehearsal, sendgrid_stand_in, more, file, outstanding=HEAVY_OUTSTANDING)


@contextmanager
def sending(
    rehearsal: Rehearsal, sendgrid_stand_in: SendGrid, rate: float, file: Path, *, outstanding: int | None = None
) -> Iterator[Traffic]:
    clients = sign_in(rehearsal, sendgrid_stand_in, ACCOUNTS)
    with traffic.running(
        f"https://{PRODUCTION}.fly.dev",
        file,
        [client.tokens["refresh_token"] for client in clients],
        rate=rate,
        outstanding=outstanding,
        connect=f"127.0.0.1:{rehearsal.fly.edge.port}",
        ca=rehearsal.fly.edge.ca_file,
    ):
        yield Traffic()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(40) as pool:
        yield pool
