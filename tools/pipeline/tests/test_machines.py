"""Leftovers of interrupted deploys are destroyed, and the pin of a roll-back stays until it is released."""

import re
from typing import Any

import pytest

import machines
from machines import Machine
from tools.pipeline.fake_fly import (
    AWAY,
    BEFORE,
    COMMIT,
    IMAGE,
    IMAGE_BEFORE,
    NEW,
    OLD,
    FakeFly,
    Step,
    health,
    machine,
)

TAG = "safe_to_destroy"
BLUE = [machine("b1"), machine("b2")]
GREEN = [machine("g1", IMAGE), machine("g2", IMAGE)]
WAITING = [machine("g1", IMAGE, cordoned=True), machine("g2", IMAGE, cordoned=True, state="stopped")]
TAGGED = [machine("b1", tag=TAG), machine("b2", tag=TAG)]
DONE = [machine("b1", tag=TAG, cordoned=True), machine("b2", tag=TAG, cordoned=True)]


def made(id_: str, image: str, *, cordoned: bool = False, tagged: bool = False) -> Machine:
    return Machine(id=id_, state="started", image=image, cordoned=cordoned, safe_to_destroy=tagged)


# Leftovers


@pytest.mark.parametrize(
    ("app_machines", "left"),
    [
        ([made("b", "old")], ""),
        ([made("b", "old"), made("g", "new", cordoned=True)], "g"),
        ([made("b", "old", tagged=True), made("g", "new")], "b"),
        ([made("b", "old", tagged=True, cordoned=True), made("g", "new")], "b"),
        ([made("b", "old", tagged=True), made("g", "new"), made("h", "new", cordoned=True)], "b h"),
        # No tag says which image is right.
        ([made("b", "old"), made("g", "new")], ""),
        # `immediate` updated these machines and kept the tag.
        ([made("b", "new", tagged=True), made("g", "new")], ""),
        ([made("b", "new", tagged=True), made("g", "new", tagged=True)], ""),
        # If every machine is a leftover, none is destroyed.
        ([made("b", "old", cordoned=True)], ""),
        ([], ""),
    ],
)
def test_leftovers_are_cordoned_or_tagged_beside_others(app_machines: list[Machine], left: str) -> None:
    assert " ".join(each.id for each in machines.leftovers(app_machines)) == left


@pytest.mark.slow
@pytest.mark.parametrize(
    ("listed", "destroyed"),
    [
        (BLUE + WAITING, "g1 g2"),  # interrupted before the new machines took traffic
        (TAGGED + GREEN, "b1 b2"),  # interrupted just after that
        (DONE + GREEN, "b1 b2"),  # interrupted before the old machines were destroyed
    ],
)
def test_deploy_destroys_leftovers_of_an_interrupted_one(
    fly: FakeFly, listed: list[dict[str, Any]], destroyed: str
) -> None:
    fly.machines = [listed]

    done = fly.deploy()

    assert done.status == 0, done.out
    assert fly.commands("machine destroy") == [f"machine destroy --app an-app --force {destroyed}"]
    assert [call["arguments"][0] for call in fly.calls].index("deploy") > [
        call["arguments"][:2] for call in fly.calls
    ].index(["machine", "destroy"])
    assert "left by an interrupted deploy and have been destroyed." in fly.summary


@pytest.mark.slow
def test_release_and_destroyed_machines_are_ignored(fly: FakeFly) -> None:
    release_command = machine("r", IMAGE)
    release_command["config"]["metadata"]["fly_process_group"] = "fly_app_release_command"
    fly.machines = [[*BLUE, release_command, machine("d", IMAGE, state="destroyed")]]

    assert fly.deploy().status == 0
    assert fly.commands("machine destroy") == []


@pytest.mark.slow
def test_deploy_to_mixed_images_lists_destroy_commands(fly: FakeFly) -> None:
    fly.machines = [BLUE + GREEN]

    done = fly.deploy()

    assert done.status == 1
    assert "for 0ddba11, `flyctl machine destroy --app an-app --force b1 b2`" in done.last
    assert "for 1a2b3c4, `flyctl machine destroy --app an-app --force g1 g2`" in done.last
    assert fly.commands("deploy") == fly.commands("machine destroy") == []


@pytest.mark.slow
def test_leftovers_that_remain_are_named_with_the_command(fly: FakeFly) -> None:
    fly.machines = [BLUE + WAITING]
    fly.destroy = Step(status=1, says="lease currently held")

    done = fly.deploy()

    assert done.status == 1
    assert "lease currently held" in done.out
    assert "run `flyctl machine destroy --app an-app --force g1 g2`" in fly.summary
    assert fly.commands("deploy") == []


# Rolling back over leftovers


@pytest.mark.slow
def test_roll_back_destroys_leftovers_and_keeps_the_strategy(fly: FakeFly) -> None:
    fly.machines = [BLUE + WAITING]
    fly.deploys = [Step(replies=[health(OLD)])]

    assert fly.run("roll-back", BEFORE).status == 0
    assert fly.commands("machine destroy") == ["machine destroy --app an-app --force g1 g2"]
    assert "--strategy" not in fly.commands("deploy")[0]


@pytest.mark.slow
def test_roll_back_replaces_mixed_images_at_once(fly: FakeFly) -> None:
    fly.machines = [BLUE + GREEN]
    fly.deploys = [Step(replies=[health(OLD)])]

    done = fly.run("roll-back", BEFORE)

    assert done.status == 0, done.out
    (command,) = fly.commands("deploy")
    assert "--strategy immediate" in command


@pytest.mark.slow
@pytest.mark.parametrize(
    ("then", "tries"),
    [
        (BLUE + GREEN, 2),  # mixed by the attempt
        (None, 2),  # unknown
        (BLUE, 1),  # the image doesn't start, and the machines in service stay
    ],
)
def test_failed_roll_back_is_retried_where_images_mix(
    fly: FakeFly, then: list[dict[str, Any]] | None, tries: int
) -> None:
    fly.serve(health(NEW))
    fly.machines = [GREEN, then]
    fly.deploys = [Step(status=1), Step(replies=[health(OLD)])]

    done = fly.run("roll-back", BEFORE)

    assert done.status == (0 if tries == 2 else 1)
    assert ["--strategy immediate" in each for each in fly.commands("deploy")] == [False, True][:tries]


@pytest.mark.slow
def test_roll_back_needs_no_list_of_machines(fly: FakeFly) -> None:
    fly.machines = [None]
    fly.deploys = [Step(replies=[health(OLD)])]

    assert fly.run("roll-back", BEFORE).status == 0


# The pin


def test_pin_holds_time_author_and_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "GITHUB_ACTOR": "ana",
        "GITHUB_SERVER_URL": "https://github.example",
        "GITHUB_REPOSITORY": "audifi/api",
        "GITHUB_RUN_ID": "7",
    }.items():
        monkeypatch.setenv(name, value)

    assert re.fullmatch(r"[-\dT:]{19}Z by ana https://github.example/audifi/api/actions/runs/7", machines.new_pin())


@pytest.mark.slow
def test_roll_back_pins_and_shows_how_to_release(fly: FakeFly) -> None:
    fly.deploys = [Step(replies=[health(OLD)])]

    fly.run("roll-back", BEFORE, GITHUB_REF_NAME="main")

    assert re.search(r" --env ROLL_BACK_PIN=[-\dT:]{19}Z ", fly.commands("deploy")[0])
    assert "until a person releases it by `gh workflow run backend.yml --ref main -f force=true`." in fly.summary


@pytest.mark.slow
def test_pinned_app_needs_force(fly: FakeFly) -> None:
    fly.machines = [[machine("m1", pin="2026-11-27T21:00:00Z by ana"), machine("m2")]]

    refused = fly.deploy(GITHUB_REF_NAME="main")

    assert refused.status == 1
    assert "an-app is pinned by a roll-back (2026-11-27T21:00:00Z by ana)." in refused.last
    assert "To release it: `gh workflow run backend.yml --ref main -f force=true`." in refused.last
    assert fly.commands("deploy") == []

    assert fly.deploy("--force").status == 0
    (command,) = fly.commands("deploy")
    assert "--env" not in command


@pytest.mark.slow
def test_put_back_keeps_the_previous_pin(fly: FakeFly) -> None:
    fly.machines = [[machine("m1", pin="2026-11-27T21:00:00Z")]]
    fly.deploys = [Step(replies=[AWAY]), Step(replies=[health(OLD)])]

    fly.deploy("--force")

    assert f"--image {IMAGE_BEFORE} --skip-release-command --env ROLL_BACK_PIN=2026-11" in fly.commands("deploy")[1]


# Why a migration failed


@pytest.mark.slow
@pytest.mark.parametrize(("version", "shown"), [(NEW, True), (OLD, False)])
def test_summary_has_the_cause_of_a_failed_migration(fly: FakeFly, version: str, *, shown: bool) -> None:
    fly.machines = [[machine("m1", state="stopped"), machine("m2")]]
    fly.deploys = [Step(status=1)]
    fly.last_failure = Step(says=f'{{"stdout": "2026-11-27T21:00:00Z {version}: Running upgrade: division by zero"}}')

    done = fly.deploy()

    (command,) = fly.commands("machine exec")
    assert command.endswith(" m2 python -m audifi migrations last-failure")
    assert ("Migration: 2026-11-27T21:00:00Z 0.1.0+1a2b3c4: Running upgrade: division by zero" in done.last) is shown
    assert ("| Migration | failed: `2026-11-27T21:00:00Z" in fly.summary) is shown


@pytest.mark.slow
def test_machine_without_a_cause_changes_nothing(fly: FakeFly) -> None:
    fly.deploys = [Step(status=1)]
    fly.last_failure = Step(says='{"exit_code": 2, "stdout": "No such command"}')

    done = fly.deploy()

    assert done.last.startswith("::error::an-app: flyctl failed with exit status 1")
    assert "Migration" not in fly.summary
    assert COMMIT in fly.summary
