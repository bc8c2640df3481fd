"""Rehearses deploys: the committed workflow, the real image, migrations and PostgreSQL, under traffic.

Each case restores its own starting point (`serving`), so that a failed case doesn't fail the next.
"""

import json
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import httpx2
import pytest

from tests.support import databases
from tests.support.clients import Client
from tests.support.waiting import wait_until
from tools.fly_simulator.machine import Machine
from tools.rehearsal.conftest import CaseLog, Traffic
from tools.rehearsal.github import Event
from tools.rehearsal.rehearsal import PRODUCTION, STAGING, Rehearsal, wait_for_event

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(1800)]

PROBE = "server/audifi/health/probe.py"
NEVER_HEALTHY = (
    PROBE,
    'return probing.result() if probing.done() else "disconnected"',
    'return "disconnected"',
)
CRASHES = ("server/audifi/serve.py", "    logs.configure()\n", '    sys.exit("made to crash")\n')
CRASHES_ON_DEMAND = (
    PROBE,
    "is_read_only: bool = await connection.fetchval(IS_READ_ONLY)",
    """is_read_only: bool = await connection.fetchval(IS_READ_ONLY)
                if await connection.fetchval("SELECT to_regclass('rehearsed_crash') IS NOT NULL"):
                    __import__("os")._exit(1)""",
)
"""After the rehearsal has created that table, each probe of the database ends the process."""
IMPATIENT = ("server/fly.toml", 'wait_timeout = "5m"', 'wait_timeout = "16s"')
BROKEN = [NEVER_HEALTHY, CRASHES, CRASHES_ON_DEMAND, IMPATIENT]
"""Changes that break a commit: a file, the text to replace, and its replacement."""

type HeavyTraffic = Callable[[], AbstractContextManager[Traffic]]


def summary(traffic: Traffic, since: float) -> str:
    figures = traffic.figures(since)
    gap = f"{figures.longest_gap:.3f} s" if figures.longest_gap is not None else "none"
    return f"{figures.sent} requests sent, {figures.failed} failed, longest gap {gap}"


def machines(rehearsal: Rehearsal, app: str) -> list[Machine]:
    return rehearsal.fly.apps[app].serving()


# 1. Branches and environments


@pytest.mark.case("1. A push to develop deploys only staging")
def test_push_to_develop_deploys_only_staging(rehearsal: Rehearsal, log: CaseLog) -> None:
    commit = rehearsal.checkout.good
    run = rehearsal.push("develop", commit)

    assert run.succeeded, run.log
    assert run.jobs == {"build-and-test": "success", "deploy-staging": "success"}
    assert {each["app"] for each in rehearsal.events_since(log.started, STAGING)} == {STAGING}
    assert rehearsal.events_since(log.started, PRODUCTION) == []
    assert rehearsal.served(STAGING) == commit[:7]
    assert [each.config.image for each in machines(rehearsal, STAGING)] == [f"registry.fly.io/{STAGING}:{commit}"] * 2
    log(f"2 machines of {STAGING} serve {commit[:7]}; {PRODUCTION} has none")

    tested = rehearsal.engine.id(f"localhost/audifi-api:{commit}")
    deployed = {rehearsal.engine.id(each.image) for each in machines(rehearsal, STAGING)}
    assert deployed == {tested}
    log(f"the tested image serves: {str(tested).removeprefix('sha256:')[:12]}")
    assert commit[:7] in run.summary
    assert STAGING in run.summary


@pytest.mark.case("1. A push to main deploys only production")
def test_push_to_main_deploys_only_production(rehearsal: Rehearsal, log: CaseLog, production: str) -> None:
    assert rehearsal.events_since(log.started, STAGING) == []
    assert rehearsal.served(PRODUCTION) == production[:7]
    assert rehearsal.fly.apps[PRODUCTION].releases[-1].status == "complete"
    log(f"2 machines of {PRODUCTION} serve {production[:7]}")


# 2. Failures in Build & Test


@pytest.mark.case("2. A failure in Build & Test prevents the deploy")
@pytest.mark.parametrize(
    ("target", "file", "content", "sign"),
    [
        pytest.param("lint", "server/audifi/core/unused.py", "import os\n", "F401", id="a lint error"),
        pytest.param(
            "types", "server/audifi/core/wrong.py", 'number: int = "text"\n', "[assignment]", id="a type error"
        ),
        pytest.param(
            "test",
            "tests/aaa/test_wrong.py",
            "def test_it() -> None:\n    assert 1 == 2\n",
            "assert 1 == 2",
            id="a test",
        ),
        pytest.param(
            "image", "server/Dockerfile", "FROM python:3.13-slim-trixie\nRUN false\n", "false", id="the image"
        ),
    ],
)
def test_failed_build_and_test_prevents_the_deploy(
    rehearsal: Rehearsal, log: CaseLog, target: str, file: str, content: str, sign: str
) -> None:
    commit = rehearsal.checkout.commit(f"Breaks {target}", {file: content})
    variables = {"ARGS": "-x tests/aaa"} if target == "test" else {}
    rehearsal.checkout.git("checkout", "--quiet", "-B", "main", commit)
    run = rehearsal.workflow.run(
        Event(name="push", ref="refs/heads/main", paths=[file, "server/"]),
        targets=f"{target} image",
        secrets=rehearsal.secrets(PRODUCTION),
        variables=variables,
    )

    assert run.status != 0
    assert run.jobs == {"build-and-test": "failure"}
    assert rehearsal.fly.events()[-1]["at"] < log.started
    (step,) = run.failed_steps
    assert sign in run.log
    log(f"{target}: the step “{step}” failed; no deploy started")


# 3. A release with a migration


@pytest.fixture(scope="module")
def migrated(rehearsal: Rehearsal, production: str) -> str:  # noqa: ARG001
    """A version whose migration adds a column and a table."""
    return rehearsal.checkout.commit(
        "Adds a column and a table",
        rehearsal.checkout.migration(
            "rehearsed_expand",
            "ALTER TABLE users ADD COLUMN rehearsed_at timestamptz",
            "CREATE TABLE rehearsed (id bigint PRIMARY KEY)",
        ),
    )


@pytest.fixture
def serving(rehearsal: Rehearsal, migrated: str, steady_traffic: Traffic) -> str:  # noqa: ARG001
    """Make two machines serve the migrated version, whatever earlier cases left."""
    rehearsal.restore(PRODUCTION, migrated)
    return migrated


@pytest.fixture(scope="module")
def versions(rehearsal: Rehearsal, migrated: str) -> dict[str, str]:
    """Successors of the migrated version, by their defect."""
    checkout = rehearsal.checkout
    late = "ALTER TABLE users ADD COLUMN rehearsed_late timestamptz"
    impatient = checkout.replaced(*IMPATIENT, on=migrated)
    changes = {
        "migration fails": checkout.migration(
            "rehearsed_failure", "CREATE TABLE half_way (id bigint)", "SELECT 1 / 0", after="rehearsed_expand"
        ),
        "migration waits": checkout.migration("rehearsed_lock", late, after="rehearsed_expand"),
        "never healthy": checkout.replaced(*NEVER_HEALTHY, on=migrated) | impatient,
        "crashes": checkout.replaced(*CRASHES, on=migrated) | impatient,
        "crashes on demand": checkout.replaced(*CRASHES_ON_DEMAND, on=migrated),
        "is never done": checkout.replaced(*NEVER_HEALTHY, on=migrated),
        "is good": {},
    }
    commits = {name: checkout.commit(name, change, on=migrated) for name, change in changes.items()}
    slow = checkout.migration("rehearsed_slow", "SELECT pg_sleep(6)")
    commits["migration is slow"] = checkout.commit("migration is slow", slow)  # on top of the good version, for staging
    _, *later = commits.values()
    rehearsal.build_ahead(*later)
    return commits


@pytest.mark.case("3. A release with a migration drops no request")
def test_release_with_a_migration_drops_no_request(
    rehearsal: Rehearsal,
    production: str,
    migrated: str,
    log: CaseLog,
    steady_traffic: Traffic,
    heavy_traffic: HeavyTraffic,
    threads: ThreadPoolExecutor,
) -> None:
    rehearsal.restore(PRODUCTION, production)
    deploying = threads.submit(rehearsal.push, "main", migrated)
    release = wait_for_event(rehearsal, log.started, PRODUCTION, "created", of=deploying)
    with heavy_traffic():
        run = deploying.result()

    assert run.succeeded, run.log
    figures = steady_traffic.figures(release["at"])
    log(summary(steady_traffic, release["at"]))
    assert figures.failures == {}
    assert [each.version.partition("+")[2] for each in figures.versions] == [production[:7], migrated[:7]]
    assert "rehearsed" in str(rehearsal.schema(PRODUCTION))
    log(f"health reported {production[:7]}, then {migrated[:7]}; the schema has the new column")
    exits = rehearsal.events_since(log.started, PRODUCTION, "stopped")
    assert {each["detail"] for each in exits} == {"exit status 0"}


# 4. A migration that fails


@pytest.mark.case("4. A failed migration changes nothing")
def test_failed_migration_changes_nothing(
    rehearsal: Rehearsal, serving: str, versions: dict[str, str], log: CaseLog, steady_traffic: Traffic
) -> None:
    schema = rehearsal.schema(PRODUCTION)
    run = rehearsal.push("main", versions["migration fails"])

    assert run.jobs["deploy-production"] == "failure"
    assert rehearsal.schema(PRODUCTION) == schema
    assert rehearsal.served(PRODUCTION) == serving[:7]
    assert "rehearsed_failure" in run.summary
    assert "division by zero" in run.summary
    figures = steady_traffic.figures(log.started)
    log(summary(steady_traffic, log.started))
    assert figures.failures == {}
    assert [each.version.partition("+")[2] for each in figures.versions] == [serving[:7]]
    log(f"the deploy failed, and its summary names the migration; the schema is unchanged; {serving[:7]} still serves")


# 5. A migration that waits for a lock


@pytest.mark.case("5. A migration gives up after its lock timeout, and traffic doesn't queue behind it")
def test_migration_gives_up_after_its_lock_timeout(
    rehearsal: Rehearsal, serving: str, versions: dict[str, str], log: CaseLog, steady_traffic: Traffic
) -> None:
    schema = rehearsal.schema(PRODUCTION)
    with databases.holding(rehearsal.database(PRODUCTION), "SELECT FROM users LIMIT 1"):
        run = rehearsal.push("main", versions["migration waits"])

    assert run.jobs["deploy-production"] == "failure"
    assert "lock timeout" in run.summary
    assert rehearsal.schema(PRODUCTION) == schema
    figures = steady_traffic.figures(log.started)
    log(summary(steady_traffic, log.started) + f"; the slowest answer took {figures.slowest:.1f} s")
    assert figures.failures == {}  # one that waited as long as all attempts of the migration would have timed out
    assert rehearsal.served(PRODUCTION) == serving[:7]


# 6. A broken version


@pytest.mark.case("6. A version that never becomes healthy, or crashes at start, takes no traffic")
@pytest.mark.parametrize("version", ["never healthy", "crashes"])
def test_broken_version_takes_no_traffic(
    rehearsal: Rehearsal, serving: str, versions: dict[str, str], log: CaseLog, steady_traffic: Traffic, version: str
) -> None:
    run = rehearsal.push("main", versions[version])

    assert run.jobs["deploy-production"] == "failure"
    figures = steady_traffic.figures(log.started)
    log(summary(steady_traffic, log.started))
    assert figures.failures == {}
    assert [each.version.partition("+")[2] for each in figures.versions] == [serving[:7]]
    assert {each.config.image.rpartition(":")[2] for each in machines(rehearsal, PRODUCTION)} == {serving}
    log(f"{serving[:7]} still serves")


@pytest.mark.case("6. If a version breaks while its health is watched, the previous image is put back")
def test_version_that_breaks_while_watched_is_put_back(
    rehearsal: Rehearsal,
    serving: str,
    versions: dict[str, str],
    log: CaseLog,
    steady_traffic: Traffic,
    threads: ThreadPoolExecutor,
) -> None:
    commit = versions["crashes on demand"]
    watching = "Watching health for 600 s"
    pushing = threads.submit(rehearsal.push, "main", commit, bake_seconds=600)
    wait_until(lambda: rehearsal.workflow.has_logged(watching) or pushing.done(), 500)
    assert not pushing.done(), pushing.result().log
    assert rehearsal.served(PRODUCTION) == commit[:7]
    databases.execute(rehearsal.database(PRODUCTION), "CREATE TABLE rehearsed_crash ()")
    try:
        run = pushing.result()
    finally:
        databases.execute(rehearsal.database(PRODUCTION), "DROP TABLE rehearsed_crash")

    assert run.jobs["deploy-production"] == "failure"
    assert "health for 600 s: broke" in run.summary
    assert rehearsal.served(PRODUCTION) == serving[:7]
    releases = rehearsal.fly.apps[PRODUCTION].releases
    assert releases[-1].image == f"registry.fly.io/{PRODUCTION}:{serving}"
    assert releases[-2].image == f"registry.fly.io/{PRODUCTION}:{commit}"
    log(f"{commit[:7]} served, then crashed while watched; v{releases[-1].version} put {serving[:7]} back")
    log(summary(steady_traffic, log.started))
    assert f"`registry.fly.io/{PRODUCTION}:{serving}`, which serves again" in run.summary


# 7. Roll-backs


@pytest.mark.case("7. After a roll-back, the older code works on the newer schema")
def test_older_code_works_on_the_newer_schema(
    rehearsal: Rehearsal, serving: str, log: CaseLog, production: str, steady_traffic: Traffic
) -> None:
    schema = rehearsal.schema(PRODUCTION)
    assert rehearsal.served(PRODUCTION) == serving[:7]
    listed = rehearsal.flyctl("releases", "--image", "--json", app=PRODUCTION)
    first = next(each for each in json.loads(listed.stdout) if each["ImageRef"].endswith(production))
    by_hand = rehearsal.flyctl("deploy", "--image", first["ImageRef"], "--skip-release-command", app=PRODUCTION)
    assert by_hand.returncode == 0, by_hand.stderr
    assert rehearsal.served(PRODUCTION) == production[:7]
    log(f"flyctl deploy --image …:{production[:7]} --skip-release-command: {production[:7]} serves")

    newest = next(each for each in json.loads(listed.stdout) if each["ImageRef"].endswith(serving))
    forth = rehearsal.dispatch("production", roll_back_to=f"v{newest['Version']}")
    assert forth.succeeded, forth.log
    assert forth.jobs == {"roll-back": "success"}
    assert rehearsal.served(PRODUCTION) == serving[:7]
    assert rehearsal.schema(PRODUCTION) == schema
    figures = steady_traffic.figures(log.started)
    log(f"the workflow, to v{newest['Version']}: {serving[:7]} serves; " + summary(steady_traffic, log.started))
    assert figures.failures == {}


@pytest.mark.case("7. A roll-back blocks pushes until it is released; an older commit is refused")
def test_roll_back_stays_until_it_is_released(
    rehearsal: Rehearsal, serving: str, versions: dict[str, str], log: CaseLog, production: str
) -> None:
    back = rehearsal.dispatch("production", roll_back_to=production)
    assert back.succeeded, back.log
    assert rehearsal.served(PRODUCTION) == production[:7]

    refused = rehearsal.push("main", versions["is good"])
    assert refused.jobs["deploy-production"] == "failure"
    assert f"{PRODUCTION} is pinned by a roll-back" in refused.summary
    assert "-f force=true" in refused.summary
    assert rehearsal.served(PRODUCTION) == production[:7]
    log(f"rolled back to {production[:7]}; the next push was refused: pinned")

    released = rehearsal.dispatch("production", commit=versions["is good"], force="true")
    assert released.succeeded, released.log
    assert rehearsal.served(PRODUCTION) == versions["is good"][:7]
    log(f"released by force=true: {versions['is good'][:7]} serves")

    older = rehearsal.push("main", serving)
    assert older.jobs["deploy-production"] == "failure"
    assert f"{serving[:7]} is older than {versions['is good'][:7]}" in older.summary
    assert rehearsal.served(PRODUCTION) == versions["is good"][:7]
    log(f"{serving[:7]}, which is older, was refused")


# 8. Concurrent deploys


@pytest.mark.case("8. Concurrent deploys run one after another")
def test_concurrent_deploys_are_serialized(
    rehearsal: Rehearsal, production: str, versions: dict[str, str], log: CaseLog, threads: ThreadPoolExecutor
) -> None:
    rehearsal.restore(STAGING, production)
    commit = versions["migration is slow"]
    runs = []
    for _ in range(2):
        runs.append(threads.submit(rehearsal.push, "develop", commit))
        time.sleep(1)

    for run in runs:
        assert run.result().succeeded, run.result().log
    created = rehearsal.events_since(log.started, STAGING, "created")
    first, second = [each for each in created if each["detail"] == "release command"]
    ended = {each["machine"]: each["at"] for each in rehearsal.events_since(log.started, STAGING, "destroyed")}
    assert ended[first["machine"]] < second["at"]
    assert rehearsal.served(STAGING) == commit[:7]
    log("two concurrent pushes: the second release command started after the first one had ended")


@pytest.mark.case("8. A deploy by hand is refused while a migration runs")
def test_second_release_command_is_refused(
    rehearsal: Rehearsal, versions: dict[str, str], log: CaseLog, threads: ThreadPoolExecutor
) -> None:
    """The simulator refuses it. Real flyctl would destroy the machine that runs the other migration."""
    rehearsal.restore(STAGING, versions["migration is slow"])
    image = machines(rehearsal, STAGING)[0].config.image
    commit = image.rpartition(":")[2]
    rehearsal.checkout.git("checkout", "--quiet", "--detach", commit)
    with databases.holding(rehearsal.database(STAGING), "SELECT pg_advisory_xact_lock(x'617564696669'::bigint)"):
        first = threads.submit(rehearsal.flyctl, "deploy", "--image", image, app=STAGING)
        wait_for_event(rehearsal, log.started, STAGING, "started", of=first)
        second = rehearsal.flyctl("deploy", "--image", image, app=STAGING)

    assert second.returncode == 1
    assert "the release command of another deploy runs on machine" in second.stderr
    assert first.result().returncode == 0, first.result().stderr
    log(second.stderr.strip().splitlines()[-1])


# 9. Shutdown of a machine


@pytest.mark.case("9. On SIGTERM, all requests in flight are answered, and the exit status is 0")
def test_stopping_machine_answers_all_requests_in_flight(
    rehearsal: Rehearsal,
    serving: str,
    log: CaseLog,
    client: Client,
    steady_traffic: Traffic,
    heavy_traffic: HeavyTraffic,
    threads: ThreadPoolExecutor,
) -> None:
    with heavy_traffic():
        stop_amid_requests(rehearsal, serving, log, client, threads)
    figures = steady_traffic.figures(log.started)
    log(summary(steady_traffic, log.started))
    assert figures.failures == {}


def stop_amid_requests(
    rehearsal: Rehearsal, serving: str, log: CaseLog, client: Client, threads: ThreadPoolExecutor
) -> None:
    blue = machines(rehearsal, PRODUCTION)
    deploying = threads.submit(rehearsal.flyctl, "deploy", *image(rehearsal, serving), app=PRODUCTION)
    wait_for_event(rehearsal, log.started, PRODUCTION, "cordoned", of=deploying)
    user = client.tokens["user"]["id"]
    idle = [socket.create_connection(("127.0.0.1", machine.port)) for machine in blue for _ in range(5)]
    with databases.holding(rehearsal.database(PRODUCTION), f"SELECT FROM users WHERE id = '{user}' FOR UPDATE"):
        slow = [threads.submit(rename, machine, client) for machine in blue for _ in range(5)]
        term = wait_for_event(rehearsal, log.started, PRODUCTION, "SIGTERM", of=deploying)
        time.sleep(2)
    answers = [each.result() for each in slow]
    assert deploying.result().returncode == 0, deploying.result().stderr
    for connection in idle:
        connection.close()

    assert [answer.status_code for answer in answers] == [200] * 10
    stopped = rehearsal.events_since(term["at"], PRODUCTION, "stopped")
    assert {each["machine"] for each in stopped} == {machine.id for machine in blue}
    assert {each["detail"] for each in stopped} == {"exit status 0"}
    assert rehearsal.events_since(log.started, PRODUCTION, "SIGKILL") == []
    log("10 requests waited for a lock at SIGTERM, and 10 were answered with 200; both machines: exit status 0")


def image(rehearsal: Rehearsal, commit: str) -> list[str]:
    rehearsal.checkout.git("checkout", "--quiet", "--detach", commit)
    return ["--image", f"registry.fly.io/{PRODUCTION}:{commit}"]


def rename(machine: Machine, client: Client) -> httpx2.Response:
    """Send a request directly to the machine, which the proxy no longer routes to."""
    return httpx2.patch(
        f"http://127.0.0.1:{machine.port}/api/v1/auth/me",
        json={"display_name": "Slow"},
        headers={"Authorization": f"Bearer {client.tokens['access_token']}"},
        timeout=120,
        trust_env=False,
    )


# 10. Interrupted deploys


@pytest.mark.case("10. A deploy destroys the leftovers of one that lost its runner")
def test_deploy_that_lost_its_runner_is_cleaned_up(
    rehearsal: Rehearsal,
    serving: str,
    versions: dict[str, str],
    log: CaseLog,
    steady_traffic: Traffic,
    threads: ThreadPoolExecutor,
) -> None:
    left = lose_the_runner(rehearsal, versions["is never done"], threads, log.started)
    assert {each.cordoned for each in left} == {True}
    stuck = rehearsal.flyctl("deploy", *image(rehearsal, serving), "--skip-release-command", app=PRODUCTION)
    assert "found multiple image versions" in stuck.stderr
    log(f"{len(left)} cordoned machines were left, and flyctl refused: found multiple image versions")

    healed = rehearsal.push("main", versions["is good"])

    assert healed.succeeded, healed.log
    assert "left by an interrupted deploy and have been destroyed" in healed.summary
    assert [each.config.image for each in machines(rehearsal, PRODUCTION)] == [
        f"registry.fly.io/{PRODUCTION}:{versions['is good']}"
    ] * 2
    figures = steady_traffic.figures(log.started)
    assert figures.failures == {}
    log(f"the next push destroyed them and deployed {versions['is good'][:7]}; " + summary(steady_traffic, log.started))


@pytest.mark.case("10. A roll-back replaces machines of two images")
def test_roll_back_replaces_machines_of_two_images(
    rehearsal: Rehearsal, serving: str, versions: dict[str, str], log: CaseLog, threads: ThreadPoolExecutor
) -> None:
    left = lose_the_runner(rehearsal, versions["is never done"], threads, log.started)
    for each in left:
        rehearsal.fly.cordon(each, cordoned=False)  # as if the runner had been lost a moment later

    refused = rehearsal.push("main", versions["is good"])
    assert refused.jobs["deploy-production"] == "failure"
    ids = " ".join(each.id for each in left)
    assert f"flyctl machine destroy --app {PRODUCTION} --force {ids}" in refused.summary
    log("a push was refused, with the commands that destroy the machines of each image")

    back = rehearsal.dispatch("production", roll_back_to=serving)
    assert back.succeeded, back.log
    assert {each.config.image.rpartition(":")[2] for each in machines(rehearsal, PRODUCTION)} == {serving}
    assert rehearsal.served(PRODUCTION) == serving[:7]
    log(f"the roll-back replaced all of them at once: {serving[:7]} serves")


def lose_the_runner(rehearsal: Rehearsal, commit: str, threads: ThreadPoolExecutor, since: float) -> list[Machine]:
    """Kill the workflow's runner while flyctl waits for new machines; return those machines."""
    pushing = threads.submit(rehearsal.push, "main", commit)
    version = f"+{commit[:7]}"

    def waits() -> bool:
        red = rehearsal.events_since(since, PRODUCTION, "check critical")
        return len({each["machine"] for each in red if each["version"].endswith(version)}) == 2

    wait_until(lambda: waits() or pushing.done(), 500)
    assert not pushing.done(), pushing.result().log
    rehearsal.workflow.lose_runner()
    assert not pushing.result().succeeded
    return [each for each in machines(rehearsal, PRODUCTION) if each.config.image.endswith(commit)]
