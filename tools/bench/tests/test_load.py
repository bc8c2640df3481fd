import pytest

from tools.bench import load
from tools.bench.load import Load, LoadError

SAID = """\
Running 2s test @ http://127.0.0.1:1
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.50ms    1.00ms   9.00ms   90.00%
  2000 requests in 2.00s, 1.00MB read
Requests/sec:   1000.00
{"requests":2000,"duration_us":2000000,"p50_us":1500,"p99_us":9000,"broken":3,"refused":20}
"""


def test_what_wrk_says_is_read() -> None:
    found = load.parse(SAID, refused=False)

    assert found == Load(requests=2000, failed=23, seconds=2, p50_ms=1.5, p99_ms=9)
    assert found.per_second == 1000


def test_where_a_refusal_is_what_is_asked_for_everything_else_has_failed() -> None:
    assert load.parse(SAID, refused=True).failed == 1980 + 3


def test_where_nothing_was_answered_it_took_as_long_as_was_waited() -> None:
    said = '{"requests":0,"duration_us":2000000,"p50_us":0,"p99_us":0,"broken":0,"refused":0}'

    assert load.parse(said, refused=False) == Load(requests=0, failed=0, seconds=2, p50_ms=2000, p99_ms=2000)


def test_a_wrk_that_could_not_work_is_told_in_its_words() -> None:
    with pytest.raises(LoadError, match="unable to connect"):
        load.parse("unable to connect to 127.0.0.1:1 Connection refused\n", refused=False)


def test_without_wrk_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(LoadError, match="apt-get install wrk"):
        load.start("http://127.0.0.1:1", load.WORKLOADS[0], tokens=load.SCRIPT, connections=1, seconds=1)
