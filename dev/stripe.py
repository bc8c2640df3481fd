"""Stripe as a child process: its stand-in, tools/stripe_stand_in, where PAYMENTS is stand_in."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

STOP_TIMEOUT_SECONDS = 10
POLL_SECONDS = 0.02
SECRET, CONNECT_SECRET = "whsec_stand_in", "whsec_stand_in_connect"
VARIABLES = "stripe.json"
PRICES = {
    "pro_month_usd": "2900/usd/month",
    "pro_year_usd": "29000/usd/year",
    "enterprise_month_usd": "19900/usd/month",
    "enterprise_year_usd": "199000/usd/year",
}


@contextmanager
def running(root: Path, folder: Path, *, server_port: str) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str]]]:
    """Run a stand-in while the block runs, whose events go to the server.

    Yields:
        The process, and the server's settings for it.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    webhooks = f"http://localhost:{server_port}/api/v1/payments/webhooks"
    options = {
        "port": str(port),
        "webhook-url": f"{webhooks}/stripe",
        "webhook-secret": SECRET,
        "connect-webhook-url": f"{webhooks}/stripe-connect",
        "connect-webhook-secret": CONNECT_SECRET,
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    arguments += [f"--price={key}={price}" for key, price in PRICES.items()]
    with (folder / "stripe.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tools.stripe_stand_in", *arguments],
            cwd=root,
            env=os.environ | {"PYTHONPATH": str(root)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C in a terminal is for the API
        )
    variables = {
        "STRIPE_SECRET_KEY": "sk_test_stand_in",
        "STRIPE_WEBHOOK_SECRET": SECRET,
        "STRIPE_CONNECT_WEBHOOK_SECRET": CONNECT_SECRET,
        "STRIPE_API_BASE": f"http://localhost:{port}",
    }
    while process.poll() is None and not _is_listening(port):
        time.sleep(POLL_SECONDS)
    (folder / VARIABLES).write_text(json.dumps(variables))
    try:
        yield process, variables
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def read_variables(folder: Path) -> Mapping[str, str]:
    """Return the server's settings for the stand-in that runs, or that ran last; none if none did."""
    file = folder / VARIABLES
    return dict(json.loads(file.read_text())) if file.exists() else {}
