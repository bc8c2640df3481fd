"""The report of small, artificial requests and events."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tools.rehearsal.report import Case, figures, quantile, write_report
from tools.rehearsal.writes import Write

T = 1_795_000_000.0
OLD, NEW = "0.1.0+1a2b3c4", "0.1.0+9f8e7d6"


@pytest.fixture(autouse=True)
def no_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, tests in GitHub Actions would write to the job's summary."""
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


def request(
    at: float, kind: str = "health", status: int | str = 200, seconds: float = 0.01, **extra: Any
) -> dict[str, Any]:
    if kind == "health" and status == 200:
        extra = {"version": OLD} | extra
    return {"start": T + at, "seconds": seconds, "kind": kind, "status": status, **extra}


def event(at: float, name: str, machine: str = "3d8e", version: str = OLD) -> dict[str, Any]:
    return {"at": T + at, "app": "audifi-api", "event": name, "machine": machine, "version": version, "detail": ""}


def case(started: float, ended: float, name: str = "A deploy", *, passed: bool = True, evidence: str = "") -> Case:
    return Case(name, T + started, T + ended, passed, evidence)


def write_lines(file: Path, lines: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def texts(svg: Path) -> str:
    """Return the texts of a picture. Letters are outlines, and comments contain the text."""
    source = svg.read_text()
    assert ET.fromstring(source).tag.endswith("svg")  # noqa: S314 - ours
    return "\n".join(re.findall("<!-- (.*?) -->", source))


def test_failures_are_counted_by_kind_and_status() -> None:
    lines = [request(0), request(1, status=503), request(2, "read", "TimeoutError"), request(3, "read", "TimeoutError")]

    result = figures({"requests": lines}, T, T + 10)

    assert (result.sent, result.failed) == (4, 3)
    assert result.failures == {"health 503": 1, "read TimeoutError": 2}


def test_request_belongs_to_the_case_in_which_it_was_due() -> None:
    lines = [request(-0.001, seconds=5), request(0), request(9.999), request(10)]

    assert figures({"requests": lines}, T, T + 10).sent == 2


def test_longest_gap_is_between_successes_or_case_bounds() -> None:
    answers = [request(at) for at in (0, 1, 2, 5)]
    failures = [request(at, status=502) for at in (3, 4, 6, 7, 8, 9, 10, 11)]
    streams = {"requests": [*answers, *failures]}

    assert figures(streams, T, T + 6).longest_gap == pytest.approx(3)
    assert figures(streams, T, T + 9).longest_gap == pytest.approx(3.99)
    assert figures(streams, T + 6, T + 9).longest_gap == pytest.approx(3)


def test_time_outside_the_traffic_is_no_gap() -> None:
    assert figures({"requests": [request(5), request(6)]}, T, T + 100).longest_gap == pytest.approx(1)


def test_gap_of_one_stream_is_not_hidden_by_another() -> None:
    streams = {
        "requests-staging": [request(at) for at in range(10)],
        "requests-production": [request(0), request(9)],
    }

    assert figures(streams, T, T + 10).longest_gap == pytest.approx(9)


def test_quantiles_are_measured_values() -> None:
    hundred = [float(number) for number in range(1, 101)]

    assert [quantile(hundred, share) for share in (0.5, 0.99, 1)] == [50, 99, 100]
    assert quantile([7], 0.5) == 7


def test_latency_is_measured_on_successes_only() -> None:
    result = figures({"requests": [request(0, seconds=0.2), request(1, status="TimeoutError", seconds=10)]}, T, T + 20)

    assert (result.p50, result.p99, result.slowest) == (0.2, 0.2, 0.2)


def test_versions_have_first_and_last_answer_times() -> None:
    lines = [request(0), request(1), request(1.5, version=NEW), request(2), request(3, version=NEW)]

    versions = figures({"requests": lines}, T, T + 10).versions

    seen = [(each.version, round(each.first - T, 3), round(each.last - T, 3)) for each in versions]
    assert seen == [(OLD, 0.01, 2.01), (NEW, 1.51, 3.01)]


def test_acknowledged_and_lost_writes_are_counted_by_case() -> None:
    lines = [request(0, "write", user="u", n=1), request(1, "write", 502, user="u", n=2)]
    lost = [Write(user="u", n=1, start=T, acknowledged=True, refused=False)]

    assert figures({"requests": lines}, T, T + 10).lost is None
    assert figures({"requests": lines}, T, T + 10, lost).acknowledged == 1
    assert figures({"requests": lines}, T, T + 10, lost).lost == 1
    assert figures({"requests": lines}, T + 1, T + 10, lost).lost == 0


def test_report_has_each_case_in_table_markdown_and_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lines(tmp_path / "requests.jsonl", [request(at / 10, version=OLD if at < 50 else NEW) for at in range(100)])
    write_lines(
        tmp_path / "events.jsonl",
        [
            event(-1, "machine started"),
            event(3, "release command started", "9a9a", NEW),
            event(4, "stopped", "9a9a", NEW),
            event(4.1, "machine started", "5b5b", NEW),
            event(4.8, "machine healthy", "5b5b", NEW),
            event(4.9, "takes traffic", "5b5b", NEW),
            event(5, "cordoned"),
            event(5.1, "SIGTERM"),
            event(5.2, "struck by lightning"),
            event(6, "stopped"),
        ],
    )
    cases = [
        case(2, 6, "The next version takes over", evidence="none failed"),
        case(8.5, 9, "A | in a name", passed=False, evidence="it is awkward"),
    ]

    write_report(tmp_path, cases, lost=[])

    printed = capsys.readouterr().out
    assert "The next version takes over" in printed
    assert "FAILED" in printed
    markdown = (tmp_path / "report.md").read_text()
    assert (
        f"| The next version takes over | passed | 40 | 0 | 100 ms | 10 ms | 10 ms | 10 ms | 0 | 0 | {OLD} → {NEW} |"
        in markdown
    )
    assert f"| `{NEW}` | 3.01 s | 3.91 s |" in markdown
    assert "A \\| in a name" in markdown
    assert "FAILED. it is awkward" in markdown
    assert "![The next version takes over](timeline-1.svg)" in markdown
    whole = texts(tmp_path / "timeline.svg")
    for text in (
        "The next version takes over: ✓ passed",
        "A | in a name: ✗ FAILED",
        OLD,
        NEW,
        "Failures: none",
        "5b5b  9f8e7d6",
        "release command",
        "takes traffic",
        "cordoned",
        "SIGTERM",
        "anything else",
    ):
        assert text in whole
    assert "2. A | in a name" not in texts(tmp_path / "timeline-1.svg")


def test_failures_are_labelled_in_the_picture(tmp_path: Path) -> None:
    failures = [request(5 + at / 10, status=502) for at in range(7)]
    write_lines(tmp_path / "requests.jsonl", [*(request(at / 10) for at in range(100)), *failures])

    write_report(tmp_path, [])

    assert "7x 502" in texts(tmp_path / "timeline.svg")
    assert "Failures: 7" in texts(tmp_path / "timeline.svg")


def test_streams_are_separate_and_truncated_lines_skipped(tmp_path: Path) -> None:
    write_lines(tmp_path / "requests-staging.jsonl", [request(at / 10) for at in range(20)])
    write_lines(tmp_path / "requests-production.jsonl", [request(at / 10, version=NEW) for at in range(20)])
    with (tmp_path / "requests-production.jsonl").open("a") as file:
        file.write('{"start":17950')

    write_report(tmp_path, [])

    assert "| all of it |  | 40 | 0 |" in (tmp_path / "report.md").read_text()
    assert f"staging {OLD}" in texts(tmp_path / "timeline.svg")
    assert f"production {NEW}" in texts(tmp_path / "timeline.svg")


@pytest.mark.parametrize("present", ["requests.jsonl", "events.jsonl", "nothing"])
def test_missing_input_is_left_out(present: str, tmp_path: Path) -> None:
    lines = {"requests.jsonl": [request(0, "read", 502)], "events.jsonl": [event(0, "machine started")]}
    if present in lines:
        write_lines(tmp_path / present, lines[present])

    write_report(tmp_path, [case(0, 1)])

    assert "| A deploy | passed |" in (tmp_path / "report.md").read_text()
    assert "A deploy" in texts(tmp_path / "timeline.svg")


def test_job_summary_has_the_report_without_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))

    write_report(tmp_path, [case(0, 1, evidence="none failed")])

    assert summary.read_text().startswith("before\n# Rehearsal\n")
    assert "passed. none failed" in summary.read_text()
    assert "![" not in summary.read_text()
