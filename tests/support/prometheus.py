"""Prometheus that scrapes a server every second and answers PromQL."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.support import patient
from tests.support.api import free_port

PROGRAM = shutil.which("prometheus")
PROMTOOL = shutil.which("promtool")
START_TIMEOUT_SECONDS = 30
FLY_LABELS = {"app": "audifi-api", "region": "iad", "host": "a1b2"}
"""The labels that Fly adds to each series, beside `instance`: https://fly.io/docs/monitoring/metrics/#standard-labels"""


@dataclass(frozen=True, kw_only=True)
class Prometheus:
    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the current series, each with its `metric` and its `value`."""
        answer = patient.post(f"{self.url}/api/v1/query", data={"query": expression}).json()
        assert answer["status"] == "success", f"{expression}\n{answer.get('error')}"
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def rules(self) -> list[dict[str, Any]]:
        groups = patient.get(f"{self.url}/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


@contextmanager
def running(folder: Path, target_port: int, rule_files: Sequence[Path]) -> Iterator[Prometheus]:
    """Run Prometheus while the block runs. It refuses to start with invalid rules."""
    assert PROGRAM
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": list(map(str, rule_files)),
        "scrape_configs": [
            {
                "job_name": "fly",
                "static_configs": [{"targets": [f"127.0.0.1:{target_port}"], "labels": FLY_LABELS}],
            }
        ],
    }
    file = folder / "prometheus.json"  # JSON is YAML
    file.write_text(json.dumps(config))
    port = free_port()
    log_file = folder / "prometheus.log"
    command = [PROGRAM, f"--config.file={file}", f"--storage.tsdb.path={folder / 'prometheus'}"]
    with log_file.open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not _is_ready(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(log_file.read_text())
            time.sleep(0.1)
        yield Prometheus(url=url)
    finally:
        process.kill()
        process.wait()


def _is_ready(url: str) -> bool:
    try:
        return patient.get(f"{url}/-/ready").is_success
    except httpx2.TransportError:
        return False
