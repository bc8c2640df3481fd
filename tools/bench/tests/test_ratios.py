from dataclasses import replace
from typing import Any

import pytest

from tools.bench import ratios, workloads
from tools.bench.ratios import Aim, Memory, Results, Sample, Spread, Statements

NOTHING = Results(starts={}, memory={}, statements={}, transactions_per_read={}, about={})


def sample(contender: str, number: int, per_second: float, **values: Any) -> Sample:
    defaults: dict[str, Any] = {
        "workload": "read",
        "requests": 100,
        "failed": 0,
        "p50_ms": 10.0,
        "p99_ms": 20.0,
        "cpu_us": 100.0,
        "cores": (1.0, 0.5),
    }
    return Sample(contender=contender, round=number, per_second=per_second, **defaults | values)


def test_ratio_is_of_one_round() -> None:
    samples = [sample("audifi", 0, 300), sample("audifi", 1, 30), sample("audifi", 2, 330)]
    samples += [sample("express", 0, 200), sample("express", 1, 20)]

    assert ratios.ratios(samples, "express", "read", "per_second") == [1.5, 1.5]


def test_round_without_answers_has_no_ratio() -> None:
    samples = [sample("audifi", 0, 300), sample("express", 0, 0, requests=0)]

    assert ratios.ratios(samples, "express", "read", "per_second") == []


def test_other_workload_is_left_out() -> None:
    samples = [sample("audifi", 0, 300), sample("express", 0, 100, workload="write")]

    assert ratios.ratios(samples, "express", "read", "per_second") == []


def test_spread_is_median_minimum_and_maximum() -> None:
    assert Spread.of([1.2, 0.9, 5.0]) == Spread(1.2, 0.9, 5.0)
    assert str(Spread.of([1.2, 0.9, 15.04])) == "1.20 (0.90 to 15.0)"
    assert str(Spread.of([2])) == "2.00"
    with pytest.raises(ValueError, match="no values"):
        Spread.of([])


@pytest.mark.parametrize(
    ("bound", "median", "met", "text"),
    [
        ({"at_least": 1.5}, 1.5, True, "≥ 1.5 x"),
        ({"at_least": 1.5}, 1.4, False, "≥ 1.5 x"),
        ({"at_most": 2}, 2, True, "≤ 2 x"),
        ({"at_most": 2}, 2.1, False, "≤ 2 x"),
        ({"below": 1}, 0.9, True, "< 1 x"),
        ({"below": 1}, 1, False, "< 1 x"),
    ],
)
def test_median_decides_about_an_aim(bound: dict[str, Any], median: float, *, met: bool, text: str) -> None:
    aim = Aim(text="", spread=Spread(median, 0, 9), **bound)

    assert (aim.met, aim.bound) == (met, text)


def test_every_workload_has_aims() -> None:
    assert ratios.THROUGHPUT.keys() == workloads.TITLES.keys()


def test_throughput_and_p99_have_aims() -> None:
    results = replace(NOTHING, samples=[sample("audifi", 0, 300), sample("express", 0, 100, p99_ms=10.0)])

    assert [(aim.text, aim.spread.median, aim.met) for aim in ratios.aims(results)] == [
        ("read of one row: throughput of Express", 3, True),
        ("read of one row: p99 of Express", 2, False),
    ]


def test_database_start_and_memory_have_aims() -> None:
    results = replace(
        NOTHING,
        starts={"audifi": [1.0, 3.0], "express": [0.5, 1.0]},
        memory={"audifi": Memory(idle_mb=80, after_mb=100, requests=1)},
        statements={"audifi": {"write": Statements(statements=4, round_trips=3)}},
        transactions_per_read={"audifi": 0.5},
    )

    assert [(aim.text, aim.spread.median, aim.met) for aim in ratios.aims(results)] == [
        ("write: round trips", 3, False),
        ("read of one row under load: account statements", 0.5, True),
        ("start: time of Express", 2.5, False),
        ("memory when idle", 80, True),
    ]
