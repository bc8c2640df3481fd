"""`make stripe-contract` runs these tests against Stripe's test mode. Here, another stand-in is in its place."""

import re
import subprocess
import sys

from tests.support.api import ROOT, environment
from tools.stripe_stand_in import server


def test_tests_run_against_another_address() -> None:
    tests = ["tools/stripe_stand_in/tests/test_api.py", "tools/stripe_stand_in/tests/test_subscriptions.py"]
    with server.running(start=None) as stripe:
        variables = {"STRIPE_CONTRACT_KEY": "sk_test_x", "STRIPE_CONTRACT_API_BASE": stripe.url}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", *tests],
            env=environment(**variables),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    assert done.returncode == 0, done.stdout[-2000:]
    counts = re.search(r"(\d+) passed, (\d+) skipped", done.stdout)
    assert counts, done.stdout[-200:]
    assert int(counts[1]) > 20
