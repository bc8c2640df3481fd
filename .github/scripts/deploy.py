#!/usr/bin/env python3
"""Deploy an image to Fly.io, or roll back to one, and check that it serves.

    deploy.py deploy APP COMMIT      deploy registry.fly.io/APP:COMMIT; if it doesn't serve, put back the previous image
    deploy.py roll-back APP RELEASE  deploy the image of a release (v12, as `flyctl releases` shows it) or of a commit

Needs flyctl on PATH, FLY_API_TOKEN in the environment, and for `deploy` the branch's Git history in the current folder.
Writes a report to standard output and, in GitHub Actions, to the job's summary. Exit status 0: the app serves the
requested commit. Python 3.12 to 3.14, standard library only.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

import flyctl
import machines
import order
import time_limits
from images import find_image, find_image_of, was_deployed, was_rebuilt
from machines import Machine
from options import parse
from report import RefusedError, Report
from served import Answer, Api

SKIP = "--skip-release-command"  # the schema isn't rolled back, and an old image doesn't know the newer revision
IMMEDIATE = ("--strategy", "immediate")
LAST_FAILURE = "python -m audifi migrations last-failure"


class Cancelled(BaseException):
    """The run was cancelled."""


def deploy(options: argparse.Namespace, api: Api, report: Report) -> bool:
    report.before = ask_before(options, api) if was_deployed(options.app) else Answer()
    report.image_before = find_image_of(report.before, options.app)
    report.image = f"registry.fly.io/{options.app}:{options.release}"
    app_machines = machines.list_machines(options.app)
    if app_machines is None:
        raise RefusedError(f"flyctl can't list the machines of {options.app}; the lines above say why.")
    pin = machines.pin_of(app_machines)
    if not options.force:
        refuse_out_of_turn(options, report, pin)
    app_machines, report.cleared = machines.clear_leftovers(options.app, app_machines)
    if machines.are_mixed(app_machines):
        raise RefusedError(machines.explain_mixed(options.app, app_machines))
    served = try_image(options, api, report, options.release)
    good = judge(report, options.release, "Deployed", served=served)
    if good:
        good = served = bake(options, api, report)
    elif report.ended != "succeeded" and not served:
        report.migration = find_migration_failure(options, app_machines)
    if not good:
        report.put_back = put_back(options, api, report, pin, served=served)
    return good


def roll_back(options: argparse.Namespace, api: Api, report: Report) -> bool:
    report.image, commit = find_image(options.app, options.release)
    report.requested = commit
    report.before = ask_before(options, api)
    app_machines = machines.list_machines(options.app)
    if app_machines is not None:
        app_machines, report.cleared = machines.clear_leftovers(options.app, app_machines)
    pin = machines.new_pin()
    served = False
    if app_machines is None or not machines.are_mixed(app_machines):
        served = try_image(options, api, report, commit, *roll_back_options(pin), seconds=time_limits.PUT_BACK_SECONDS)
    if report.ended != "succeeded" and not served and may_be_mixed(options.app):
        flags = (*roll_back_options(pin), *IMMEDIATE)
        served = try_image(options, api, report, commit, *flags, seconds=time_limits.IMMEDIATE_SECONDS)
    if served:
        report.pin = f"`{pin}`: pushes don't deploy until a person releases it by `{release_command()}`."
    return judge(report, commit, "Rolled back", served=served)


def roll_back_options(pin: str) -> tuple[str, ...]:
    return (SKIP, *machines.pin_options(pin))


def may_be_mixed(app: str) -> bool:
    """Return whether `bluegreen` may refuse the app's machines; `immediate` replaces machines of any images."""
    app_machines = machines.list_machines(app)
    return app_machines is None or machines.are_mixed(app_machines)


def refuse_out_of_turn(options: argparse.Namespace, report: Report, pin: str) -> None:
    """Refuse a deploy that would undo a roll-back, or replace a commit that this one doesn't contain."""
    if pin:
        raise RefusedError(f"{options.app} is pinned by a roll-back ({pin}). To release it: `{release_command()}`.")
    serving = report.before.build or flyctl.commit_of(report.image_before)
    if reason := order.why_not_after(serving, options.release):
        raise RefusedError(f"{reason} To deploy it anyway: `{release_command()}`.")


def release_command() -> str:
    branch = os.environ.get("GITHUB_REF_NAME", "BRANCH")
    return f"gh workflow run backend.yml --ref {branch} -f force=true"


def ask_before(options: argparse.Namespace, api: Api) -> Answer:
    """Return the answer of the version that serves before the deploy."""
    print("Health before the deploy:", flush=True)
    _, answer = api.wait_until(
        lambda answer: answer.version != "", min(options.patience, time_limits.FIRST_ANSWER_SECONDS), in_a_row=1
    )
    return answer


def try_image(
    options: argparse.Namespace,
    api: Api,
    report: Report,
    commit: str,
    *flags: str,
    seconds: int = time_limits.DEPLOY_SECONDS,
) -> bool:
    """Deploy the report's image and wait for its commit; return whether it is served."""
    report.ended = "was started"
    report.ended = flyctl.deploy(options.app, report.image, *flags, time_limit=min(options.time_limit, seconds))
    served, report.now = api.wait_until(lambda answer: answer.fully_serves(commit), patience(options, report.ended))
    return served


def patience(options: argparse.Namespace, ended: str) -> int:
    least: int = min(options.patience, time_limits.PATIENCE_AFTER_FAILURE_SECONDS)
    return options.patience if ended == "succeeded" else least


def judge(report: Report, commit: str, outcome: str, *, served: bool) -> bool:
    """Return whether the deploy is good; write the sentence that says why.

    flyctl can fail on a slow API although the new version serves, and succeed although it doesn't, so the served commit
    decides. Machines are replaced only after the release command has succeeded, so a new commit that serves also proves
    that success. A commit that served before the deploy proves nothing: then flyctl's exit status decides.
    """
    if report.ended == "succeeded":
        report.sentence = f"{outcome}." if served else "flyctl succeeded, but the app doesn't serve the commit."
        return served
    if not served:
        report.sentence = f"flyctl {report.ended}, and the app doesn't serve the commit."
        return False
    if not report.before.version or report.before.names(commit):
        report.sentence = f"flyctl {report.ended}. The app serves the commit, but perhaps did so before."
        return False
    report.sentence = f"{outcome}, although flyctl {report.ended}: look at its output and at the app's status."
    report.level = "warning"
    return True


def bake(options: argparse.Namespace, api: Api, report: Report) -> bool:
    """Watch health after a successful deploy; return whether it stayed good."""
    print(f"Watching health for {options.bake} s:", flush=True)
    report.bake = f"health for {options.bake} s: cancelled"
    good, report.now = api.stays(lambda answer: answer.fully_serves(options.release), options.bake)
    report.bake = f"health for {options.bake} s: {'good' if good else f'broke, {report.now.seen}'}"
    if not good:
        report.sentence = "The commit was deployed and served, but its health didn't stay good."
    return good


def find_migration_failure(options: argparse.Namespace, app_machines: Sequence[Machine]) -> str:
    """Ask a previous machine why the last migration failed; empty if unknown, or if the failure is another commit's.

    The deploy token may not be allowed to read the release machine's log (flyctl v0.4.87, machines_releasecommand.go,
    waitForLogs). So the migration records its failure in the database (server/alembic/env.py).
    """
    for each in app_machines:
        if each.state == "started":
            reason = (flyctl.execute(options.app, each.id, LAST_FAILURE) or "").strip()
            return " ".join(reason.split()) if options.release[:7] in reason else ""
    return ""


def put_back(options: argparse.Namespace, api: Api, report: Report, pin: str, *, served: bool) -> str:
    """Restore the previous image after a failed deploy, unless it still serves; return a sentence for the report."""
    before, image = report.before, report.image_before
    if served:
        return "Nothing: the app serves the commit."
    if before.version:
        # The database may have been unavailable before the deploy, so machines that were already red are left alone.
        as_before, report.now = api.wait_until(
            lambda answer: answer.version == before.version and (answer.healthy or not before.healthy),
            min(options.patience, time_limits.PATIENCE_AFTER_FAILURE_SECONDS),
        )
        if as_before:
            return f"Nothing: `{before.version}`, the previous version, still serves."
    if not image:
        return "Nothing: no release has the image that served before. Roll back by hand (docs/runbook.md)."
    if flyctl.commit_of(image) == options.release and not was_rebuilt(options.app, image):
        return "Nothing: the previous image is the one that was deployed."
    serves_again = match_previous(report)
    # While something healthy serves, fly.toml's strategy keeps it until its successor is ready; else the fastest way.
    attempts = (((), time_limits.PUT_BACK_SECONDS), (IMMEDIATE, time_limits.IMMEDIATE_SECONDS))
    for strategy, seconds in attempts if report.now.healthy else attempts[1:]:
        print(f"Putting back {image} …", flush=True)
        report.put_back = f"`{image}` is being put back."
        flags = (*roll_back_options(pin), *strategy)
        ended = flyctl.deploy(options.app, image, *flags, time_limit=min(options.time_limit, seconds))
        again, report.now = api.wait_until(serves_again, patience(options, ended))
        if again:
            return f"`{image}`, which serves again."
    return f"`{image}`, but it doesn't serve: look at the log, and roll back by hand (docs/runbook.md)."


def match_previous(report: Report) -> Callable[[Answer], bool]:
    """Return a predicate that is true for answers of the previous image."""
    before, deployed = report.before, flyctl.commit_of(report.image)
    if commit := flyctl.commit_of(report.image_before):
        return lambda answer: answer.serves(commit)
    if before.version:
        return lambda answer: answer.healthy and answer.version == before.version
    return lambda answer: answer.healthy and not answer.names(deployed)


def cancel(number: int, _: FrameType | None) -> NoReturn:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)  # cancelled once; GitHub sends the second signal after 7.5 s
    raise Cancelled(signal.Signals(number).name)


def main(arguments: list[str]) -> int:
    options = parse(arguments, __doc__)
    report = Report(app=options.app, url=options.url, requested=options.release)
    api = Api(options.url, options.interval, options.answers)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, cancel)
    try:
        good = {"deploy": deploy, "roll-back": roll_back}[options.command](options, api, report)
    except RefusedError as refusal:
        report.sentence = str(refusal)
        report.write(good=False, look=False)
        return 1
    except Cancelled as cancelled:
        report.sentence = (
            f"The run was cancelled ({cancelled}) before the deploy ended."
            " Check which version serves; the next deploy removes leftover machines."
        )
        report.write(good=False, look=False)
        return 1
    report.write(good=good)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
