"""After a failed deploy the previous image is kept, or put back."""

from typing import Any

import pytest

from tools.pipeline.fake_fly import (
    AWAY,
    BEFORE,
    IMAGE,
    IMAGE_BEFORE,
    NEW,
    OLD,
    FakeFly,
    Reply,
    Step,
    degraded,
    health,
    release,
)

pytestmark = pytest.mark.slow

BACK = f"deploy --app an-app --image {IMAGE_BEFORE} --skip-release-command"
THIRD = "0.1.0+7777777"


def test_nothing_is_put_back_if_the_old_version_serves(fly: FakeFly) -> None:
    fly.deploys = [Step(status=1)]

    done = fly.deploy()

    assert done.status == 1
    assert len(fly.commands("deploy")) == 1
    assert f"| Put back | Nothing: `{OLD}`, the previous version, still serves. |" in fly.summary
    assert f"| Serves now | `{OLD}` |" in fly.summary


def test_nothing_is_put_back_if_health_was_red_before(fly: FakeFly) -> None:
    fly.serve(health(OLD, status=503))
    fly.deploys = [Step(status=1)]

    assert fly.deploy().status == 1
    assert len(fly.commands("deploy")) == 1


@pytest.mark.parametrize(
    "answers",
    [
        [AWAY],
        [health(NEW, status=503)],
        [health(OLD, status=503)],
        [health(OLD), AWAY],
        [health(OLD), health(OLD), health(NEW, status=503)],
    ],
)
@pytest.mark.parametrize("status", [0, 1])
def test_previous_image_is_put_back_if_health_is_unstable(fly: FakeFly, status: int, answers: list[Reply]) -> None:
    fly.deploys = [Step(status=status, replies=answers), Step(replies=[health(OLD)])]

    done = fly.deploy()

    assert done.status == 1
    first, *back = fly.commands("deploy")
    assert first == f"deploy --app an-app --image {IMAGE} --yes"
    assert len(back) == 1
    assert back[0].startswith(BACK)
    assert done.last.endswith(f"Put back: `{IMAGE_BEFORE}`, which serves again. Last seen: status 200, version {OLD}")
    assert f"| Put back | `{IMAGE_BEFORE}`, which serves again. |" in fly.summary


def test_put_back_is_immediate_if_nothing_healthy_serves(fly: FakeFly) -> None:
    fly.deploys = [Step(replies=[AWAY]), Step(replies=[health(OLD)])]
    fly.deploy()

    assert fly.commands("deploy")[1:] == [f"{BACK} --strategy immediate --yes"]


def test_previous_image_is_put_back_once_if_degraded(fly: FakeFly) -> None:
    """A second attempt couldn't help: the database, which both images share, is read-only."""
    fly.deploys = [Step(replies=[degraded(NEW)]), Step(replies=[degraded(OLD)])]

    done = fly.deploy()

    assert done.status == 1
    assert fly.commands("deploy")[1:] == [f"{BACK} --yes"]
    assert done.last.endswith(f"Last seen: status 200, degraded, database read_only, version {OLD}")


def test_put_back_uses_fly_tomls_strategy_if_health_is_good(fly: FakeFly) -> None:
    fly.deploys = [Step(replies=[health(THIRD)]), Step(replies=[health(OLD)])]
    fly.deploy()

    assert fly.commands("deploy")[1:] == [f"{BACK} --yes"]


@pytest.mark.parametrize("first", [Step(status=1), Step(status=0)])
def test_put_back_is_immediate_after_a_failed_attempt(fly: FakeFly, first: Step) -> None:
    fly.deploys = [Step(replies=[health(THIRD)]), first, Step(replies=[health(OLD)])]

    done = fly.deploy()

    assert fly.commands("deploy")[1:] == [f"{BACK} --yes", f"{BACK} --strategy immediate --yes"]
    assert "which serves again" in done.last


def test_failed_put_back_is_reported(fly: FakeFly) -> None:
    fly.deploys = [Step(replies=[AWAY])]

    done = fly.deploy()

    assert done.status == 1
    assert f"Put back: `{IMAGE_BEFORE}`, but it doesn't serve" in done.last
    assert "| Serves now | `unknown` |" in fly.summary


def test_image_of_the_same_commit_is_not_put_back(fly: FakeFly) -> None:
    fly.serve(health(NEW))
    fly.releases = [release(3, f"{IMAGE}@sha256:{64 * '0'}")]
    fly.deploys = [Step(replies=[AWAY])]

    assert "Nothing: the previous image is the one that was deployed." in fly.deploy().out
    assert len(fly.commands("deploy")) == 1


def test_earlier_build_of_the_commit_is_put_back(fly: FakeFly) -> None:
    """A rebuild has its commit's tag, so only the digest tells the two builds apart."""
    fly.serve(health(NEW))
    earlier, rebuilt = (f"{IMAGE}@sha256:{64 * digit}" for digit in "01")
    fly.releases = [release(3, earlier)]
    fly.newer_releases = [release(4, rebuilt)]
    fly.deploys = [Step(replies=[AWAY]), Step(replies=[health(NEW)])]

    done = fly.deploy()

    assert f"Put back: `{earlier}`, which serves again" in done.last
    back = f"deploy --app an-app --image {earlier} --skip-release-command --strategy immediate --yes"
    assert fly.commands("deploy")[1:] == [back]


@pytest.mark.parametrize(
    "listed", [None, [], [release(1, IMAGE_BEFORE.replace(BEFORE, "x"), "failed")], [release(1, "")]]
)
def test_nothing_is_put_back_without_a_known_image(fly: FakeFly, listed: list[dict[str, Any]] | None) -> None:
    fly.releases = listed
    fly.deploys = [Step(replies=[AWAY])]

    done = fly.deploy()

    assert done.status == 1
    assert "Nothing: no release has the image that served before" in done.last
    assert len(fly.commands("deploy")) == 1


OTHER = "registry.fly.io/an-app:deployment-9"


@pytest.mark.parametrize(
    ("before", "listed", "image", "again"),
    [
        # The newest release whose commit serves, whatever its status, and whatever was deployed later.
        (OLD, [release(3, OTHER), release(2, f"{IMAGE_BEFORE}@sha256:ab", "failed")], f"{IMAGE_BEFORE}@sha256:ab", OLD),
        (OLD, [release(2, IMAGE_BEFORE), release(3, f"{IMAGE_BEFORE}@sha256:ab")], f"{IMAGE_BEFORE}@sha256:ab", OLD),
        (
            OLD,
            [release(2, f"registry.fly.io/an-app:deployment-{BEFORE}")],
            f"registry.fly.io/an-app:deployment-{BEFORE}",
            OLD,
        ),
        # Health has no version: the newest complete release.
        ("", [release(2, OTHER), release(3, IMAGE_BEFORE), release(4, OTHER, "failed")], IMAGE_BEFORE, OLD),
        ("0.1.0", [release(2, IMAGE_BEFORE), release(3, OTHER)], OTHER, "0.1.0"),
        ("", [release(3, OTHER)], OTHER, "0.0.9"),
        (OLD, [release(3, OTHER)], OTHER, OLD),  # built by hand
    ],
)
def test_put_back_chooses_the_newest_image_that_served(
    fly: FakeFly, before: str, listed: list[dict[str, Any]], image: str, again: str
) -> None:
    fly.serve(health(before))
    fly.releases = listed
    fly.deploys = [Step(replies=[AWAY]), Step(replies=[health(again)])]

    done = fly.deploy()

    assert f"--image {image} --skip-release-command" in fly.commands("deploy")[1]
    assert "which serves again" in done.last


@pytest.mark.parametrize(
    ("before", "image", "answer"),
    [
        (OLD, IMAGE_BEFORE, health(THIRD)),
        (OLD, IMAGE_BEFORE, health(OLD, status=503)),
        ("0.1.0", OTHER, health(THIRD)),
        ("0.1.0", OTHER, health("0.1.0", status=503)),
        ("", OTHER, health(NEW)),
        ("", OTHER, health(THIRD, status=503)),
    ],
)
def test_other_or_unhealthy_version_fails_the_put_back(fly: FakeFly, before: str, image: str, answer: Reply) -> None:
    fly.serve(health(before))
    fly.releases = [release(3, image)]
    fly.deploys = [Step(replies=[AWAY]), Step(replies=[answer])]

    assert "but it doesn't serve" in fly.deploy().last
