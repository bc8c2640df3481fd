from typing import Any

import pytest

from tools.bench import ratios
from tools.bench.ratios import Aim, Sample, Spread


def sample(contender: str, number: int, per_second: float, **values: Any) -> Sample:
    defaults: dict[str, Any] = {
        "workload": "me",
        "connections": 64,
        "users": 1000,
        "processes": 1,
        "tokens": 1000,
        "requests": 100,
        "failed": 0,
        "p50_ms": 10.0,
        "p99_ms": 20.0,
        "cpu_us": 100.0,
        "cores": (1.0, 0.5),
    }
    return Sample(contender=contender, round=number, per_second=per_second, **defaults | values)


def test_a_ratio_is_of_one_round_so_that_a_slow_one_counts_for_neither() -> None:
    ours = [sample("audifi", 0, 300), sample("audifi", 1, 30), sample("audifi", 2, 330)]
    theirs = [sample("express", 0, 200), sample("express", 1, 20), sample("express", 2, 200)]

    assert ratios.per_round(ours, theirs, "per_second") == [1.5, 1.5, 1.65]


def test_a_round_that_one_of_them_missed_is_left_out() -> None:
    ours = [sample("audifi", 0, 300), sample("audifi", 1, 100)]

    assert ratios.per_round(ours, [sample("express", 1, 50)], "per_second") == [2]


def test_a_round_in_which_the_other_did_nothing_has_no_ratio() -> None:
    assert ratios.per_round([sample("audifi", 0, 300)], [sample("express", 0, 0, requests=0)], "per_second") == []


def test_a_round_in_which_this_server_did_nothing_counts_but_has_no_cost_of_a_request() -> None:
    ours, theirs = [sample("audifi", 0, 0, requests=0)], [sample("express", 0, 100)]

    assert ratios.per_round(ours, theirs, "per_second") == [0]
    assert ratios.per_round(ours, theirs, "cpu_us") == []


def test_a_spread_is_the_median_with_the_least_and_the_greatest() -> None:
    assert Spread.of([1.2, 0.9, 5.0]) == Spread(1.2, 0.9, 5.0)
    assert str(Spread.of([1.2, 0.9, 15.04])) == "1.20 (0.90 to 15.0)"
    with pytest.raises(ValueError, match="no round"):
        Spread.of([])


@pytest.mark.parametrize(
    ("aim", "verdict"),
    [
        (Aim(text="", at_least=1.5, spread=Spread(1.5, 1, 2)), "met"),
        (Aim(text="", at_least=2, spread=Spread(1.5, 1, 3)), "not met: 25 % too low"),
        (Aim(text="", at_most=1.2, spread=Spread(1.2, 1, 3)), "met"),
        (Aim(text="", at_most=100, spread=Spread(125, 90, 125)), "not met: 25 % too high"),
    ],
)
def test_the_median_decides_about_an_aim(aim: Aim, verdict: str) -> None:
    assert aim.verdict == verdict


def test_aims_are_of_64_connections_and_need_both_contenders() -> None:
    samples = [
        sample("audifi", 0, 300),
        sample("audifi", 0, 1, connections=512),
        sample("express", 0, 100),
        sample("express", 0, 1, connections=512),
    ]

    found = {aim.text: aim.spread.median for aim in ratios.aims(samples, {}, {})}

    assert found == {
        "authenticated read: throughput of Express": 3,
        "authenticated read: p99 of Express": 1,
    }


def test_start_and_memory_have_aims() -> None:
    sizes = {"idle": {"rss": 80.0}, "after": {"rss": 100.0}, "requests": 100_000}

    found = ratios.aims([], {"audifi": [1.0, 3.0], "express": [0.5, 1.0]}, {"audifi": sizes})

    assert [(aim.text, aim.spread.median, aim.met) for aim in found] == [
        ("start: time of Express", 2.5, False),
        ("memory when idle", 80, True),
        ("memory after 100,000 requests: of that when idle", 1.25, False),
    ]
