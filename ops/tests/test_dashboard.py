"""Compares the dashboard and the alerts with a real server's metrics, through a real Prometheus."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from ruamel.yaml import YAML

from tests.payments import shops
from tests.support import api as apis
from tests.support import patient
from tests.support import prometheus as prometheuses
from tests.support.api import ROOT
from tests.support.clients import Client, asking, new_ip
from tests.support.exported import wait_for
from tests.support.prometheus import FLY_LABELS, Prometheus
from tests.support.sendgrid import SendGrid
from tests.support.waiting import wait_until
from tools.stripe_stand_in import server as stripe
from tools.stripe_stand_in.webhooks import sign

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(prometheuses.PROGRAM is None, reason="no prometheus here; apt-get install prometheus"),
]

DASHBOARD: dict[str, Any] = json.loads((ROOT / "ops/grafana/audifi-api.json").read_text())
ALERT_FILE = ROOT / "ops/prometheus/alerts.yml"
ALERTS = re.findall(r"- alert: (\w+)", ALERT_FILE.read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
GRAFANA = {"$__rate_interval": "20s", "$app": "audifi-api"}
"""The values of Grafana's variables."""


def of_panels() -> list[str]:
    return [target["expr"] for panel in PANELS for target in panel["targets"]]


def filled(expression: str) -> str:
    for name, value in GRAFANA.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


@dataclass(frozen=True, kw_only=True)
class Watched:
    prometheus: Prometheus
    metrics_port: int


@pytest.fixture(scope="module")
def watched(
    tmp_path_factory: pytest.TempPathFactory, database_url: str, shared_sendgrid: SendGrid
) -> Iterator[Watched]:
    """A server after every event that a panel shows."""
    port = apis.free_port()
    settings = {
        "DATABASE_URL": database_url,
        "METRICS_PORT": str(port),
        "SENDGRID_API_KEY": "SG.key",
        "SENDGRID_API_URL": shared_sendgrid.url,
        "TRUSTED_PROXIES": "127.0.0.0/8",
        "FUNDING": "development",
    }
    with ExitStack() as stack:
        stand_in = stack.enter_context(stripe.running(start=None))
        settings |= {
            "PAYMENTS": "stand_in",
            "STRIPE_API_BASE": stand_in.url,
            "STRIPE_SECRET_KEY": shops.KEY,
            "STRIPE_WEBHOOK_SECRET": shops.SECRET,
            "STRIPE_CONNECT_WEBHOOK_SECRET": shops.CONNECT_SECRET,
        }
        folder = tmp_path_factory.mktemp("api")
        api = stack.enter_context(apis.running(folder, "tests.support.api_with_test_routes", **settings))
        prometheus = stack.enter_context(prometheuses.running(folder, port, [ALERT_FILE]))
        http = stack.enter_context(asking(api.url))
        for _ in range(2):  # a rate is between two scrapes
            live(api.url, Client(http, shared_sendgrid))
            wait_for_scrape(prometheus)
        wait_for(port, lambda now: now.value("jobs_total", result="succeeded") >= 2)
        yield Watched(prometheus=prometheus, metrics_port=port)


def wait_for_scrape(prometheus: Prometheus) -> None:
    """Wait until Prometheus has scraped the server once more."""
    begin = time.time()
    wait_until(lambda: any(float(series["value"][1]) > begin for series in prometheus.query("timestamp(up)")))


def live(url: str, client: Client) -> None:
    client.sign_in()
    assert client.as_signed_in("GET", "/auth/me").is_success
    money = {"currency": "USD", "amount": 1000}
    assert post(client, "/ledger/deposits", money).is_success
    assert post(client, "/ledger/payouts", money).json()["code"] == "payout.account_incomplete"
    assert post(client, "/payments/checkout", money | shops.PATHS).is_success
    event = json.dumps(
        {
            "id": f"evt_{uuid4().hex}",
            "type": "charge.updated",
            "created": int(time.time()),
            "livemode": False,
            "data": {"object": {"id": "ch_1", "object": "charge"}},
        }
    )
    signature = {"Stripe-Signature": sign(event, shops.SECRET, int(time.time()))}
    assert patient.post(f"{url}/api/v1/payments/webhooks/stripe", content=event, headers=signature).is_success
    assert patient.post(f"{url}/test/marks?name=x&fail=true").status_code == 500
    assert patient.get(f"{url}/api/v1/health").is_success
    client.ip = new_ip()
    while client.request().status_code != 429:
        pass


def post(client: Client, path: str, body: dict[str, object]) -> httpx2.Response:
    return client.as_signed_in("POST", path, body, headers={"Idempotency-Key": str(uuid4())})


@pytest.mark.parametrize("expression", of_panels())
def test_dashboard_query_returns_series(watched: Watched, expression: str) -> None:
    wait_until(lambda: bool(watched.prometheus.query(filled(expression))))
    series = watched.prometheus.query(filled(expression))

    for labels in re.findall(r"\bby \(([^)]*)\)", expression)[:1]:  # the outermost aggregation determines the labels
        wanted = set(re.split(r", *", labels)) - {"le"}
        assert all(set(each["metric"]) == wanted for each in series), series


def selectors(text: str) -> dict[str, set[str]]:
    """Return the metrics in an expression, always written with braces, and their labels."""
    metrics: dict[str, set[str]] = {}
    for name, inside in re.findall(r"\b([a-z_]+)\{([^}]*)\}", text):
        metrics.setdefault(name, set()).update(re.findall(r"(\w+) *[=!]~?", inside))
    return metrics


@pytest.mark.parametrize("expressions", [*of_panels(), ALERT_FILE.read_text()])
def test_named_metrics_and_labels_are_exported(watched: Watched, expressions: str) -> None:
    now = wait_for(watched.metrics_port, lambda now: now.value("event_loop_lag_seconds_count") > 0)

    assert selectors(expressions)
    for name, labels in selectors(expressions).items():
        assert name in now.names
        known = {"instance", *FLY_LABELS}.union(*now.labels(name))
        assert labels <= known, name


def test_alerts_do_not_fire_on_a_healthy_server(watched: Watched) -> None:
    wait_until(lambda: all(rule["health"] == "ok" for rule in watched.prometheus.rules()))

    assert {rule["name"] for rule in watched.prometheus.rules()} == set(ALERTS)
    quiet = {
        "NoInstanceUp",
        "DatabaseUnavailable",
        "DatabaseReadOnly",
        "DatabaseSaturated",
        "DatabaseOutOfResources",
        "EmailDeliveryFailing",
        "EmailsUndelivered",
        "JobFailed",
        "PoolSaturated",
        "CrashLooping",
    }
    assert {rule["name"] for rule in watched.prometheus.rules() if rule["state"] == "firing"}.isdisjoint(quiet)


DATABASE_ALERTS = {
    "DatabaseUnavailable": {'database_probes_total{app="a",result="disconnected"}'},
    "DatabaseReadOnly": {'database_probes_total{app="a",result="read_only"}'},
    "DatabaseSaturated": {'database_probes_total{app="a",result="saturated"}'},
    "DatabaseOutOfResources": {'http_errors_total{app="a",code="database.unavailable"}'},
}


@pytest.mark.skipif(prometheuses.PROMTOOL is None, reason="no promtool here; apt-get install prometheus")
@pytest.mark.parametrize("alert", DATABASE_ALERTS)
def test_each_database_failure_has_one_alert(tmp_path: Path, alert: str) -> None:
    """An outage is one alert, although its requests get the 503 of missing resources, too."""
    growing = DATABASE_ALERTS[alert] | (
        DATABASE_ALERTS["DatabaseOutOfResources"] if alert == "DatabaseUnavailable" else set()
    )
    [group] = YAML(typ="safe").load(ALERT_FILE)["groups"]
    rules = {rule["alert"]: rule for rule in group["rules"]}
    firing = {"exp_labels": {"app": "a", "severity": "page"}, "exp_annotations": rules[alert]["annotations"]}
    test = {
        "interval": "30s",
        "input_series": [{"series": series, "values": "0+3x20"} for series in growing],
        "alert_rule_test": [
            {"eval_time": "8m", "alertname": name, "exp_alerts": [firing] if name == alert else []}
            for name in DATABASE_ALERTS
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(json.dumps({"rule_files": [str(ALERT_FILE)], "tests": [test]}))  # JSON is YAML
    done = subprocess.run(
        [str(prometheuses.PROMTOOL), "test", "rules", file], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_dashboard_is_portable() -> None:
    """Fly's managed Grafana can import it: no fixed data source, and no panel without a query."""
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource", "app"]
    for panel in PANELS:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["title"]
        assert all('app="$app"' in target["expr"] for target in panel["targets"])
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_alert_names_its_severity(watched: Watched) -> None:
    for rule in watched.prometheus.rules():
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]


def test_runbook_describes_every_alert() -> None:
    runbook = (ROOT / "docs/runbook.md").read_text()
    assert len(ALERTS) >= 10
    for alert in ALERTS:
        assert f"`{alert}`" in runbook
