"""After a successful deploy, health is watched; if the version breaks, the previous image is put back."""

import http.client
from collections.abc import Sequence

import pytest

from served import TOLERATED_ANSWERS, Answer, Api
from tools.pipeline.fake_fly import AWAY, COMMIT, IMAGE_BEFORE, NEW, OLD, FakeFly, Reply, Step, health, serving

GOOD, BAD = health(NEW), health(NEW, status=503)


def serves(answer: Answer) -> bool:
    return answer.serves(COMMIT)


def test_good_health_is_watched_to_the_end() -> None:
    with serving(GOOD) as server:
        stayed, answer = Api(server.url, interval=0, in_a_row=1).stays(serves, 1)

    assert stayed
    assert answer.version == NEW
    assert len(server.paths) > TOLERATED_ANSWERS


def test_failing_health_ends_the_watch_at_once() -> None:
    with serving(GOOD, GOOD, GOOD, BAD) as server:
        stayed, answer = Api(server.url, interval=0, in_a_row=1).stays(serves, 3600)

    assert not stayed
    assert answer.status == http.client.SERVICE_UNAVAILABLE
    assert len(server.paths) == 3 + TOLERATED_ANSWERS + 1


@pytest.mark.parametrize("answers", [[BAD, AWAY, GOOD], [GOOD, AWAY, GOOD, BAD, GOOD]])
def test_few_failed_answers_are_tolerated(answers: Sequence[Reply]) -> None:
    with serving(*answers) as server:
        assert Api(server.url, interval=0, in_a_row=1).stays(serves, 1)[0]


@pytest.mark.slow
def test_version_that_breaks_while_watched_is_put_back(fly: FakeFly) -> None:
    fly.deploys = [Step(replies=[GOOD]), Step(replies=[health(OLD)])]
    process = fly.start("deploy", COMMIT, "--bake", "600")
    assert process.stdout
    lines = []
    while "Watching health for 600 s" not in (line := process.stdout.readline()):
        assert line
        lines.append(line)
    fly.serve(AWAY)
    rest, error = process.communicate(timeout=50)

    assert error == ""
    assert process.returncode == 1
    *_, last = rest.splitlines()
    assert "::error::an-app: The commit was deployed and served, but its health didn't stay good." in last
    assert f"Put back: `{IMAGE_BEFORE}`, which serves again." in last
    assert "| Watched | health for 600 s: broke, status 502" in fly.summary
    _, back = fly.commands("deploy")
    assert f"--image {IMAGE_BEFORE} --skip-release-command" in back


@pytest.mark.slow
def test_failed_deploy_is_not_watched(fly: FakeFly) -> None:
    fly.deploys = [Step(status=1)]

    assert "Watching" not in fly.deploy("--bake", "600").out
    assert "| Watched |" not in fly.summary
