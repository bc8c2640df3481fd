#!/usr/bin/env python3
"""Deploys an image to Fly.io, or rolls back to one, and sees that it serves. For Python 3.12 and nothing else.

    deploy.py deploy APP COMMIT      deploy registry.fly.io/APP:COMMIT; if it doesn't serve, put back what served before
    deploy.py roll-back APP RELEASE  deploy the image of a release (v12, as `flyctl releases` shows it) or of a commit

flyctl has to be on PATH, and FLY_API_TOKEN in the environment. What went where is written to standard output and, in
GitHub Actions, to the job's summary. Exit status 0: the app serves what was asked for.
"""

import argparse
import re
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import flyctl
from report import Report
from served import Answer, Api

# flyctl itself may take: release_command_timeout (10 min), wait_timeout (5 min) for each of started, healthy and old
# machines stopped, and some time to talk to Fly. tools/pipeline/tests/test_workflow.py holds it to fly.toml.
DEPLOY_SECONDS = 30 * 60
# No release command, and machines that have proved themselves: they start in a minute or two, or not at all.
PUT_BACK_SECONDS = 10 * 60
# When flyctl has succeeded, new machines are healthy and get traffic. What is left is that every proxy knows it, that
# old machines end (kill_timeout, 30 s), a check that failed once (again after 30 s), and ten answers (10 s).
PATIENCE_SECONDS = 90
# When flyctl has failed, nobody replaces machines any more: what doesn't serve by now won't.
PATIENCE_AFTER_FAILURE_SECONDS = 15
# A machine that was stopped (auto_stop_machines) starts with the first question.
FIRST_ANSWER_SECONDS = 10
FULL_COMMIT = 40
SKIP = "--skip-release-command"  # the schema isn't taken back, and an old image doesn't know the newer revision
IMMEDIATE = ("--strategy", "immediate")


class RefusedError(Exception):
    """Nothing can be done; the message is for a person."""


class Cancelled(BaseException):
    """The run was cancelled."""


def deploy(options: argparse.Namespace, api: Api, report: Report) -> bool:
    report.before = ask_before(options, api) if was_deployed(options.app) else Answer()
    report.image_before = find_image_of(report.before, options.app)
    report.image = f"registry.fly.io/{options.app}:{options.release}"
    served = try_image(options, api, report, options.release)
    good = judge(report, options.release, "Deployed", served=served)
    if not good:
        report.put_back = put_back(options, api, report, served=served)
    return good


def roll_back(options: argparse.Namespace, api: Api, report: Report) -> bool:
    report.image, commit = find_image(options.app, options.release)
    report.asked = commit
    report.before = ask_before(options, api)
    served = try_image(options, api, report, commit, SKIP)
    return judge(report, commit, "Rolled back", served=served)


def was_deployed(app: str) -> bool:
    """Return False before an app's first deploy; True also when flyctl can't tell.

    Until then the app has no address, and resolvers would remember for minutes that they found no such name (RFC 2308,
    section 5): a good first deploy would look as if nothing answered.
    """
    return flyctl.releases(app) != []


def ask_before(options: argparse.Namespace, api: Api) -> Answer:
    """What serves before."""
    print("Before:", flush=True)
    _, answer = api.wait_until(
        lambda answer: answer.version != "", min(options.patience, FIRST_ANSWER_SECONDS), in_a_row=1
    )
    return answer


def find_image_of(answer: Answer, app: str) -> str:
    """The newest image of the version that answers; else the newest that was deployed well; empty if there is none."""
    releases = flyctl.releases(app) or []
    serving = [each.image for each in releases if each.commit and answer.names(each.commit)]
    complete = [each.image for each in releases if each.status == "complete"]
    return next((image for image in serving + complete if image), "")


def find_image(app: str, release: str) -> tuple[str, str]:
    """The image of a release or commit, with its full commit."""
    if not re.fullmatch(r"v[0-9]{1,9}|[0-9a-f]{7,40}", release):
        raise RefusedError(
            f"{release!r} is neither a release, such as v12, nor a commit of 7 to 40 hexadecimal digits."
        )
    releases = flyctl.releases(app)
    if release.startswith("v"):
        found = [each for each in releases or [] if each.version == int(release[1:])]
    else:
        found = [each for each in releases or [] if each.commit.startswith(release)]
        if not found and len(release) == FULL_COMMIT:
            return f"registry.fly.io/{app}:{release}", release
    if releases is None:
        raise RefusedError(
            f"flyctl can't list the releases of {app}; the lines above tell why. A full commit needs no list."
        )
    if not found:
        raise RefusedError(
            f"{app} has no release {release} among its last {len(releases)}; `flyctl releases --app {app} --image`"
            " lists them. An older image may be there by its full commit of 40 digits."
        )
    image, commit = found[0].image, found[0].commit
    if not commit:
        raise RefusedError(
            f"The image of {release}, {image or 'unknown'}, isn't labelled with a commit, so health can't tell whether"
            " it serves: roll back by hand (docs/runbook.md)."
        )
    return image, commit


def try_image(options: argparse.Namespace, api: Api, report: Report, commit: str, *more: str) -> bool:
    """Deploy the report's image, and wait until its commit is served; returns whether it is."""
    report.ended = "was started"
    report.ended = flyctl.deploy(options.app, report.image, *more, time_limit=options.time_limit)
    served, report.now = api.wait_until(lambda answer: answer.serves(commit), patience(options, report.ended))
    return served


def patience(options: argparse.Namespace, ended: str) -> int:
    least: int = min(options.patience, PATIENCE_AFTER_FAILURE_SECONDS)
    return options.patience if ended == "succeeded" else least


def judge(report: Report, commit: str, done: str, *, served: bool) -> bool:
    """Whether it is good, and the sentence that says why.

    flyctl can fail on a slow API although the new version serves, and succeed although it doesn't, so the commit that
    is served decides. Machines are replaced only after the release command has succeeded, so a new commit that serves
    proves that, too; but one that served before proves nothing, and then flyctl's word counts.
    """
    if report.ended == "succeeded":
        report.sentence = f"{done}." if served else "flyctl succeeded, but the app doesn't serve the commit."
        return served
    if not served:
        report.sentence = f"flyctl {report.ended}, and the app doesn't serve the commit."
        return False
    if not report.before.version or report.before.names(commit):
        report.sentence = f"flyctl {report.ended}. The app serves the commit, but for all we know it did so before."
        return False
    report.sentence = f"{done}, although flyctl {report.ended}: its output and the app's status want a look."
    report.level = "warning"
    return True


def put_back(options: argparse.Namespace, api: Api, report: Report, *, served: bool) -> str:
    """After a deploy that isn't good, see that the app serves as it did before; says what was done."""
    before, image = report.before, report.image_before
    if served:
        return "Nothing: the app serves the commit."
    if before.version:
        # A database that was away before may still be: machines that are as red as they were are left alone, too.
        as_before, report.now = api.wait_until(
            lambda answer: answer.version == before.version and answer.status in {200, before.status},
            min(options.patience, PATIENCE_AFTER_FAILURE_SECONDS),
        )
        if as_before:
            return f"Nothing had to be: `{before.version}`, the version of before, serves on."
    if not image:
        return "Nothing: no release tells which image served before. Roll back by hand (docs/runbook.md)."
    if flyctl.commit_of(image) == options.release:
        return "Nothing: the image of before is the one that was deployed."
    serves_again = recogniser(report)
    # As fly.toml has it, while something healthy serves until its successor does; where nothing does, the fastest way.
    for strategy in [(), IMMEDIATE] if report.now.healthy else [IMMEDIATE]:
        print(f"Putting back {image} …", flush=True)
        report.put_back = f"`{image}` is being put back."
        ended = flyctl.deploy(options.app, image, SKIP, *strategy, time_limit=min(options.time_limit, PUT_BACK_SECONDS))
        again, report.now = api.wait_until(serves_again, patience(options, ended))
        if again:
            return f"`{image}`, which serves again."
    return f"`{image}`, but it doesn't serve: look at the log, and roll back by hand (docs/runbook.md)."


def recogniser(report: Report) -> Callable[[Answer], bool]:
    """Tells whether an answer is of the image of before."""
    before, deployed = report.before, flyctl.commit_of(report.image)
    if commit := flyctl.commit_of(report.image_before):
        return lambda answer: answer.serves(commit)
    if before.version:
        return lambda answer: answer.healthy and answer.version == before.version
    return lambda answer: answer.healthy and not answer.names(deployed)


def cancel(number: int, _: FrameType | None) -> NoReturn:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)  # once; GitHub sends the second after 7.5 s
    raise Cancelled(signal.Signals(number).name)


def app_name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", text):
        raise argparse.ArgumentTypeError(f"{text!r} isn't an app's name such as audifi-api")
    return text


def base_url(text: str) -> str:
    if not re.fullmatch(r"https?://[0-9A-Za-z.-]+(:[0-9]{1,5})?/?", text):
        raise argparse.ArgumentTypeError(f"{text!r} isn't an address such as https://audifi-api.fly.dev")
    return text.rstrip("/")


def full_commit(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{40}", text):
        raise argparse.ArgumentTypeError(f"{text!r} isn't a commit's full hash of 40 hexadecimal digits")
    return text


def natural(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise argparse.ArgumentTypeError(f"{text!r} isn't a whole number")
    return int(text)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    forwards = commands.add_parser("deploy", help="deploy the image of a commit")
    back = commands.add_parser("roll-back", help="deploy the image of an earlier release")
    for command in (forwards, back):
        command.add_argument("app", type=app_name, help="the app's name at Fly.io")
        command.add_argument("--url", type=base_url, help="where the app is, without a path (https://APP.fly.dev)")
        for name, default, meaning in (
            ("--patience", PATIENCE_SECONDS, "wait that long for the commit"),
            ("--interval", 1, "between questions"),
            ("--time-limit", DEPLOY_SECONDS, "stop flyctl after"),
        ):
            command.add_argument(
                name, type=natural, default=default, metavar="SECONDS", help=f"{meaning} (%(default)s)"
            )
        command.add_argument(
            "--answers", type=natural, default=10, metavar="NUMBER", help="in a row that are needed (%(default)s)"
        )
    forwards.add_argument("release", metavar="commit", type=full_commit, help="whose image is in the app's registry")
    back.add_argument("release", help="v12, or a commit of 7 to 40 digits")
    options = parser.parse_args(arguments)
    options.url = options.url or f"https://{options.app}.fly.dev"
    return options


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    report = Report(app=options.app, url=options.url, asked=options.release)
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
            f"The run was cancelled half-way ({cancelled}); nothing more is done. What serves wants a look."
        )
        report.write(good=False, look=False)
        return 1
    report.write(good=good)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
