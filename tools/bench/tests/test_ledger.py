"""The benchmark of the ledger, with few rows and little time."""

import shutil

import pytest

from tools.bench.ledger.__main__ import run, text_of
from tools.bench.ledger.seed import TINY
from tools.bench.ratios import Aim, Spread


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is missing")
def test_each_figure_of_the_ledger_is_measured() -> None:
    figures = run(TINY, rounds=1, seconds=1, log=lambda _: None)

    assert len(figures) == 8
    assert all(figure.spread.low > 0 for figure in figures)
    assert [figure.spread.median for figure in figures if figure.text == "round trips of a purchase"] == [2]


def test_table_says_which_aims_are_met() -> None:
    figures = [
        Aim(text="slow", at_least=0.6, spread=Spread.of([0.5])),
        Aim(text="fast", at_most=2, spread=Spread.of([1.0, 1.5])),
        Aim(text="known", spread=Spread.of([3.0])),
    ]

    assert text_of(figures, "0.1").splitlines()[-3:] == [
        "| slow | ≥ 0.6 x | 0.50 | not met |",
        "| fast | ≤ 2 x | 1.25 (1.00 to 1.50) | met |",
        "| known |  | 3.00 |  |",
    ]
