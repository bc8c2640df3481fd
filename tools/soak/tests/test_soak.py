"""A short soak, and its judge."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tools.soak import judge, proxy, report
from tools.soak.__main__ import run
from tools.soak.load import Answer
from tools.soak.run import Fault, Held, Plan, Seen

PLAN = Plan.of(1, rate=20)


@pytest.mark.slow
def test_server_survives_database_faults() -> None:
    seen, failed = run(PLAN, accounts=12)

    assert failed == []
    assert {fault.name for fault in seen.faults} >= {"restart", "freeze", "cut"}
    assert len(seen.answers) > 200
    if not proxy.is_installed():
        pytest.skip(proxy.ADVICE)
    assert seen.floods.keys() == judge.FLOODS | {"warm-up"}


def steady(begin: float, end: float, status: int = 200, code: str = "", seconds: float = 0.01) -> list[Answer]:
    times = [begin + number / PLAN.rate for number in range(int((end - begin) * PLAN.rate))]
    return [Answer(at, seconds, "read", status, code) for at in times]


def watched(begin: float, end: float, state: str = "connected", seconds: float = 0.01) -> list[Answer]:
    return [Answer(begin + number / 4, seconds, "watch", 200, state) for number in range(int((end - begin) * 4))]


HELD = Held(
    when="after warm-up",
    rss_mb=100,
    uss_mb=80,
    files=40,
    threads=1,
    tasks=15,
    pool=10,
    checked_out=0,
    in_work=0,
    connections=10,
)


def seen(
    *, back_after: float = 1, reported_at: float = 101.0, last_bad_health: float = 105.0, held: Held = HELD
) -> Seen:
    """Return the measurements of a freeze from 100 to 105, in 160 seconds."""
    served = {"200": {"count": 900, "p50": 0.1, "p99": 0.5, "max": 1}}
    shed = {"503 server.overloaded": {"count": 9000, "p50": 0.1, "p99": 0.5, "max": 1}}
    flood = {"began": 200.0, "ended": 210.0, "seconds": 10, "lost": {"no answer": 0}, "answers": served | shed}
    full = flood | {"answers": {"200": {"count": 1200, "p50": 0.1, "p99": 0.5, "max": 1}}}
    return Seen(
        plan=PLAN,
        answers=steady(80, 100) + steady(100, 105 + back_after, 503, "database.busy") + steady(105 + back_after, 160),
        wrong=[],
        health=watched(80, reported_at)
        + watched(reported_at, last_bad_health, "disconnected")
        + watched(last_bad_health, 160),
        faults=[Fault("freeze", 100.0, 105.0)],
        held=[HELD, held],
        floods={"capacity": full, "overload": dict(flood), "recovered": full, "frozen": dict(flood)},
    )


def test_quick_recovery_passes() -> None:
    assert judge.failures(seen(), []) == judge.speed_failures(seen()) == []
    [outage] = judge.outages(seen())
    assert outage.full_speed_seconds == 1
    assert outage.statuses == Counter({"503 database.busy": 120, "good": 21})


def test_late_full_speed_fails() -> None:
    assert any("full speed" in sentence for sentence in judge.speed_failures(seen(back_after=15)))
    slow = seen()
    slow.answers = steady(80, 100) + steady(100, 160, seconds=2)
    assert any("full speed" in sentence for sentence in judge.speed_failures(slow))


def test_failures_without_a_fault_fail() -> None:
    failing = seen()
    failing.answers += steady(130, 131, 503, "database.busy")

    assert any("requests failed without a fault" in sentence for sentence in judge.failures(failing, []))


def test_wrong_health_fails() -> None:
    assert any("health reported it after" in sentence for sentence in judge.speed_failures(seen(reported_at=104.9)))
    assert any("good again after" in sentence for sentence in judge.speed_failures(seen(last_bad_health=112.0)))
    lying, silent = seen(), seen()
    lying.health += watched(140, 141, "disconnected")
    assert any("health reported an outage without a fault" in sentence for sentence in judge.speed_failures(lying))
    assert "health says disconnected at the end" in judge.failures(lying, [])
    silent.health.insert(0, Answer(80, 10, "watch", 0, "TimeoutError"))
    assert any("health didn't answer 1 times" in sentence for sentence in judge.failures(silent, []))


@pytest.mark.parametrize(
    "leaked",
    [
        {"uss_mb": 180.0},
        {"files": 60},
        {"tasks": 20},
        {"threads": 5},
        {"pool": 16},
        {"connections": 20},
        {"checked_out": 3},
        {"in_work": 1},
    ],
)
def test_leak_fails(leaked: dict[str, float]) -> None:
    values = vars(HELD) | leaked | {"when": "at the end"}

    assert any(sentence.startswith("at the end:") for sentence in judge.failures(seen(held=Held(**values)), []))


def test_slow_few_or_lost_answers_to_overload_fail() -> None:
    slow, few, lost = seen(), seen(), seen()
    slow.floods["overload"]["answers"] |= {"200": {"count": 900, "p50": 1, "p99": 19, "max": 19}}
    few.floods["overload"]["answers"] |= {"200": {"count": 500, "p50": 1, "p99": 1, "max": 1}}
    lost.floods["overload"]["lost"] = {"no answer": 3}

    assert any("p99" in sentence for sentence in judge.speed_failures(slow))
    assert "overload: 50/s served of 120/s" in judge.speed_failures(few)
    assert "overload: 3 times no answer" in judge.failures(lost, [])


def test_soak_without_haproxy_reports_no_overload() -> None:
    without = seen()
    without.floods.clear()

    assert judge.failures(without, []) == judge.speed_failures(without) == []
    assert proxy.ADVICE in report.markdown(without, [])


def test_picture_of_ten_minutes_has_under_100_kb(tmp_path: Path) -> None:
    """The worst case: no two seconds are equal."""
    random = Random(1)
    floods = {}
    for name, began in {"capacity": 30, "overload": 460, "frozen": 510}.items():
        counts = [random.choices(range(1000, 9000), k=3) for _ in range(40)]
        results = ["200", "503 server.overloaded", "503 database.busy"]
        floods[name] = {
            "began": float(began),
            "by_second": {began + at: dict(zip(results, each, strict=True)) for at, each in enumerate(counts)},
        }
    busy = replace(
        seen(),
        answers=[Answer(at + random.random(), 0.01, "read", 200, "") for at in range(600) for _ in range(60)],
        health=[replace(each, seconds=random.random()) for each in watched(0, 600)],
        faults=[Fault("freeze", at, at + 6.0) for at in range(50, 450, 22)],
        quiet=[Fault("nothing is asked", at, at + 6.0) for at in (45.0, 455.0, 570.0)],
        floods=floods,
    )
    file = tmp_path / "soak.svg"
    report.draw(busy, file, 0)

    assert file.stat().st_size < 100_000
    for text in ("served", "rejected", "database.busy", "freeze", "3 x full"):
        assert text in re.sub(r"<!--.*?-->", "", file.read_text())
