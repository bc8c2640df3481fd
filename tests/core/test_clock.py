"""Durations in words."""

import pytest

from audifi.core.clock import format_duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "1 second"), (59, "59 seconds"), (60, "1 minute"), (3600, "1 hour"), (7200, "2 hours"), (86400, "1 day")],
)
def test_duration_is_formatted_in_its_largest_unit(seconds: int, words: str) -> None:
    assert format_duration(seconds) == words
