"""The picture's scales."""

from tools.bench.picture import TICKS, apart


def test_ticks_whose_labels_would_touch_are_left_out_but_never_1() -> None:
    assert apart([0.1, 0.3, 0.5, 1, 2, 3, 5], by=1.85) == [0.1, 0.5, 1, 2, 5]
    assert apart(TICKS, by=1.1) == TICKS
    assert apart(TICKS, by=1000) == [1]
