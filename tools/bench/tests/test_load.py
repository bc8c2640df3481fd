from pathlib import Path

import pytest

from tools.bench import load
from tools.bench.load import Load, LoadError
from tools.bench.workloads import NUMBER, WORKLOADS, Workload

OUTPUT = """\
Running 2s test @ http://127.0.0.1:1
  1 threads and 64 connections
  2000 requests in 2.00s, 1.00MB read
Requests/sec:   1000.00
{"requests":2000,"duration_us":2000000,"p50_us":1500,"p99_us":9000,"broken":3,"errors":20}
"""


def test_output_of_wrk_is_read() -> None:
    result = load.parse(OUTPUT, expects_errors=False)

    assert result == Load(requests=2000, failed=23, seconds=2, p50_ms=1.5, p99_ms=9)
    assert result.per_second == 1000


def test_other_answers_fail_where_an_error_is_expected() -> None:
    assert load.parse(OUTPUT, expects_errors=True).failed == 1980 + 3


def test_run_without_answers_took_its_whole_duration() -> None:
    output = '{"requests":0,"duration_us":2000000,"p50_us":0,"p99_us":0,"broken":0,"errors":0}'

    result = load.parse(output, expects_errors=False)

    assert result == Load(requests=0, failed=0, seconds=2, p50_ms=2000, p99_ms=2000)


def test_failure_of_wrk_is_shown() -> None:
    with pytest.raises(LoadError, match="unable to connect"):
        load.parse("unable to connect to 127.0.0.1:1 Connection refused\n", expects_errors=False)


def test_missing_wrk_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(LoadError, match="apt-get install wrk"):
        load.start("http://127.0.0.1:1", WORKLOADS[0], tokens=["token"], folder=tmp_path, seconds=1)


def test_raw_request_is_http_with_its_length() -> None:
    workload = Workload(name="", title="", method="POST", path="/x", body={"n": NUMBER}, headers={"Key": NUMBER})

    head, _, body = workload.raw_request("secret").partition(b"\r\n\r\n")

    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /x HTTP/1.1"
    assert {"Authorization: Bearer secret", f"Key: {NUMBER}", f"Content-Length: {len(body)}"} <= set(lines)
    assert body == b'{"n": "000number000"}'


def test_number_replaces_the_placeholder_everywhere() -> None:
    workload = Workload(name="", title="", method="POST", path="/x", body={"n": NUMBER}, headers={"Key": NUMBER})

    assert workload.body_bytes("000000000042") == b'{"n": "000000000042"}'
    assert workload.all_headers("secret", "000000000042")["Key"] == "000000000042"
    assert len("000000000042") == len(NUMBER)
