"""One rehearsal, which its cases share: the traffic goes on through all of them. Ends in a report."""

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
# Hundreds where the case is about traffic. Elsewhere a few, because the machines' two cores are the runner's, too.
STEADY_REQUESTS_A_SECOND, HEAVY_REQUESTS_A_SECOND = 40, 200
ACCOUNTS = 16  # each writes one thing at a time
PROGRAMS = "haproxy docker-registry skopeo".split()
ADVICE = "apt-get install --no-install-recommends buildah debootstrap haproxy docker-registry skopeo"


@dataclass
class Cases:
    """What the report tells."""

    cases: list[Case] = field(default_factory=list)
    passed: dict[str, bool] = field(default_factory=dict)


CASES = pytest.StashKey[Cases]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[CASES] = Cases()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    made = yield
    if made.when == "call" or made.failed:
        item.config.stash[CASES].passed[item.name] = made.passed
    return made


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
        print(f"\n  {(FOLDER / 'report.md').relative_to(ROOT)} and the pictures beside it tell it again.\n")


@dataclass
class Told:
    """What a case says of itself; the first thing, by its name."""

    name: str
    started: float
    evidence: list[str] = field(default_factory=list)

    def __call__(self, sentence: str) -> None:
        self.evidence.append(sentence)
        rehearsals.progress(f"    {sentence}")


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Iterator[Told]:
    """To say what was seen; it is in the report, with how the case ended."""
    marker = request.node.get_closest_marker("case")
    assert marker, "name the case: @pytest.mark.case('…')"
    told = Told(name=marker.args[0], started=time.time())
    rehearsals.progress(f"\n  {told.name}")
    yield told
    stash = request.config.stash[CASES]
    passed = stash.passed.get(request.node.name, False)
    rehearsals.progress(f"    {'passed' if passed else 'FAILED'} in {time.time() - told.started:.0f} s")
    stash.cases.append(Case(told.name, told.started, time.time(), passed, "; ".join(told.evidence)))


class Traffic:
    """To production, since it is there."""

    def figures(self, since: float) -> Figures:
        """Of what was sent since then, and answered."""
        streams = {file.stem: read_lines(file) for file in FOLDER.glob("requests*.jsonl")}
        return report.figures(streams, since, time.time())


@pytest.fixture(scope="session")
def production(rehearsal: Rehearsal) -> str:
    """The version that is rehearsed serves; its commit."""
    run = rehearsal.push("main", rehearsal.checkout.good)
    assert run.succeeded, run.log
    return rehearsal.checkout.good


def sign_in(rehearsal: Rehearsal, sendgrid_stand_in: SendGrid, count: int) -> list[Client]:
    """People who have signed in to production."""
    machine, *_ = rehearsal.fly.apps[PRODUCTION].serving()
    with asking(f"http://127.0.0.1:{machine.port}") as http:
        return [Client(http, sendgrid_stand_in).sign_in() for _ in range(count)]


@pytest.fixture
def client(rehearsal: Rehearsal, production: str, sendgrid_stand_in: SendGrid) -> Client:  # noqa: ARG001
    """Someone who has."""
    (client,) = sign_in(rehearsal, sendgrid_stand_in, 1)
    return client


@pytest.fixture(scope="session")
def steady_traffic(rehearsal: Rehearsal, production: str, sendgrid_stand_in: SendGrid) -> Iterator[Traffic]:  # noqa: ARG001
    with sending(rehearsal, sendgrid_stand_in, STEADY_REQUESTS_A_SECOND, FOLDER / "requests.jsonl") as steady:
        yield steady


@pytest.fixture
def heavy_traffic(
    rehearsal: Rehearsal,
    steady_traffic: Traffic,  # noqa: ARG001 - is to be there before
    sendgrid_stand_in: SendGrid,
) -> Callable[[], AbstractContextManager[Traffic]]:
    """Much more, beside the steady one, for as long as a block runs.

    For the deploy itself: while an image is built, the build has the machines' cores, which on GitHub it hasn't.
    """
    more = HEAVY_REQUESTS_A_SECOND - STEADY_REQUESTS_A_SECOND
    file = FOLDER / f"requests-more-{len(list(FOLDER.glob('requests-*'))) + 1}.jsonl"
    return lambda: sending(rehearsal, sendgrid_stand_in, more, file)


@contextmanager
def sending(rehearsal: Rehearsal, sendgrid_stand_in: SendGrid, rate: float, file: Path) -> Iterator[Traffic]:
    clients = sign_in(rehearsal, sendgrid_stand_in, ACCOUNTS)
    with traffic.running(
        f"https://{PRODUCTION}.fly.dev",
        file,
        [client.tokens["refresh_token"] for client in clients],
        rate=rate,
        connect=f"127.0.0.1:{rehearsal.fly.edge.port}",
        ca=rehearsal.fly.edge.ca_file,
    ):
        yield Traffic()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(40) as pool:
        yield pool
