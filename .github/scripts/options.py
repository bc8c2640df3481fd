"""The command line of deploy.py. Python 3.12 to 3.14, standard library only."""

import argparse
import re

from time_limits import BAKE_SECONDS, DEPLOY_SECONDS, MAX_BAKE_SECONDS, PATIENCE_SECONDS


def app_name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", text):
        raise argparse.ArgumentTypeError(f"{text!r} isn't an app name such as audifi-api")
    return text


def base_url(text: str) -> str:
    if not re.fullmatch(r"https?://[0-9A-Za-z.-]+(:[0-9]{1,5})?/?", text):
        raise argparse.ArgumentTypeError(f"{text!r} isn't a URL such as https://audifi-api.fly.dev")
    return text.rstrip("/")


def full_commit(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{40}", text):
        raise argparse.ArgumentTypeError(f"{text!r} isn't a full commit hash of 40 hexadecimal digits")
    return text


def natural(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise argparse.ArgumentTypeError(f"{text!r} isn't a whole number")
    return int(text)


def bake_time(text: str) -> int:
    seconds = natural(text)
    if seconds > MAX_BAKE_SECONDS:
        raise argparse.ArgumentTypeError(f"{text} is more than {MAX_BAKE_SECONDS} seconds, the job's limit")
    return seconds


def parse(arguments: list[str], description: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    deploy = commands.add_parser("deploy", help="deploy the image of a commit")
    roll_back = commands.add_parser("roll-back", help="deploy the image of an earlier release, and pin the app to it")
    for command in (deploy, roll_back):
        command.add_argument("app", type=app_name, help="the name of the app at Fly.io")
        command.add_argument("--url", type=base_url, help="the URL of the app, without a path (https://APP.fly.dev)")
        for name, default, meaning in (
            ("--patience", PATIENCE_SECONDS, "time to wait for the commit to serve"),
            ("--interval", 1, "time between requests"),
            ("--time-limit", DEPLOY_SECONDS, "time after which flyctl is stopped"),
        ):
            command.add_argument(
                name, type=natural, default=default, metavar="SECONDS", help=f"{meaning} (%(default)s)"
            )
        command.add_argument(
            "--answers", type=natural, default=10, metavar="NUMBER", help="required answers in a row (%(default)s)"
        )
    deploy.add_argument(
        "release", metavar="commit", type=full_commit, help="full hash of a commit whose image is in the registry"
    )
    deploy.add_argument(
        "--bake",
        type=bake_time,
        default=BAKE_SECONDS,
        metavar="SECONDS",
        help="time to watch health after the deploy (%(default)s)",
    )
    deploy.add_argument(
        "--force",
        action="store_true",
        help="deploy although the app is pinned, or serves a commit that this one doesn't contain",
    )
    roll_back.add_argument("release", help="a release (v12), or a commit of 7 to 40 digits")
    options = parser.parse_args(arguments)
    options.url = options.url or f"https://{options.app}.fly.dev"
    return options
