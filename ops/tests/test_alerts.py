"""Alerts fire on made-up series, by promtool's unit tests of rules."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.api import ROOT

PROMTOOL = shutil.which("promtool")

pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="no promtool here; apt-get install prometheus")


def fires(folder: Path, alert: str, series: dict[str, str], *, minutes: int) -> bool:
    """Return whether an alert fires after this time.

    Args:
        folder: for the files.
        alert: the rule's name.
        series: values each minute, in promtool's notation, by their metric and labels.
        minutes: when the rule is evaluated.
    """
    assert PROMTOOL
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": f"{minutes}m", "alertname": alert, "exp_alerts": []}],
    }
    file = folder / "test.json"  # JSON is YAML
    file.write_text(json.dumps({"rule_files": [str(ROOT / "ops/prometheus/alerts.yml")], "tests": [test]}))
    done = subprocess.run([PROMTOOL, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or f"alertname: {alert}" in done.stdout + done.stderr, done.stderr
    return done.returncode != 0


@pytest.mark.parametrize(
    ("delivered", "dropped", "is_firing"),
    [("0+0x60", "0+1x60", True), ("0+5x60", "0+1x60", True), ("0+20x60", "0+1x60", False), ("0+0x60", "0 3", False)],
)
def test_undelivered_emails_fire(tmp_path: Path, delivered: str, dropped: str, *, is_firing: bool) -> None:
    labels = 'email_events_total{{app="audifi-api",instance="{}",event="{}"}}'
    series = {
        labels.format("a", "delivered"): delivered,
        labels.format("a", "dropped"): dropped,
        labels.format("b", "delivered"): "0+0x60",
        labels.format("b", "bounce"): "0+0x60",
    }

    assert fires(tmp_path, "EmailsUndelivered", series, minutes=60) is is_firing


@pytest.mark.parametrize(("minutes", "is_firing"), [(10, False), (20, True)])
def test_refunds_that_do_not_end_fire(tmp_path: Path, minutes: int, *, is_firing: bool) -> None:
    series = {'ipos_running{app="audifi-api",instance="a",status="canceling"}': "1+0x60"}

    assert fires(tmp_path, "RefundsStuck", series, minutes=minutes) is is_firing


@pytest.mark.parametrize(("values", "is_firing"), [("0 300 0+0x60", False), ("0+60x60", True)])
def test_late_distribution_fires(tmp_path: Path, values: str, *, is_firing: bool) -> None:
    series = {'distribution_delay_seconds{app="audifi-api",instance="a"}': values}

    assert fires(tmp_path, "DistributionOverdue", series, minutes=30) is is_firing
