"""Time limits of each step of a deploy. Every other time limit is derived from these tables.

An interrupted deploy leaves machines of two images behind, which blocks the next deploy. So the time limits of
deploy.py and of the jobs are the sums of flyctl's own waits. Source: github.com/superfly/flyctl v0.4.87 (the version
that the workflow installs) and github.com/superfly/fly-go v0.9.5. Python 3.12 to 3.14, standard library only.
"""

from typing import NamedTuple

MINUTE = 60
WAIT_TIMEOUT = 5 * MINUTE
"""`wait_timeout` in server/fly.toml. A machine starts and becomes healthy in under a minute, or never."""
RELEASE_COMMAND_TIMEOUT = 10 * MINUTE
"""`release_command_timeout` in server/fly.toml: above the bounds of the migration itself (9 minutes)."""


class Wait(NamedTuple):
    """One wait of flyctl, in seconds, with the function that waits."""

    description: str
    seconds: float
    source: str


RETRIES = 0.5 + 1 + 2 + 4
"""The delays between 5 attempts (retry.BackOffDelay from 500 ms; strategy_bluegreen.go, initialize)."""

RELEASE_COMMAND = (
    Wait("the release machine is created", WAIT_TIMEOUT, "machines_releasecommand.go createReleaseCommandMachine"),
    Wait("it starts", WAIT_TIMEOUT, "machines_releasecommand.go waitForReleaseCommandToFinish"),
    Wait("it ends", RELEASE_COMMAND_TIMEOUT, "machines_releasecommand.go waitForReleaseCommandToFinish"),
    Wait("its exit event arrives", RELEASE_COMMAND_TIMEOUT, "machines_releasecommand.go runReleaseCommand"),
    Wait("its log arrives", 20, "machines_releasecommand.go waitForLogs"),
)
BLUEGREEN = (
    Wait("green machines are launched, 3 attempts", 3, "strategy_bluegreen.go launchGreenMachineWithRetry"),
    Wait("green machines start", WAIT_TIMEOUT, "strategy_bluegreen.go WaitForGreenMachinesToBeStarted"),
    Wait("green machines become healthy", WAIT_TIMEOUT, "strategy_bluegreen.go WaitForGreenMachinesToBeHealthy"),
    Wait("green machines take traffic", RETRIES, "strategy_bluegreen.go MarkGreenMachinesAsReadyForTraffic"),
    Wait("blue machines are tagged", RETRIES, "strategy_bluegreen.go TagBlueMachinesAsSafeForDeletion"),
    Wait("the proxy learns of green machines", 10, "strategy_bluegreen.go waitBeforeCordon"),
    Wait("blue machines are cordoned", RETRIES, "strategy_bluegreen.go CordonBlueMachines"),
    Wait("the proxy forgets blue machines", 10, "strategy_bluegreen.go waitBeforeStop"),
    Wait("blue machines receive the stop signal", RETRIES, "strategy_bluegreen.go StopBlueMachines"),
    Wait("blue machines stop", WAIT_TIMEOUT, "strategy_bluegreen.go WaitForBlueMachinesToBeStopped"),
    Wait("blue machines are destroyed", RETRIES, "strategy_bluegreen.go DestroyBlueMachines"),
)
FIRST_DEPLOY = 2 * (
    Wait("smoke checks pass", 10, "leasable_machine.go WaitForSmokeChecksToPass"),
    Wait("the machine starts", WAIT_TIMEOUT, "machines_deploymachinesapp.go spawnMachineInGroup"),
    Wait("the machine becomes healthy", WAIT_TIMEOUT, "machines_deploymachinesapp.go spawnMachineInGroup"),
    Wait("it listens", 15, "machines_deploymachinesapp.go warnAboutIncorrectListenAddress"),
)
"""Two machines, one after the other (deployCreateMachinesForGroups)."""
IMMEDIATE = (Wait("machines are updated", WAIT_TIMEOUT, "updateUsingImmediateStrategy waits for API calls alone"),)
ALWAYS = (
    Wait("calls of Fly's API", 5 * MINUTE, "our allowance: fly-go's flaps client sets no time limit"),
    Wait("the DNS check", 70, "machines_deploymachinesapp.go checkDNS"),
)


def total(*tables: tuple[Wait, ...]) -> int:
    return round(sum(wait.seconds for table in tables for wait in table))


DEPLOY_SECONDS = total(ALWAYS, RELEASE_COMMAND) + max(total(BLUEGREEN), total(FIRST_DEPLOY))
"""`flyctl deploy`."""
PUT_BACK_SECONDS = total(ALWAYS, BLUEGREEN)
"""`flyctl deploy --skip-release-command`."""
IMMEDIATE_SECONDS = total(ALWAYS, IMMEDIATE)
"""`flyctl deploy --skip-release-command --strategy immediate`."""

LOOK_SECONDS = 60
"""A flyctl command that reads or destroys."""
LOOKS = 10
"""The maximum number of such commands in a run."""
CLEAN_UP_SECONDS = 60
"""flyctl destroys unfinished green machines on SIGINT (strategy_bluegreen.go Rollback)."""
CANCEL_SECONDS = 5
"""GitHub kills a cancelled step 10 s after the first signal."""
FIRST_ANSWER_SECONDS = 10
"""A machine that auto_stop_machines has stopped starts with the first request."""
PATIENCE_SECONDS = 90
"""After flyctl's success: old machines end (30 s), a failed check is repeated (30 s), ten answers (10 s)."""
PATIENCE_AFTER_FAILURE_SECONDS = 15
"""After flyctl's failure nothing replaces machines any more: a commit that doesn't serve by now never will."""
BAKE_SECONDS = 2 * MINUTE
MAX_BAKE_SECONDS = 15 * MINUTE
REQUEST_SECONDS = 10
"""One request to the health endpoint. A wait ends at most one request after its timeout."""


def attempt(flyctl_seconds: int) -> int:
    """Return the seconds of a `flyctl deploy` and the wait for its commit."""
    return flyctl_seconds + CLEAN_UP_SECONDS + PATIENCE_SECONDS + REQUEST_SECONDS


LOOKING_SECONDS = LOOKS * LOOK_SECONDS + FIRST_ANSWER_SECONDS + REQUEST_SECONDS
LONGEST_DEPLOY_SECONDS = (
    LOOKING_SECONDS
    + attempt(DEPLOY_SECONDS)
    + MAX_BAKE_SECONDS
    + REQUEST_SECONDS
    + PATIENCE_AFTER_FAILURE_SECONDS
    + REQUEST_SECONDS
    + attempt(PUT_BACK_SECONDS)
    + attempt(IMMEDIATE_SECONDS)
)
"""`deploy.py deploy`, with both attempts to put back the previous image."""
LONGEST_ROLL_BACK_SECONDS = LOOKING_SECONDS + attempt(PUT_BACK_SECONDS) + attempt(IMMEDIATE_SECONDS)
"""`deploy.py roll-back`, with both strategies."""
