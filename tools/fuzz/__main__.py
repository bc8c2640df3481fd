"""`make fuzz`: schemathesis sends valid and invalid requests to the real server, on a database with signed-in users.

No response may be a 5xx or undocumented. Each finding is printed with a curl command. `make fuzz CASES=2000` sets the
number of cases of each operation and phase.
"""

import argparse
import json
import os
import secrets
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from schemathesis.cli import schemathesis

from dev import files
from tests.support import api, databases, sendgrid
from tests.support.api import ROOT
from tests.support.clients import asking
from tools.fuzz import users
from tools.stripe_stand_in import server as stripe_stand_in

HERE = Path(__file__).parent
CONTRACT = ROOT / "server" / "openapi.json"
PRECONDITIONS = {"if-match", "idempotency-key"}
MANY = "1000000"
SETTINGS = {
    "ENVIRONMENT": "development",  # production has no stand-in of Stripe
    "MASTER_REVIEW": "true",
    "PAYMENTS": "stand_in",
    "STRIPE_SECRET_KEY": "rk_test_of_fuzz",
    "STRIPE_WEBHOOK_SECRET": "whsec_of_fuzz",
    "STRIPE_CONNECT_WEBHOOK_SECRET": "whsec_of_fuzz",
    "RATE_LIMIT_FACTOR": "1000",
    "SENDGRID_API_KEY": "SG.fuzz",
    "SENDGRID_WEBHOOK_PUBLIC_KEY": sendgrid.PUBLIC_KEY,
    "TRUSTED_PROXIES": "127.0.0.0/8",
    "MAIL_LIMIT_PER_HOUR": MANY,
    "ACCOUNT_REQUESTS_PER_MINUTE": MANY,
    "ACCOUNT_CHANGES_PER_DAY": MANY,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("--cases", type=int, default=100, help="of each operation, in each phase (%(default)s)")
    parser.add_argument("--seed", help="of an earlier run, to see it again")
    parser.add_argument(
        "--operation", action="append", default=[], help="only this one, by its operationId; repeatable"
    )
    options = parser.parse_args()
    with (
        TemporaryDirectory(prefix="audifi-fuzz-") as folder,
        databases.own_server() as server,
        sendgrid.running() as mails,
        files.running(Path(folder) / "files", key_id="fuzz", secret=secrets.token_urlsafe()) as storage,
        stripe_stand_in.running(start=None) as stripe,
    ):
        storage.wait()
        if failure := databases.make_template(server):
            sys.exit(failure)
        url = server.url(databases.TEMPLATE)
        settings = SETTINGS | {"SENDGRID_API_URL": mails.url, "STRIPE_API_BASE": stripe.url, **storage.variables}
        with api.running(Path(folder), DATABASE_URL=url, **settings) as running, asking(running.url) as http:
            users.start(http, mails)
            status = fuzz(running.url, options, write_config(Path(folder) / "schemathesis.toml"))
            if "Traceback" in running.log() or "ERROR" in running.log():
                sys.exit(f"fuzz: the server's log contains errors:\n{running.log()[-4000:]}")
    sys.exit(status)


def write_config(path: Path) -> Path:
    """Write schemathesis.toml, completed for all operations whose headers JSON Schema can't describe; return the path.

    `If-Match` must be the present version, and an `Idempotency-Key` unused.
    """
    operations = [each for methods in json.loads(CONTRACT.read_text())["paths"].values() for each in methods.values()]
    names = [
        operation["operationId"]
        for operation in operations
        if PRECONDITIONS & {parameter["name"] for parameter in operation.get("parameters", ())}
    ]
    group = f"""
[[operations]]
include-operation-id = {json.dumps(names)}
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", 400, 401, 403, 404, 409, 412, 422, 428, 429]
"""
    path.write_text((HERE / "schemathesis.toml").read_text() + group)
    return path


def fuzz(url: str, options: argparse.Namespace, config: Path) -> int:
    arguments = ["--config-file", str(config), "run", str(CONTRACT)]
    arguments += ["--url", url, "--max-examples", str(options.cases)]
    if options.seed:
        arguments += ["--seed", options.seed]
    for operation in options.operation:
        arguments += ["--include-operation-id", operation]
    os.chdir(HERE)
    try:
        schemathesis.main(arguments, prog_name="schemathesis")
    except SystemExit as ended:
        return int(ended.code or 0)


if __name__ == "__main__":
    main()
