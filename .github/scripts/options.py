"""The command line of deploy.py. Python 3.12 to 3.14, standard library alone."""

import argparse
import re

from time_limits import BAKE_SECONDS, DEPLOY_SECONDS, MAX_BAKE_SECONDS, PATIENCE_SECONDS


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


def bake_time(text: str) -> int:
    seconds = natural(text)
    if seconds > MAX_BAKE_SECONDS:
        raise argparse.ArgumentTypeError(f"{text} is more than {MAX_BAKE_SECONDS} seconds, which the job has time for")
    return seconds


def parse(arguments: list[str], description: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    forwards = commands.add_parser("deploy", help="deploy the image of a commit")
    back = commands.add_parser("roll-back", help="deploy the image of an earlier release, and pin the app to it")
    for command in (forwards, back):
        command.add_argument("app", type=app_name, help="the app's name at Fly.io")
        command.add_argument("--url", type=base_url, help="the app's address, without a path (https://APP.fly.dev)")
        for name, default, meaning in (
            ("--patience", PATIENCE_SECONDS, "wait that long for the commit"),
            ("--interval", 1, "between requests"),
            ("--time-limit", DEPLOY_SECONDS, "stop flyctl after"),
        ):
            command.add_argument(
                name, type=natural, default=default, metavar="SECONDS", help=f"{meaning} (%(default)s)"
            )
        command.add_argument(
            "--answers", type=natural, default=10, metavar="NUMBER", help="in a row that are needed (%(default)s)"
        )
    forwards.add_argument("release", metavar="commit", type=full_commit, help="whose image is in the app's registry")
    forwards.add_argument(
        "--bake",
        type=bake_time,
        default=BAKE_SECONDS,
        metavar="SECONDS",
        help="watch health that long after the deploy (%(default)s)",
    )
    forwards.add_argument(
        "--force",
        action="store_true",
        help="although the app is pinned, or serves a commit that this one doesn't contain",
    )
    back.add_argument("release", help="v12, or a commit of 7 to 40 digits")
    options = parser.parse_args(arguments)
    options.url = options.url or f"https://{options.app}.fly.dev"
    return options
