"""`make soak`: a real server under steady traffic while its PostgreSQL is broken in every way.

    python -m tools.soak --minutes 10 --write   # also writes docs/performance.md and docs/soak.svg

Afterwards, behind HAProxy with fly.toml's limit, the server gets ten times the load that it can serve, and the database
freezes under load. The run fails if a request got no response or a wrong one, a write was lost or repeated, health was
wrong, full speed didn't return, or something leaked.
"""

import argparse
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from tests.support import api, sendgrid
from tests.support.api import ROOT
from tests.support.clients import Client, asking
from tests.support.databases import fetch_value
from tests.support.sendgrid import SendGrid
from tools.rehearsal.traffic import Account
from tools.rehearsal.writes import Write, lost_writes
from tools.soak import database as databases
from tools.soak import judge, report
from tools.soak.database import Database
from tools.soak.load import Person
from tools.soak.run import Plan, Seen, soak

MANY = "1000000"
SETTINGS = {
    "SENDGRID_API_KEY": "SG.soak",
    "TRUSTED_PROXIES": "127.0.0.0/8",
    "MAIL_LIMIT_PER_HOUR": MANY,
    "ACCOUNT_REQUESTS_PER_MINUTE": MANY,
    "ACCOUNT_CHANGES_PER_DAY": MANY,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make soak", description="See the module's docstring.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=60, help="steady requests a second (%(default)s)")
    parser.add_argument("--accounts", type=int, default=40)
    parser.add_argument("--write", action="store_true", help="the report and the picture into docs/")
    options = parser.parse_args()
    seen, failed = run(Plan.of(options.minutes, options.rate), options.accounts)
    failed += judge.speed_failures(seen)
    text = report.markdown(seen, failed)
    print(f"\n\n{text}\n")
    folder = ROOT / "docs" if options.write else ROOT / ".data"
    folder.mkdir(exist_ok=True)
    report.draw(seen, folder / "soak.svg", time.time() - time.monotonic())
    if options.write:
        picture = "![Responses per second by result, and health, over time, with faults and load](soak.svg)"
        report.write_into(ROOT / "docs" / "performance.md", f"{text}\n\n{picture}")
    sys.exit("\n".join(["soak: FAILED", *failed]) if failed else 0)


def run(plan: Plan, accounts: int) -> tuple[Seen, list[str]]:
    """Return the measurements and the failures except those of speed."""
    with TemporaryDirectory(prefix="audifi-soak-") as folder, databases.running() as database:
        with (
            sendgrid.running() as mails,
            api.running(
                Path(folder), "tools.soak.server", DATABASE_URL=database.url, SENDGRID_API_URL=mails.url, **SETTINGS
            ) as server,
        ):
            people = sign_in(server.url, mails, accounts)
            seen, load = uvloop.run(soak(plan, server, database, people))
            log = server.log()
            status = server.stop()
        lost = wrong_writes(database, load.writes)
    if status:
        lost.append(f"the server ended with {status}")
    # database.busy is logged as an error, and is the right answer while the database is frozen.
    errors = [
        line for line in log.splitlines() if re.search(r"\bERROR\b|\"error\"", line) and "database.busy" not in line
    ]
    lost += [f"the log: {line[:200]}" for line in errors[:5]]
    return seen, judge.failures(seen, lost)


def sign_in(url: str, mails: SendGrid, accounts: int) -> list[Person]:
    people = []
    with asking(url) as http:
        for _ in range(accounts):
            client = Client(http, mails).sign_in()
            tokens = client.tokens
            account = Account(tokens["refresh_token"], tokens["access_token"], tokens["user"]["id"])
            people.append(Person(account, client.email))
    return people


def wrong_writes(database: Database, writes: Sequence[Write]) -> list[str]:
    lost = lost_writes(database.url, writes)
    twice = (
        "SELECT count(*) FROM (SELECT FROM auth_events WHERE event = 'user.updated'"
        " GROUP BY user_id, user_agent HAVING count(*) > 1) AS twice"
    )
    number = int(str(fetch_value(database.url, twice)))
    failed = [f"{len(lost)} writes were acknowledged and lost"] if lost else []
    return failed + ([f"{number} writes were done twice"] if number else [])


if __name__ == "__main__":
    main()
