"""`deploy.py roll-back` finds the image, deploys it and verifies that it serves."""

import pytest

from tools.pipeline.fake_fly import AWAY, BEFORE, COMMIT, IMAGE_BEFORE, NEW, OLD, FakeFly, Step, health, release

pytestmark = pytest.mark.slow

OLDER = "7777777aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
IMAGE_OLDER = f"registry.fly.io/an-app:{OLDER}"
UNLABELLED = "registry.fly.io/an-app:deployment-01JX2"


@pytest.fixture(autouse=True)
def new_serves(fly: FakeFly) -> None:
    fly.serve(health(NEW))
    fly.releases = [
        release(11, IMAGE_OLDER),
        release(12, f"{IMAGE_BEFORE}@sha256:12"),
        release(13, f"{IMAGE_BEFORE}@sha256:13"),
        release(14, UNLABELLED),
        release(15, ""),
    ]
    fly.deploys = [Step(replies=[health(OLD)])]


@pytest.mark.parametrize(
    ("target", "image"),
    [
        ("v12", f"{IMAGE_BEFORE}@sha256:12"),
        ("v13", f"{IMAGE_BEFORE}@sha256:13"),
        (BEFORE[:7], f"{IMAGE_BEFORE}@sha256:13"),  # the newest
        (BEFORE[:12], f"{IMAGE_BEFORE}@sha256:13"),
        (BEFORE, f"{IMAGE_BEFORE}@sha256:13"),
    ],
)
def test_roll_back_deploys_without_the_release_command(fly: FakeFly, target: str, image: str) -> None:
    done = fly.run("roll-back", target)

    assert done.status == 0, done.out
    (command,) = fly.commands("deploy")
    assert command.startswith(f"deploy --app an-app --image {image} --skip-release-command --env ROLL_BACK_PIN=")
    assert "--strategy" not in command
    assert done.last == f"::notice::an-app: Rolled back. Last seen: status 200, version {OLD}"


@pytest.mark.parametrize("known", [True, False])
def test_full_commit_needs_no_release(fly: FakeFly, *, known: bool) -> None:
    fly.releases = [release(15, UNLABELLED)] if known else None

    assert fly.run("roll-back", BEFORE).status == 0
    assert f"--image {IMAGE_BEFORE} --skip" in fly.commands("deploy")[0]


def test_roll_back_summary_has_the_rows_of_a_deploy(fly: FakeFly) -> None:
    fly.run("roll-back", "v12")

    for row in (
        "### an-app: Rolled back.",
        f"| Requested | `{BEFORE}` |",
        f"| Served before | `{NEW}` |",
        f"| Serves now | `{OLD}` |",
        f"| Image | `{IMAGE_BEFORE}@sha256:12` |",
        "| flyctl | succeeded |",
        "2 machines",
    ):
        assert row in fly.summary.splitlines()


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("v16", "an-app has no release v16 among its last 5"),
        ("v1", "an-app has no release v1 among its last 5"),
        ("abcdef0", "an-app has no release abcdef0 among its last 5"),
        (COMMIT[:39], f"an-app has no release {COMMIT[:39]} among its last 5"),
        ("v14", f"The image of v14, {UNLABELLED}, isn't labelled with a commit"),
        ("v15", "The image of v15, unknown, isn't labelled with a commit"),
        ("", "'' is neither a release, such as v12, nor a commit"),
        ("12", "'12' is neither"),
        ("v", "'v' is neither"),
        ("v12 ", "'v12 ' is neither"),
        ("main", "'main' is neither"),
        (BEFORE[:6], f"{BEFORE[:6]!r} is neither"),
        (BEFORE + "0", f"{BEFORE + '0'!r} is neither"),
        (BEFORE.upper(), f"{BEFORE.upper()!r} is neither"),
        ("v12\n::error::forged", r"'v12\n::error::forged' is neither"),
        ("$(reboot)", "'$(reboot)' is neither"),
    ],
)
def test_invalid_roll_back_target_is_refused(fly: FakeFly, target: str, sentence: str) -> None:
    done = fly.run("roll-back", target)

    assert done.status == 1
    assert done.last.startswith(f"::error::an-app: {sentence}")
    assert "Last seen" not in done.last
    assert sentence in fly.summary
    assert fly.commands("deploy") == []


@pytest.mark.parametrize("target", ["v12", BEFORE[:7]])
def test_failure_to_list_releases_is_reported(fly: FakeFly, target: str) -> None:
    fly.releases = None

    done = fly.run("roll-back", target)

    assert done.status == 1
    assert "flyctl can't list the releases of an-app" in done.last
    assert "no such app" in done.out
    assert fly.commands("deploy") == []


def test_roll_back_fails_if_the_commit_does_not_serve(fly: FakeFly) -> None:
    fly.deploys = [Step(replies=[AWAY])]

    done = fly.run("roll-back", "v12")

    assert done.status == 1
    assert len(fly.commands("deploy")) == 1
    assert "flyctl succeeded, but the app doesn't serve the commit." in done.last
    assert fly.commands("logs") == ["logs --app an-app --no-tail"]


def test_roll_back_result_depends_on_the_served_commit(fly: FakeFly) -> None:
    fly.deploys = [Step(status=1, replies=[health(OLD)])]

    done = fly.run("roll-back", "v12")

    assert done.status == 0
    assert done.last.startswith("::warning::an-app: Rolled back, although flyctl failed with exit status 1")
